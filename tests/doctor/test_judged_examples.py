"""Targets that are wrong in a part of the training examples are found by the outputs of a model."""

import re
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Diagnosis
from pellucid.doctor.held_out import predicted_target
from pellucid.layers import Dense, ReLU
from pellucid.losses import Quadratic
from pellucid.model import Model
from pellucid.ops.image_objects import Detections, Objects
from pellucid.optim import Adam


def diagnosis_with_wrong_targets(is_wrong: torch.Tensor, wrong_values: torch.Tensor) -> Diagnosis:
    """Return the diagnosis of a regression of two values, with `wrong_values` in the training targets `is_wrong`."""
    x, y = examples()
    train_y = torch.where(is_wrong[:, None], wrong_values, y[:400])
    net = Sequential(hidden=Dense(32), relu=ReLU(), out=Dense(2))
    model = Model(net, Quadratic(), Adam(0.02), input_shape=(4,), metrics=())
    history = model.fit(x[:400], train_y, epochs=15, batch_size=32, verbose=False)
    return model.doctor(x[:400], train_y, validation=(x[400:], y[400:]), history=history, epochs=15, batch_size=32)


def examples() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    return x, torch.stack([2 * x[:, 0], x[:, 1] - x[:, 2]], 1)


def listed(text: str) -> list[int]:
    """Return the indices of training examples in a fix."""
    return [
        int(number) for number in re.findall(r"\d+", text.partition("the training examples ")[2].partition(" (")[0])
    ]


def test_columns_exchanged_in_a_part_of_the_examples_are_the_cause() -> None:
    is_wrong = torch.rand(400, generator=torch.Generator().manual_seed(1)) < 0.4
    diagnosis = diagnosis_with_wrong_targets(is_wrong, examples()[1][:400].flip(1))
    first = diagnosis.findings[0]
    assert (first.check, first.path, diagnosis.kind(0)) == ("other-values", "train", "cause")
    assert "of the training examples have their columns in another order" in first.cause
    assert len(listed(first.fix)) == 8
    assert bool(is_wrong[listed(first.fix)].all())


def test_noisy_targets_are_not_called_exchanged_columns() -> None:
    """By chance, an exchange of the columns fits some of the noisy targets better."""
    rng = torch.Generator().manual_seed(1)
    noisy = examples()[1][:400] + 3 * torch.randn(400, 2, generator=rng)
    diagnosis = diagnosis_with_wrong_targets(torch.rand(400, generator=rng) < 0.5, noisy)
    assert "other-values" not in diagnosis.causes


@pytest.mark.parametrize("fraction", [0.0, 0.05])
def test_few_wrong_targets_are_no_cause(fraction: float) -> None:
    rng = torch.Generator().manual_seed(1)
    is_wrong = torch.rand(400, generator=rng) < fraction
    assert not diagnosis_with_wrong_targets(is_wrong, 3 * torch.randn(400, 2, generator=rng)).causes


def test_wrong_targets_of_all_examples_are_told_from_other_inputs() -> None:
    x, y = examples()
    wrong = torch.stack([y[:400, 0] + 2 * x[:400, 3].abs(), y[:400, 1] * x[:400, 0].sign()], 1)
    diagnosis = diagnosis_with_wrong_targets(torch.ones(400, dtype=torch.bool), wrong)
    first = diagnosis.findings[0]
    assert (first.check, first.path, diagnosis.kind(0)) == ("wrong-targets", "train", "cause")
    assert "trained on validation data" in first.cause


@pytest.mark.parametrize(
    ("output", "target", "expected"),
    [
        (torch.tensor([0.1, 0.7, 0.2]), torch.tensor(0), torch.tensor(1)),
        (torch.tensor([[[0.1]], [[0.9]]]), torch.tensor([[0]]), torch.tensor([[1]])),
        (torch.tensor([2.5]), torch.tensor(1.0), torch.tensor(2.5)),
        (torch.tensor([0.3]), torch.tensor(1), None),  # a single output for two classes
        (
            Detections(torch.tensor([[0.0, 0, 4, 4], [1, 1, 2, 2]]), torch.tensor([0.9, 0.2]), torch.tensor([1, 0])),
            Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
            Objects(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([1])),
        ),
    ],
)
def test_predictions_become_targets_of_the_same_kind(output: Any, target: Any, expected: Any) -> None:
    found = predicted_target(output, target)
    if isinstance(expected, Objects):
        assert torch.equal(found.boxes, expected.boxes)
        assert torch.equal(found.labels, expected.labels)
    else:
        assert found is expected or torch.equal(found, expected)
