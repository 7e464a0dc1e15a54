"""Targets are found that a loss takes for other quantities, or that are far from the scale of a network's outputs."""

import pytest
import torch
from torch import nn

import pellucid
from pellucid.combine import Sequential
from pellucid.doctor import case_of
from pellucid.doctor.suspects import losses
from pellucid.layers import Dense
from pellucid.model import Model
from pellucid.optim import Adam


class OverlapLoss(nn.Module):
    """1 - the overlap of boxes, which it takes as corners."""

    def forward(self, boxes: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        sides = (torch.minimum(boxes[:, 2:], target[:, 2:]) - torch.maximum(boxes[:, :2], target[:, :2])).clamp(min=0)
        areas = [(one[:, 2:] - one[:, :2]).clamp(min=0).prod(1) for one in (boxes, target)]
        return (1 - sides.prod(1) / (areas[0] + areas[1] - sides.prod(1)).clamp(min=1e-6)).mean()


@pytest.mark.parametrize("order", ["corners", "width", "centre"])
@pytest.mark.parametrize("size", [1.0, 640.0])
@pytest.mark.parametrize("is_overlap", [True, False])
def test_boxes_that_a_loss_of_corners_reads_otherwise_are_found(order: str, size: float, is_overlap: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    first, last = torch.rand(60, 2, 2, generator=rng).sort(2).values.unbind(2)
    last = torch.maximum(last, first + 0.05).clamp(max=1.0)
    first = torch.minimum(first, last - 0.02)
    ends = {"corners": (first, last), "width": (first, last - first), "centre": ((first + last) / 2, last - first)}
    y = size * torch.cat(ends[order], 1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(60, 12), y), 10)
    training = pellucid.from_torch(
        network, loss=OverlapLoss() if is_overlap else nn.SmoothL1Loss(), train=loader,
        optimizer=torch.optim.Adam(network.parameters()),
    )  # fmt: skip
    found = list(losses.box_suspects(case_of(training.model, torch.rand(60, 12), y, epochs=1)))
    expected = {"width": "x, y, width, height", "centre": "centre, width, height", "corners": ""}[order]
    assert bool(found) is (is_overlap and bool(expected))
    assert not found or any(expected in one.remedy.description for one in found)
    for one in found[:1]:
        assert list(losses.box_suspects(one.apply(case_of(training.model, torch.rand(60, 12), y, epochs=1)))) == []


@pytest.mark.parametrize(("low", "high", "is_unusual"), [(0.3, 0.7, False), (2000, 2010, True), (0.5, 0.52, True)])
def test_targets_between_0_and_1_are_no_unusual_scale(low: float, high: float, is_unusual: bool) -> None:
    y = low + (high - low) * torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    model = Model(Sequential(Dense(2)), "quadratic", Adam(), metrics=(), input_shape=(3,))
    (found,) = losses.target_suspects(case_of(model, torch.rand(200, 3), y, epochs=1))
    assert found.unusual is is_unusual
