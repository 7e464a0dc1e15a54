"""Conversion of networks to functions from inputs to outputs, for faster evaluation."""

from pellucid.fuse.inference.plan import inference
from pellucid.fuse.inference.runs import AsWritten

__all__ = ["AsWritten", "inference"]
