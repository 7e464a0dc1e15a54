"""Where examples come from: anything that can say how many it has and put some of them into a batch."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Images (N, C, H, W), or other inputs (N, ...), and their targets.

    targets: a tensor (N, ...) of classes, numbers, masks or images, or a list with one entry per image where their
    sizes differ, such as the objects in it.
    """

    images: Tensor
    targets: Any


@runtime_checkable
class Source(Protocol):
    """Examples by number: arrays in memory, image files decoded on demand, or a user's own.

    classes: their names, None where targets are no classes. checksum: changes when the examples do; a resumed
    training compares it.
    """

    classes: tuple[str, ...] | None
    checksum: str

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return the examples at `indices`, in that order; may be called from several threads at a time.

        rng: for draws of the source's own; its seed depends on the training's seed, the epoch and the batch alone.
        """
        ...
