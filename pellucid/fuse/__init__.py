"""Fused forms of networks: the same result in less time and memory."""

from pellucid.fuse.context import Rate
from pellucid.fuse.frozen import freeze
from pellucid.fuse.kernel_form import by_kernel, kernel_form, kernel_gradient, with_kernels
from pellucid.fuse.parts import BatchParts, sync_norms
from pellucid.fuse.plan import fuse
from pellucid.fuse.start import without_dx

__all__ = [
    "BatchParts",
    "Rate",
    "by_kernel",
    "freeze",
    "fuse",
    "kernel_form",
    "kernel_gradient",
    "sync_norms",
    "with_kernels",
    "without_dx",
]
