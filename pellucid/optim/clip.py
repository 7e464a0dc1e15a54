"""Gradient clipping."""
# Some functions of PyTorch have no type annotations.
# pyright: reportUnknownMemberType=false

from typing import cast

import torch
from torch import Tensor

from pellucid.optim import foreach


def clip_by_norm(grads: list[Tensor], limit: float) -> Tensor:
    """Scale all gradients in place so that their joint norm is at most `limit`; return the norm before scaling.

    If the norm is not finite, all gradients become NaN, so that the error appears in the weights. (With PyTorch's
    clip_grad_norm_, finite gradients whose norm overflows become 0, and the weights silently stop changing.)
    Source: Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1.
    """
    norm = cast(Tensor, torch.stack(foreach.norm(grads)).norm())
    # norm - norm is 0, or NaN if the norm is not finite.
    foreach.mul_(grads, (limit / (norm + 1e-6)).clamp(max=1.0) + (norm - norm))
    return norm


def clip_by_value(grads: list[Tensor], limit: float) -> None:
    """Clip every value of all gradients to [-limit, limit], in place."""
    foreach.clamp_min_(grads, -limit)
    foreach.clamp_max_(grads, limit)
