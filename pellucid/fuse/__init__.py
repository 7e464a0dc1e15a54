"""Fused forms of networks: the same result in less time and memory."""

from pellucid.fuse.context import Rate
from pellucid.fuse.frozen import freeze
from pellucid.fuse.parts import BatchParts, synced
from pellucid.fuse.plan import fuse

__all__ = ["BatchParts", "Rate", "freeze", "fuse", "synced"]
