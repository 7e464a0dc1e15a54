"""Agreement with an object put there by hand."""

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.errors import PellucidError
from pellucid.explain import occlusion
from pellucid.explain.checks import planted
from pellucid.layers import AdaptiveAvgPool2d, Conv2d, Dense, Flatten, ReLU


def test_the_parts_of_a_map_are_counted() -> None:
    map_ = torch.tensor([[[[1.0, -5.0], [2.0, 1.0]]], [[[1.0, 0.0], [0.0, 3.0]]]])
    mask = torch.tensor([[[True, True], [False, False]], [[False, False], [False, True]]])
    found = planted(map_, mask)
    assert found.inside.tolist() == [0.25, 0.75]
    assert found.area.tolist() == [0.5, 0.25]
    assert found.hit.tolist() == [False, True]


def test_nothing_positive_is_nowhere() -> None:
    assert planted(-torch.ones(1, 1, 2, 2), torch.ones(1, 2, 2)).inside.tolist() == [0]


def test_a_network_that_looks_for_a_bar_is_explained_by_the_bar() -> None:
    net = Sequential(conv=Conv2d(1, 3, padding=1), relu=ReLU(), mean=AdaptiveAvgPool2d(1), flat=Flatten(), out=Dense(1))
    params = net.init((1, 12, 12), torch.Generator().manual_seed(0))[0]
    params["conv"] = {"weight": torch.tensor([[[[-1.0, 2, -1]] * 3]]).view(1, 1, 3, 3), "bias": torch.tensor([-3.0])}
    params["out"] = {"weight": torch.ones(1, 1), "bias": torch.zeros(1)}
    x, mask = torch.zeros(1, 1, 12, 12), torch.zeros(1, 12, 12, dtype=torch.bool)
    x[0, 0, 4:9, 7], mask[0, 4:9, 7] = 1, True
    found = planted(occlusion(net, params, x, 0, square=1, stride=1), mask)
    assert found.inside.item() == 1
    assert found.hit.all()


def test_a_mask_of_another_size_is_told() -> None:
    with pytest.raises(PellucidError, match="needs a mask"):
        planted(torch.ones(1, 1, 2, 2), torch.ones(1, 3, 3))
