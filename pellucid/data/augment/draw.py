"""Random numbers for augmentation: drawn on the generator's device, used on the batch's."""

import torch
from torch import Tensor


def uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator, like: Tensor) -> Tensor:
    """Return float32 numbers, uniform in [low, high), on the device of `like`."""
    return torch.rand(shape, generator=rng, device=rng.device).mul_(high - low).add_(low).to(like.device)


def coins(n: int, p: float, rng: torch.Generator, like: Tensor) -> Tensor:
    """Return n truths (N, 1, 1, 1), each true with probability p."""
    return (torch.rand((n, 1, 1, 1), generator=rng, device=rng.device) < p).to(like.device)
