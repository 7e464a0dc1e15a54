"""Batches of a data set in a random order that depends on nothing but the seed and the epoch."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.data.seeds import generator
from pellucid.errors import PellucidError

Batch = tuple[Tensor, Tensor]
_CHUNK_BATCHES = 64
_CHUNK_BYTES = 8 << 20  # of float32 images: about what the caches of a processor hold
_WORKERS = max(1, (os.cpu_count() or 1) // 2)  # the other half is for the training step


@dataclass(frozen=True, eq=False)
class Loader:
    """Cut (x, y) into shuffled batches, epoch by epoch, the same ones whenever and wherever they are asked for.

    x: (N, ...) uint8 or float; y: (N, ...). Batches are new float32 tensors (uint8 becomes 0..1) that keep
    the shape of x behind the batch axis; x and y are never written to. augment(x, rng) and then transform(x)
    are applied to every batch. The order is drawn with seed mix(seed, epoch), the augmentation of batch k
    with mix(seed, epoch, k, rank), so an epoch taken up at any batch, with any prefetch, has the same bits.

    batch_size: over all machines; rank r of `world` gets rows r, r + world, ... of each batch. A last batch
    with fewer rows than batch_size is left out if drop_last, or if it has no row for some rank.
    prefetch: how many augmented batches background threads prepare ahead; 0 works without threads.
    Without augmentation and transform there are none: many batches are gathered at a time, a batch is a view.
    Raises PellucidError for sizes that do not fit.
    """

    x: Tensor
    y: Tensor
    batch_size: int
    seed: int
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    shuffle: bool = True
    prefetch: int = 2
    drop_last: bool = False
    transform: Callable[[Tensor], Tensor] | None = None
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit."""
        if len(self.x) != len(self.y):
            raise PellucidError(f"loader: {len(self.x)} images but {len(self.y)} labels; give one label per image")
        if not 0 <= self.rank < self.world:
            raise PellucidError(f"loader: rank {self.rank} of {self.world}; ranks go from 0 to world - 1")
        if self.batch_size < self.world:
            raise PellucidError(
                f"loader: batch size {self.batch_size} is below the least, {self.world}; make it larger"
            )
        if self.prefetch < 0:
            raise PellucidError(f"loader: prefetch is {self.prefetch}; give 0 or more")
        if len(self) == 0:
            raise PellucidError(
                f"loader: {len(self.x)} examples do not fill one batch of {self.batch_size}; make it smaller"
            )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        full, rest = divmod(len(self.x), self.batch_size)
        return full + (rest >= self.world and not self.drop_last)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from batch `start`; closing the iterator stops its threads."""
        if not 0 <= start <= len(self):
            raise PellucidError(f"loader: start is {start}; an epoch has batches 0 to {len(self) - 1}")
        if start == len(self):
            return iter(())
        rows = len(range(self.rank, self.batch_size, self.world))  # of this rank, in a full batch
        order = self._order(epoch)
        if self.augment is None and self.transform is None:
            return self._gathered(order[start * rows :], rows)
        batches = order.split(rows)
        if self.augment is None or self.prefetch == 0:
            return (self._batch(batches[k], epoch, k) for k in range(start, len(batches)))
        return self._prefetched(batches, epoch, start)

    def _order(self, epoch: int) -> Tensor:
        """Return the indices of this rank for the whole epoch, batch after batch."""
        n = len(self.x)
        order = torch.randperm(n, generator=generator(self.seed, epoch)) if self.shuffle else torch.arange(n)
        order = order[: len(self) * self.batch_size]
        if self.world > 1:
            place = torch.arange(len(order)) % self.batch_size  # within its batch
            order = order[place % self.world == self.rank]
        return order.to(self.x.device)

    def _gathered(self, order: Tensor, rows: int) -> Iterator[Batch]:
        row_bytes = 4 * max(1, self.x[0].numel())
        batches = max(1, min(_CHUNK_BATCHES, _CHUNK_BYTES // (row_bytes * rows)))
        for take in order.split(batches * rows):
            x = float_images(self.x.index_select(0, take))
            yield from zip(x.split(rows), self.y.index_select(0, take).split(rows), strict=True)

    def _batch(self, take: Tensor, epoch: int, k: int) -> Batch:
        x = float_images(self.x.index_select(0, take))
        if self.augment is not None:
            x = self.augment(x, generator(self.seed, epoch, k, self.rank))
        if self.transform is not None:
            x = self.transform(x)
        return x, self.y.index_select(0, take)

    def _prefetched(self, batches: tuple[Tensor, ...], epoch: int, start: int) -> Iterator[Batch]:
        # One PyTorch thread per worker: the processors are shared with the training step.
        pool = ThreadPoolExecutor(
            min(_WORKERS, self.prefetch), "pellucid-loader", initializer=torch.set_num_threads, initargs=(1,)
        )
        try:
            queue: deque[Future[Batch]] = deque()
            for k in range(start, len(batches)):
                queue.append(pool.submit(self._batch, batches[k], epoch, k))
                if len(queue) > self.prefetch:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            # The workers' setting is also the default of threads yet to come: give them this thread's.
            torch.set_num_threads(torch.get_num_threads())
