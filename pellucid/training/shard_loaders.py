"""Loaders of the shards of each batch that one process computes."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.data.loader import Loader
from pellucid.data.source import Batch
from pellucid.training.distributed import Processes, assigned_range
from pellucid.training.reading import StreamLoader


def shards_of_process(processes: Processes, shards: int) -> range:
    """Return the numbers of this process's shards; raises PellucidError for more processes than shards."""
    if processes.count > shards:
        raise PellucidError(
            f"fit: {processes.count} processes share {plural(shards, 'shard')}; start at most as many processes as "
            "shards, which a run keeps from its beginning"
        )
    return assigned_range(processes.rank, processes.count, shards)


class ShardLoader:
    """The shards of each batch that one process computes: lists of batches, epoch by epoch.

    batch_loader: the loader of whole batches.
    own_shards: the numbers of this process's shards.
    shards: the number of all shards.
    Raises PellucidError for more shards than examples of a batch.
    """

    def __init__(self, batch_loader: Loader, own_shards: range, shards: int) -> None:
        if batch_loader.batch_size < shards:
            raise PellucidError(f"fit: a batch of {batch_loader.batch_size} has no {shards} shards; make it larger")
        self.loaders = [replace(batch_loader, rank=shard, world=shards) for shard in own_shards]

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.loaders[0])

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Sequence[Batch]]:
        """Yield the shards of each batch of an epoch, from batch `start`."""
        with ExitStack() as stack:
            batches_by_shard = [cast(Any, loader.epoch(epoch, start)) for loader in self.loaders]
            for shard_batches in batches_by_shard:
                if hasattr(shard_batches, "close"):
                    stack.enter_context(closing(shard_batches))
            yield from zip(*batches_by_shard, strict=True)


class StreamShards:
    """The shards of each batch of a stream that one process computes; every process reads the whole batches.

    Raises PellucidError for a batch with fewer examples than shards, and if the processes read different batches.
    """

    def __init__(self, batch_loader: StreamLoader, processes: Processes, shards: int) -> None:
        self.batch_loader = batch_loader
        self.processes = processes
        self.shards = shards
        self.own_shards = shards_of_process(processes, shards)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.batch_loader)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Sequence[Batch]]:
        """Yield the shards of each batch of an epoch, from batch `start`."""
        for k, (images, targets) in enumerate(self.batch_loader.stream.epoch(epoch, start), start):
            if len(images) < self.shards:
                raise PellucidError(
                    f"fit: batch {k + 1} of the stream has {plural(len(images), 'example')}, fewer than the "
                    f"{self.shards} shards; yield larger batches"
                )
            self._check_same_batches(images, k)
            shard_batches = [
                Batch(images[shard :: self.shards], targets[shard :: self.shards]) for shard in self.own_shards
            ]
            yield [
                self.batch_loader.augment_batch(shard_batch, epoch, k, shard)
                for shard_batch, shard in zip(shard_batches, self.own_shards, strict=True)
            ]

    def _check_same_batches(self, images: Tensor, k: int) -> None:
        """Raise PellucidError unless all processes have read the same number of images with the same sum."""
        sums = self.processes.gather(torch.stack([images.sum(dtype=torch.float64), torch.tensor(float(len(images)))]))
        different_ranks = (sums != sums[0]).any(1).nonzero()
        if len(different_ranks):
            raise PellucidError(
                f"fit: the stream of process {int(different_ranks[0])} differs from that of process 0 in batch "
                f"{k + 1}; every process must yield the same whole batches, of which it computes its own part"
            )


def loader_of_shards(
    batch_loader: Loader | StreamLoader, processes: Processes, shards: int
) -> ShardLoader | StreamShards:
    """Return the loader of this process's shards of each batch."""
    if isinstance(batch_loader, StreamLoader):
        return StreamShards(batch_loader, processes, shards)
    return ShardLoader(batch_loader, shards_of_process(processes, shards), shards)
