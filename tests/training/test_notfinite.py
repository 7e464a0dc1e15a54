"""Tensors that are not finite, as values and as sentences."""

import json

import pytest
import torch

from pellucid.training.notfinite import NotFinite

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            NotFinite.of(torch.tensor([1.0, INF]), "output", "the output y", "block.dense", "Dense"),
            "block.dense (Dense): the output y holds infinity (1 of 2 values, shape (2,))",
        ),
        (
            NotFinite.of(torch.tensor([[NAN, INF]]), "gradient", "the gradient dx", "", "Dense"),
            "Dense: the gradient dx holds NaN (2 of 2 values, shape (1, 2))",
        ),
        (
            NotFinite.of(torch.tensor([NAN]), "weight", "bias", "dense"),
            "dense: bias holds NaN (1 of 1 values, shape (1,))",
        ),
        (NotFinite.of(torch.tensor([NAN]), "weight", "bias"), "bias holds NaN (1 of 1 values, shape (1,))"),
        (
            NotFinite.of(torch.tensor(NAN), "loss", "its value"),
            "the loss: its value holds NaN (1 of 1 values, shape ())",
        ),
        (
            NotFinite("input", "", "", "the input x", "NaN", 1, (2, 3), "first in example 1 of the batch"),
            "the input x holds NaN (1 of 6 values, shape (2, 3)), first in example 1 of the batch",
        ),
    ],
)
def test_sentences_are_made_of_the_fields_and_json_keeps_them(found: NotFinite, said: str) -> None:
    assert str(found) == said
    assert said.endswith(found.held)
    assert NotFinite.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_the_first_of_several_tensors_is_told_and_nothing_of_finite_ones() -> None:
    parts = (torch.ones(2), None, (torch.tensor([INF, 0.0, 0.0]), torch.tensor([NAN])))
    found = NotFinite.of(parts, "output", "the output y")
    assert found is not None
    assert (found.what, found.count, found.shape) == ("infinity", 1, (3,))
    assert NotFinite.of((torch.ones(2), torch.arange(3), None), "output", "the output y") is None


@pytest.mark.parametrize(
    "change", [{"kind": "wheel"}, {"path": 3}, {"shape": 3}, {"shape": ["a"]}, {"count": None}, {"note": None}]
)
def test_other_json_is_refused(change: dict[str, object]) -> None:
    told = NotFinite("weight", "dense", "", "bias", "NaN", 1, (4,)).to_json()
    with pytest.raises((ValueError, TypeError)):
        NotFinite.from_json({**told, **change})
    with pytest.raises(KeyError):
        NotFinite.from_json({name: told[name] for name in told if name not in change})
