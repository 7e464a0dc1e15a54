"""Test cases of the losses for key-points, with reference implementations by loops over points and cells."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.losses import Coordinates, HeatMaps, Loss

Oracle = Callable[[Tensor, Tensor], Tensor]
Case = tuple[Loss, Tensor, Tensor, Oracle]  # a loss, outputs, targets, and the value of the loss in PyTorch


def outputs(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def points(*shape: int, size: tuple[int, int]) -> Tensor:
    """Return key-points (..., 3) in an image of `size` (H, W): a few are outside, every third is not labelled."""
    rng = torch.Generator().manual_seed(6)
    position = (1.4 * torch.rand((*shape, 2), generator=rng, dtype=torch.float64) - 0.2) * torch.tensor(
        [size[1], size[0]]
    )
    point_index = torch.arange(math.prod(shape)).view(*shape, 1)
    visibility = 1.0 + point_index % 2  # 1: labelled but hidden, 2: visible
    return torch.where(point_index % 3 < 2, torch.cat((position, visibility), -1), 0.0)


def heat_maps(y: Tensor, target: Tensor, stride: int, sigma: float, l1: float) -> Tensor:
    """Return the loss of heat maps by a loop over the labelled points, with a list of the centres of the cells."""
    height, width = y.shape[2:]
    costs = []
    for n, k in (target[..., 2] > 0).nonzero().tolist():
        cx = min(max(float(target[n, k, 0]) / stride, 0), width)
        cy = min(max(float(target[n, k, 1]) / stride, 0), height)
        centres = [(j + 0.5, i + 0.5) for i in range(height) for j in range(width)]
        if sigma:
            is_near = [max(abs(x - cx), abs(y_ - cy)) <= 3 * sigma for x, y_ in centres]
            gaussian = [math.exp(-((x - cx) ** 2 + (y_ - cy) ** 2) / (2 * sigma**2)) for x, y_ in centres]
            t = torch.tensor([b if c else 0.0 for b, c in zip(gaussian, is_near, strict=True)], dtype=torch.float64)
        else:
            hit_cell = min(int(cy), height - 1) * width + min(int(cx), width - 1)
            t = torch.tensor([float(i == hit_cell) for i in range(height * width)], dtype=torch.float64)
        flat_logits, centre_tensor = y[n, k].flatten(), torch.tensor(centres, dtype=torch.float64)
        cost = F.cross_entropy(flat_logits[None], (t / t.sum())[None])
        mean = flat_logits.softmax(0) @ centre_tensor
        costs.append(cost + l1 * ((mean[0] - cx).abs() + (mean[1] - cy).abs()))
    return torch.stack(costs).mean()


def coordinates(y: Tensor, target: Tensor, height: float, width: float) -> Tensor:
    """Return the loss of coordinates: PyTorch's l1_loss of the labelled points, as fractions of each side."""
    is_labelled = target[..., 2] > 0
    result = (y.view(len(y), -1, 2)[is_labelled] + 0.5) * torch.tensor([width, height])
    return sum(
        F.l1_loss(result[:, axis] / side, target[is_labelled][:, axis] / side)
        for axis, side in ((0, width), (1, height))
    )


KEYPOINT_CASES: dict[str, Case] = {
    "heat maps": (
        HeatMaps(),
        outputs(2, 4, 5, 7),
        points(2, 4, size=(20, 28)),
        lambda y, t: heat_maps(y, t, 4, 1.0, 1.0),
    ),
    "heat maps one hot": (
        HeatMaps(stride=2, sigma=0, l1=0),
        outputs(2, 4, 6, 3),
        points(2, 4, size=(12, 6)),
        lambda y, t: heat_maps(y, t, 2, 0, 0),
    ),
    "heat maps narrow": (
        HeatMaps(8, 0.4, 0.3),
        outputs(3, 2, 3, 4),
        points(3, 2, size=(24, 32)),
        lambda y, t: heat_maps(y, t, 8, 0.4, 0.3),
    ),
    "coordinates": (
        Coordinates((20, 28)),
        outputs(2, 8),
        points(2, 4, size=(20, 28)),
        lambda y, t: coordinates(y, t, 20, 28),
    ),
}
