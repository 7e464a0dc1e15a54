"""Conversion of networks to functions from inputs to outputs, for faster evaluation."""

from pellucid.fuse.inference.int8_plan import check_kernels, int8_inference
from pellucid.fuse.inference.plan import inference
from pellucid.fuse.inference.runs import AsWritten

__all__ = ["AsWritten", "check_kernels", "inference", "int8_inference"]
