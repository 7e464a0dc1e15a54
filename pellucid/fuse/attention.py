"""Fused form of attention, which computes the attention weights block by block, in the processor's cache.

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


class FlashCache(NamedTuple):
    """Cache of FusedAttention: its inputs, y, and the logarithm of each query's sum of exponentials (N, heads, T)."""

    q: Tensor
    k: Tensor
    v: Tensor
    y: Tensor
    log_sums: Tensor
    masks: tuple[Tensor, ...]  # the masks among the inputs, all True


@dataclass(frozen=True)
class FusedAttention(FusedForm):
    """Replace an Attention on the CPU: the weights are computed block by block, and again in the backward pass.

    Only y and one number per query are cached, instead of one weight for each query and key. Inputs with a mask that
    is not all True, dropout, and those for which PyTorch has no such kernel, are computed by the layer itself. Source:
    Dao et al. 2022, algorithms 1 and 4.
    """

    layer: Attention

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, FlashCache | AttentionCache]:
        """Compute y = softmax(s q kᵀ) v."""
        has_dropout = mode.train and self.layer.rate  # which the kernel lacks
        if not has_dropout and has_kernel(x):
            q, k, v, *masks = x
            q, k, v = map(with_contiguous_rows, (q, k, v))
            y, log_sums = aten._scaled_dot_product_flash_attention_for_cpu(
                q, k, v, 0.0, self.layer.causal, scale=self.layer.scale
            )
            # Where scores are NaN or overflow, the kernel may return 0 for the logarithm and for y.
            if not bool((log_sums == 0).any()):
                return y, FlashCache(q, k, v, y, log_sums, tuple(masks))
        return self.layer.forward(params, x, mode)

    def backward(
        self, params: Params, cache: FlashCache | AttentionCache, dy: Tensor
    ) -> tuple[tuple[Tensor | None, ...], Params]:
        """Compute dq, dk and dv."""
        if isinstance(cache, AttentionCache):
            return self.layer.backward(params, cache, dy)
        gradients = aten._scaled_dot_product_flash_attention_for_cpu_backward(
            with_contiguous_rows(dy), cache.q, cache.k, cache.v, cache.y, cache.log_sums, 0.0, self.layer.causal,
            scale=self.layer.scale,
        )  # fmt: skip
        return (*gradients, *(None for _ in cache.masks)), {}


def has_kernel(x: tuple[Tensor, ...]) -> bool:
    """Return whether PyTorch's kernel computes the attention of x: q, k and v (N, heads, T or S, d) on the CPU.

    Masks must be all True, as networks that were exported without a mask may have one.
    """
    q, k, v, *masks = x
    if q.device.type != "cpu" or any(tensor.dim() != 4 or tensor.numel() == 0 for tensor in (q, k, v)):
        return False
    if q.shape[:2] != k.shape[:2] or k.shape != v.shape or q.shape[3] != k.shape[3]:
        return False
    return all(is_all_true(mask, (*q.shape[:3], k.shape[2])) for mask in masks)


def is_all_true(mask: Tensor, shape: tuple[int, ...]) -> bool:
    """Return whether a mask is all True and can be expanded to `shape`."""
    if mask.dtype is not torch.bool or mask.dim() > len(shape):
        return False
    fits = all(size in (1, full) for size, full in zip(mask.shape[::-1], shape[::-1], strict=False))
    return fits and bool(mask.all())


def with_contiguous_rows(x: Tensor) -> Tensor:
    """Return x with the values of its last axis side by side in memory, as the kernels assume without a check."""
    return x if x.stride(3) == 1 else x.contiguous()
