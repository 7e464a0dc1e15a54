"""Networks as functions from inputs to outputs, for evaluation: the same numbers sooner."""

from pellucid.fuse.inference.plan import inference
from pellucid.fuse.inference.runs import AsWritten

__all__ = ["AsWritten", "inference"]
