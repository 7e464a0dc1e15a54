"""Gradient clipping."""
# Some functions of PyTorch have no type annotations.
# pyright: reportUnknownMemberType=false

from typing import cast

import torch
from torch import Tensor

from pellucid.optim import foreach


def clip_by_norm(grads: list[Tensor], limit: float) -> Tensor:
    """Scale all gradients together, in place, so that their joint norm is at most `limit`; return the norm before.

    A norm that is not finite leaves gradients of NaN, so that the weights show it: PyTorch's clip_grad_norm_ leaves
    0 where a finite gradient's norm overflows, and training would stand still in silence.
    Source: Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1.
    """
    norm = cast(Tensor, torch.stack(foreach.norm(grads)).norm())
    foreach.mul_(grads, (limit / (norm + 1e-6)).clamp(max=1.0) + (norm - norm))  # the difference is 0 or NaN
    return norm


def clip_by_value(grads: list[Tensor], limit: float) -> None:
    """Clip every value of every gradient to [-limit, limit], in place."""
    foreach.clamp_min_(grads, -limit)
    foreach.clamp_max_(grads, limit)
