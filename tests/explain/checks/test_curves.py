"""Deletion and insertion, against sums that are known for a linear network."""

import pytest
import torch
from scipy.ndimage import gaussian_filter

from pellucid.combine import Sequential
from pellucid.errors import PellucidError
from pellucid.explain.checks import blurred, deletion, insertion
from pellucid.layers import Dense, Flatten
from tests.oracle import assert_close, normal

NET = Sequential(flat=Flatten(), scores=Dense(2, bias=False))
WEIGHT = torch.tensor([[4.0, 3.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
PARAMS = {"flat": {}, "scores": {"weight": WEIGHT}}
X = torch.ones(1, 1, 2, 2)
BEST = WEIGHT[:1].view(1, 1, 2, 2)


def test_a_linear_score_falls_by_the_weights_in_order() -> None:
    curve = deletion(NET, PARAMS, X, 0, BEST, steps=4)
    assert curve.parts.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve.scores.tolist() == [[10, 6, 3, 1, 0]]
    assert float(curve.area) == (5 + 6 + 3 + 1 + 0) / 4
    assert deletion(NET, PARAMS, X, 0, -BEST, steps=4).scores.tolist() == [[10, 9, 7, 4, 0]]


def test_and_rises_by_them() -> None:
    curve = insertion(NET, PARAMS, X, 0, BEST, start=torch.zeros(1, 1, 1, 1), steps=2)
    assert curve.scores.tolist() == [[0, 7, 10]]


def test_probabilities_are_read_of_the_outputs() -> None:
    curve = deletion(NET, PARAMS, X, 0, BEST, steps=1, read=lambda y: y.softmax(1))
    assert_close(curve.scores, torch.tensor([[10.0, 0.0]]).sigmoid(), 1e-6)


def test_the_blur_is_scipys() -> None:
    x = normal((2, 3, 9, 7), torch.Generator().manual_seed(0))
    expected = gaussian_filter(x.numpy(), (0, 0, 0.8, 0.8), mode="nearest", radius=(0, 0, 2, 2))
    assert_close(blurred(x, 0.8), torch.from_numpy(expected), 1e-12)


def test_a_map_of_another_size_is_told() -> None:
    with pytest.raises(PellucidError, match="does not order the pixels"):
        deletion(NET, PARAMS, X, 0, torch.ones(1, 1, 3, 3))
