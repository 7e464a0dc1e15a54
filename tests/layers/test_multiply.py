"""A gate of one number for each channel."""

from typing import Any

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.layers import Mode, Multiply


def test_a_gate_scales_its_channel_and_hears_from_all_its_pixels() -> None:
    x = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # (1, 2, 1, 2)
    gate = torch.tensor([10.0, 100.0]).view(1, 2, 1, 1)
    y, cache = Multiply().forward({}, (x, gate), Mode())
    assert y.flatten().tolist() == [10, 20, 300, 400]
    (dx, dgate), _ = Multiply().backward({}, cache, torch.tensor([[[[1.0, 1.0]], [[0.5, -1.0]]]]))
    assert dx.flatten().tolist() == [10, 10, 50, -100]
    assert dgate.shape == gate.shape
    assert dgate.flatten().tolist() == [1 + 2, 1.5 - 4]


@pytest.mark.parametrize(
    ("shapes", "common"),
    [
        (((3, 4, 5), (3, 1, 1)), (3, 4, 5)),
        (((1, 4, 1), (3, 1, 5)), (3, 4, 5)),
        (((1, 1), (1, 1)), (1, 1)),
    ],
)
def test_the_common_shape(shapes: Any, common: tuple[int, ...]) -> None:
    assert Multiply().init(shapes, torch.Generator()) == ({}, common)
    xs = tuple(torch.ones(2, *shape) for shape in shapes)
    assert Multiply().forward({}, xs, Mode())[0].shape == (2, *common)


@pytest.mark.parametrize("shapes", [((3, 4, 5), (2, 1, 1)), ((3, 4, 5), (3,)), ((3, 4, 5),), (3, 4, 5)])
def test_shapes_that_do_not_meet(shapes: Any) -> None:
    with pytest.raises(PellucidError, match="Multiply takes two or more inputs"):
        Multiply().init(shapes, torch.Generator())
