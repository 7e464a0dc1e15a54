"""Fused form of attention, which computes the attention weights in parts that fit into the processor's cache.

Tests: tests/fuse/test_attention.py.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.fuse.context import FusedForm
from pellucid.layers.base import Mode, Params
from pellucid.operators.products import Attention, AttentionCache

aten = torch.ops.aten


class PartwiseCache(NamedTuple):
    """Cache of attention in parts: its inputs q, k, v, y, the logarithm of each query's sum of exponentials, and masks.

    The masks mask nothing.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    y: Tensor
    log_sums: Tensor
    masks: tuple[Tensor, ...]


@dataclass(frozen=True)
class FusedAttention(FusedForm):
    """Replace an Attention on the CPU: the weights are computed in parts, and again in the backward pass.

    Only y and one number per query are cached, instead of one weight for each query and key. Inputs with a mask that
    masks something, and those for which PyTorch has no such kernel, are computed by the layer itself. Source: Dao et
    al. 2022, algorithms 1 and 4.
    """

    layer: Attention

    def forward(
        self, params: Params, x: tuple[Tensor, ...], mode: Mode
    ) -> tuple[Tensor, PartwiseCache | AttentionCache]:
        """Compute y = softmax(s q kᵀ) v."""
        if not has_kernel(x):
            return self.layer.forward(params, x, mode)
        q, k, v, *masks = x
        q, k, v = map(with_dense_rows, (q, k, v))
        y, log_sums = aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, self.layer.causal, scale=self.layer.scale
        )
        return y, PartwiseCache(q, k, v, y, log_sums, tuple(masks))

    def backward(
        self, params: Params, cache: PartwiseCache | AttentionCache, dy: Tensor
    ) -> tuple[tuple[Tensor | None, ...], Params]:
        """Compute dq, dk and dv."""
        if isinstance(cache, AttentionCache):
            return self.layer.backward(params, cache, dy)
        *tensors, masks = cache
        gradients = aten._scaled_dot_product_flash_attention_for_cpu_backward(
            with_dense_rows(dy), *tensors, 0.0, self.layer.causal, scale=self.layer.scale
        )
        return (*gradients, *(None for _ in masks)), {}


def has_kernel(x: tuple[Tensor, ...]) -> bool:
    """Return whether PyTorch's kernel computes the attention of x: q, k and v (N, heads, T or S, d) on the CPU.

    Masks must be booleans that are all True, as exported networks without a mask have them.
    """
    q, k, v, *masks = x
    if q.device.type != "cpu" or any(part.dim() != 4 or part.numel() == 0 for part in (q, k, v)):
        return False
    if not all(mask.dtype is torch.bool and bool(mask.all()) for mask in masks):
        return False
    return q.shape[:2] == k.shape[:2] and k.shape == v.shape and q.shape[3] == k.shape[3]


def with_dense_rows(x: Tensor) -> Tensor:
    """Return x with the values of its last axis side by side in memory, as the kernels assume without a check."""
    return x if x.stride(3) == 1 else x.contiguous()
