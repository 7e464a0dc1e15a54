"""Gradient clipping."""

import torch
from torch import Tensor

from pellucid.optim import foreach


def clip_by_norm(grads: list[Tensor], limit: float) -> Tensor:
    """Scale all gradients together, in place, so that their joint norm is at most `limit`; return the norm before.

    Where the norm overflows, gradients of 0 or NaN are left, as by PyTorch: look at what is returned.
    Source: Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1.
    """
    norm = torch.stack(foreach.norm(grads)).norm()
    foreach.mul_(grads, (limit / (norm + 1e-6)).clamp(max=1.0))
    return norm


def clip_by_value(grads: list[Tensor], limit: float) -> None:
    """Bring every number of every gradient into [-limit, limit], in place."""
    foreach.clamp_min_(grads, -limit)
    foreach.clamp_max_(grads, limit)
