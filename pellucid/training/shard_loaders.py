"""Loaders of the shards of each batch that one process computes."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.data.loader import Loader
from pellucid.data.source import Batch
from pellucid.errors import PellucidError
from pellucid.text import plural
from pellucid.training.distributed import Processes, dealt
from pellucid.training.reading import StreamLoader


def shards_of(processes: Processes, shards: int) -> range:
    """Return the numbers of the shards that this process computes; PellucidError for more processes than shards."""
    if processes.count > shards:
        raise PellucidError(
            f"fit: {processes.count} processes share {plural(shards, 'shard')}; start at most as many processes as "
            "shards, which a run keeps from its beginning"
        )
    return dealt(processes.rank, processes.count, shards)


class ShardLoader:
    """The shards of each batch that one process computes: lists of batches, epoch by epoch.

    whole: the loader of whole batches. own: the numbers of this process's shards, of `shards`. Raises PellucidError for
    more shards than examples of a batch.
    """

    def __init__(self, whole: Loader, own_shards: range, shards: int) -> None:
        if whole.batch_size < shards:
            raise PellucidError(f"fit: a batch of {whole.batch_size} has no {shards} shards; make it larger")
        self.loaders = [replace(whole, rank=shard, world=shards) for shard in own_shards]

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.loaders[0])

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Sequence[Batch]]:
        """Yield the shards of each batch of an epoch, from batch `start`."""
        with ExitStack() as stack:
            parts = [cast(Any, loader.epoch(epoch, start)) for loader in self.loaders]
            for part in parts:
                if hasattr(part, "close"):
                    stack.enter_context(closing(part))
            yield from zip(*parts, strict=True)


class StreamShards:
    """The shards of each batch of a stream that one process computes; every process reads the whole batches.

    Raises PellucidError for a batch with fewer examples than shards, and where the processes read different batches.
    """

    def __init__(self, whole: StreamLoader, processes: Processes, shards: int) -> None:
        self.whole, self.processes, self.shards = whole, processes, shards
        self.own = shards_of(processes, shards)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.whole)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Sequence[Batch]]:
        """Yield the shards of each batch of an epoch, from batch `start`."""
        for k, (images, targets) in enumerate(self.whole.stream.epoch(epoch, start), start):
            if len(images) < self.shards:
                raise PellucidError(
                    f"fit: batch {k + 1} of the stream has {plural(len(images), 'example')}, fewer than the "
                    f"{self.shards} shards; yield larger batches"
                )
            self._check_same(images, k)
            parts = [Batch(images[shard :: self.shards], targets[shard :: self.shards]) for shard in self.own]
            yield [self.whole.changed(part, epoch, k, shard) for part, shard in zip(parts, self.own, strict=True)]

    def _check_same(self, images: Tensor, k: int) -> None:
        """Raise PellucidError unless all processes have read the same number of images with the same sum."""
        sums = self.processes.gathered(torch.stack([images.sum(dtype=torch.float64), torch.tensor(float(len(images)))]))
        wrong = (sums != sums[0]).any(1).nonzero()
        if len(wrong):
            raise PellucidError(
                f"fit: the stream of process {int(wrong[0])} differs from that of process 0 in batch {k + 1}; every "
                "process must yield the same whole batches, of which it computes its own part"
            )


def loader_of_shards(whole: Loader | StreamLoader, processes: Processes, shards: int) -> ShardLoader | StreamShards:
    """Return the loader of this process's shards of each batch."""
    if isinstance(whole, StreamLoader):
        return StreamShards(whole, processes, shards)
    return ShardLoader(whole, shards_of(processes, shards), shards)
