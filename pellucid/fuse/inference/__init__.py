"""Networks as functions from inputs to outputs, for evaluation: the same numbers sooner."""

from pellucid.fuse.inference.plan import inference
from pellucid.fuse.inference.run import AsWritten

__all__ = ["AsWritten", "inference"]
