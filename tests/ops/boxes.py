"""Random boxes for the tests of operations on them."""

import torch
from torch import Tensor


def random_boxes(count: int, seed: int = 0, size: float = 100.0, largest: float = 40.0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    low = torch.rand(count, 2, generator=rng, dtype=torch.float64) * size
    return torch.cat([low, low + 1 + torch.rand(count, 2, generator=rng, dtype=torch.float64) * largest], 1)


def iou(a: list[float], b: list[float]) -> float:
    """Return the IoU of two boxes of positive area, in Python floats."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
