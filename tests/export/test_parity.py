"""The parity check: differences are relative to each output's largest value; NaN and infinity never pass."""

import math

import pytest
import torch

from pellucid.export.parity import Parity, ParityError, compare, random_inputs
from pellucid.layers import Identity, MaxUnpool2d
from pellucid.network.traced import trace


def test_the_difference_is_relative_to_the_largest_value_of_each_output() -> None:
    model_outputs = [torch.tensor([[1000.0, -2000.0]]), torch.tensor([[0.5]])]
    file_outputs = [torch.tensor([[1000.0, -2002.0]]), torch.tensor([[0.375]])]
    assert compare(model_outputs, file_outputs).difference == 0.25
    assert compare(model_outputs[:1], file_outputs[:1]).difference == pytest.approx(1e-3)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1.0001])
def test_a_large_difference_raises(wrong: float) -> None:
    with pytest.raises(ParityError, match="the file would differ"):
        compare([torch.tensor([[1.0]])], [torch.tensor([[wrong]])]).require("the file")
    assert Parity(1e-5).require("the file").difference == 1e-5


def test_zeros_agree_with_zeros_only() -> None:
    assert compare([torch.zeros(1, 2)], [torch.zeros(1, 2)]).difference == 0
    assert compare([torch.zeros(1, 2)], [torch.full((1, 2), 1e-3)]).difference > 1e-5
    assert compare([torch.zeros(0, 4)], [torch.zeros(0, 4)]).difference == 0  # boxes of a detector without detections


def test_nan_is_never_equal() -> None:
    assert compare([torch.tensor([[math.nan]])], [torch.tensor([[math.nan]])]).difference == math.inf


def test_shapes_must_be_the_same() -> None:
    with pytest.raises(ParityError, match=r"have shape \(1, 3\), not \(1, 2\)"):
        compare([torch.zeros(1, 2)], [torch.zeros(1, 3)])


def test_random_inputs_are_images_and_distinct_switches() -> None:
    (x,) = random_inputs(trace(Identity(), {}, (2, 3, 4)), 5)
    assert x.shape == (5, 2, 3, 4)
    assert 0 <= x.min() < 0.1
    assert 0.9 < x.max() < 1
    values, switches = random_inputs(trace(MaxUnpool2d(2), {}, ((2, 3, 4), (2, 3, 4))))
    assert values.dtype == torch.float32
    assert switches.dtype == torch.int64
    assert switches.min() >= 0
    assert switches.max() < 6 * 8
    assert all(len(plane.unique()) == 12 for plane in switches.flatten(0, 1))
