"""Multiplication of images by a gate, one number for each channel."""

from typing import Any

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.layers import Mode, Multiply


def test_the_gradient_of_a_gate_is_the_sum_over_its_channel() -> None:
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # (1, 2, 1, 2)
    gate = torch.tensor([10.0, 100.0]).view(1, 2, 1, 1)
    y, cache = Multiply().forward({}, (x, gate), Mode())
    assert y.flatten().tolist() == [10, 20, 300, 400]
    (dx, dgate), _ = Multiply().backward({}, cache, torch.tensor([[[[1.0, 1.0]], [[0.5, -1.0]]]]))
    assert dx.flatten().tolist() == [10, 10, 50, -100]
    assert dgate.shape == gate.shape
    assert dgate.flatten().tolist() == [1 + 2, 1.5 - 4]


@pytest.mark.parametrize(
    ("shapes", "output_shape"),
    [
        (((3, 4, 5), (3, 1, 1)), (3, 4, 5)),
        (((1, 4, 1), (3, 1, 5)), (3, 4, 5)),
        (((1, 1), (1, 1)), (1, 1)),
    ],
)
def test_the_output_has_the_broadcast_shape(shapes: Any, output_shape: tuple[int, ...]) -> None:
    assert Multiply().init(shapes, torch.Generator()) == ({}, output_shape)
    xs = tuple(torch.ones(2, *shape) for shape in shapes)
    assert Multiply().forward({}, xs, Mode())[0].shape == (2, *output_shape)


@pytest.mark.parametrize("shapes", [((3, 4, 5), (2, 1, 1)), ((3, 4, 5), (3,)), ((3, 4, 5),), (3, 4, 5)])
def test_shapes_that_cannot_be_broadcast_are_refused(shapes: Any) -> None:
    with pytest.raises(PellucidError, match="Multiply takes two or more inputs"):
        Multiply().init(shapes, torch.Generator())
