"""Edge cases of RoIAlign and RoIPool: no regions, and a maximum in the first pixel."""

import pytest
import torch

from pellucid.layers import Mode, RoIAlign, RoIPool


@pytest.mark.parametrize("layer", [RoIAlign(2), RoIPool(2)], ids=repr)
def test_without_regions_the_gradient_of_the_maps_is_zero(layer: RoIAlign | RoIPool) -> None:
    maps = torch.rand(2, 3, 5, 4)
    y, cache = layer.forward({}, (maps, torch.zeros(0, 5)), Mode())
    assert y.shape == (0, 3, 2, 2)
    (dmaps, _), _ = layer.backward({}, cache, torch.zeros(0, 3, 2, 2))
    assert torch.equal(dmaps, torch.zeros(2, 3, 5, 4))


def test_a_maximum_in_the_first_pixel_receives_the_gradient_of_its_bin() -> None:
    maps = torch.tensor([[[[9.0, 1.0], [2.0, 3.0]]]])
    y, cache = RoIPool(1).forward({}, (maps, torch.tensor([[0.0, 0, 0, 1, 1]])), Mode())
    assert y.item() == 9.0
    (dmaps, _), _ = RoIPool(1).backward({}, cache, torch.tensor([[[[5.0]]]]))
    assert dmaps.tolist() == [[[[5.0, 0.0], [0.0, 0.0]]]]
