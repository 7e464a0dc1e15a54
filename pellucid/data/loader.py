"""Batches of a data set in a random order determined by the seed and the epoch."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.base.text import shown
from pellucid.data.dataset import float_images
from pellucid.data.seeds import generator
from pellucid.data.source import Arrays, Batch, Source, batch_of

_CHUNK_BATCHES = 64  # maximum number of batches that are gathered at a time
_CHUNK_BYTES = 8 << 20  # maximum size of their float32 images: about the size of a processor's caches


def usable_processors() -> int:
    """Return the number of processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Not processes: Pillow releases the interpreter's lock while it decodes, nothing has to be pickled (sources may contain
# closures and open zips), and an epoch begins at once.
# Threads, each of which prepares one batch at a time. If the training steps take longer than the reading, all prepared
# batches wait and each step starts only one thread; otherwise the steps wait, and the threads use all processors.
WORKERS = min(16, usable_processors())


def steps_per_epoch(n_examples: int, batch_size: int) -> int:
    """Return the number of batches of an epoch, of which the last may be smaller."""
    return -(-n_examples // batch_size)


@dataclass(frozen=True, eq=False)
class Loader:
    """Shuffled batches of a source, epoch by epoch; the same seed gives the same batches in every process.

    Images are new tensors of `dtype` (uint8 becomes 0..1); the source is never modified. Every batch passes through
    augment(images, rng), or augment(batch, rng) if the augmentation has `joint = True` and also changes targets, and
    then through transform(images). The order is torch.randperm with seed mix(seed, epoch); the source and then the
    augmentation draw batch k with seed mix(seed, epoch, k, rank), so an epoch resumed at any batch, with any prefetch,
    is bit-identical.

    batch_size: total over all ranks; rank r of `world` receives rows r, r + world, ... of each batch. A last batch with
    fewer rows than batch_size is left out if drop_last, or if some rank would have no row.
    min_rows: the smallest number of rows of a rank; a last batch with fewer is merged into the batch before it.
    prefetch: number of batches that background threads prepare ahead. The default, WORKERS, is also the largest number
    of threads: the number of usable processors, at most 16. 0 uses no threads. `Arrays` without augmentation never use
    threads: many batches are gathered at a time, and each batch is a view.
    Raises PellucidError for invalid sizes, and for a source that returns anything but a Batch.
    """

    source: Source
    batch_size: int
    seed: int
    augment: Callable[[Any, torch.Generator], Any] | None = None
    shuffle: bool = True
    prefetch: int = WORKERS
    drop_last: bool = False
    transform: Callable[[Tensor], Tensor] | None = None
    rank: int = 0
    world: int = 1
    dtype: torch.dtype = torch.float32
    min_rows: int = 1
    __repr__ = brief_repr

    def __post_init__(self) -> None:
        """Raise PellucidError for invalid sizes."""
        if not 0 <= self.rank < self.world:
            raise PellucidError(f"loader: rank {self.rank} of {self.world}; ranks go from 0 to world - 1")
        if self.batch_size < self.world:
            raise PellucidError(
                f"loader: batch size {self.batch_size} is below the number of ranks, {self.world}; make it larger"
            )
        if self.prefetch < 0:
            raise PellucidError(f"loader: prefetch is {self.prefetch}; give 0 or more")
        if len(self) == 0:
            raise PellucidError(
                f"loader: {len(self.source)} examples do not fill one batch of {self.batch_size}; make it smaller"
            )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        n_full, remainder = divmod(len(self.source), self.batch_size)
        if self.drop_last or remainder < self.world:
            return n_full
        return n_full + (not self._merges_last)

    @property
    def _merges_last(self) -> bool:
        """Whether the last batch is merged into the batch before it, if there is one."""
        n_full, remainder = divmod(len(self.source), self.batch_size)
        has_few_rows = self.world <= remainder < self.world * self.min_rows
        return n_full > 0 and has_few_rows and not self.drop_last

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from batch `start`; closing the iterator stops its threads."""
        if not 0 <= start <= len(self):
            raise PellucidError(f"loader: start is {start}; an epoch has batches 0 to {len(self) - 1}")
        if start == len(self):
            return iter(())
        rank_batch_size = len(range(self.rank, self.batch_size, self.world))  # examples of this rank in a full batch
        order = self._order(epoch)
        sizes = [rank_batch_size] * (len(self) - 1)
        sizes.append(len(order) - sum(sizes))
        if self.augment is None and isinstance(self.source, Arrays) and type(self.source).batch is Arrays.batch:
            return self._gather_batches(self.source, order[sum(sizes[:start]) :], sizes[start:])
        batches = order.split(sizes)
        if self.prefetch == 0:
            return (self._load_batch(batches[k], epoch, k) for k in range(start, len(batches)))
        return self._prefetch_batches(batches, epoch, start)

    def _order(self, epoch: int) -> Tensor:
        """Return the indices of this rank's examples in an epoch, in the order of the batches."""
        n_examples = len(self.source)
        order = (
            torch.randperm(n_examples, generator=generator(self.seed, epoch))
            if self.shuffle
            else torch.arange(n_examples)
        )
        last_start = (len(self) - 1) * self.batch_size
        if not self._merges_last:
            order = order[: last_start + self.batch_size]
        if self.world > 1:
            row_in_batch = torch.arange(len(order)) % self.batch_size
            row_in_batch[last_start:] = torch.arange(len(order) - last_start)
            order = order[row_in_batch % self.world == self.rank]
        return order

    def _gather_batches(self, source: Arrays, order: Tensor, sizes: Sequence[int]) -> Iterator[Batch]:
        """Yield the batches of these sizes, gathered for many batches at a time."""
        row_bytes = 4 * max(1, source.x[0].numel())
        max_batches = _CHUNK_BATCHES if self.transform is None else 1  # a view of a chunk is slower to transform
        batches_per_chunk = max(1, min(max_batches, _CHUNK_BYTES // (row_bytes * max(sizes))))
        chunks = [sizes[k : k + batches_per_chunk] for k in range(0, len(sizes), batches_per_chunk)]
        for indices, chunk in zip(order.to(source.x.device).split([*map(sum, chunks)]), chunks, strict=True):
            y = source.y.index_select(0, indices)
            x = float_images(source.x.index_select(0, indices), self.dtype).split([*chunk])
            yield from map(Batch, x if self.transform is None else map(self.transform, x), y.split([*chunk]))

    def _load_batch(self, batch_indices: Tensor, epoch: int, k: int) -> Batch:
        rng = generator(self.seed, epoch, k, self.rank)
        index_list = batch_indices.tolist()
        batch = as_batch(
            batch_of(self.source, index_list, rng), len(index_list), type(self.source).__name__, self.dtype
        )
        return augment_batch(batch, self.augment, self.transform, rng)

    def _prefetch_batches(self, batches: tuple[Tensor, ...], epoch: int, start: int) -> Iterator[Batch]:
        # One PyTorch thread per worker: the processors are shared with the training step.
        pool = ThreadPoolExecutor(
            min(WORKERS, self.prefetch), "pellucid-loader", initializer=torch.set_num_threads, initargs=(1,)
        )
        try:
            queue: deque[Future[Batch]] = deque()
            for k in range(start, len(batches)):
                queue.append(pool.submit(self._load_batch, batches[k], epoch, k))
                if len(queue) > self.prefetch:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            # The workers' setting is also the default of later threads: set it to this thread's number of threads.
            torch.set_num_threads(torch.get_num_threads())


def augment_batch(
    batch: Batch,
    augment: Callable[[Any, torch.Generator], Any] | None,
    transform: Callable[[Tensor], Tensor] | None,
    rng: torch.Generator,
) -> Batch:
    """Return a batch after augment(images, rng), or augment(batch, rng) if it is joint, and transform(images)."""
    if augment is not None and getattr(augment, "joint", False):
        batch = augment(batch, rng)
    elif augment is not None:
        batch = batch._replace(images=augment(batch.images, rng))
    return batch if transform is None else batch._replace(images=transform(batch.images))


def as_batch(batch: Any, n_examples: int, name: str, dtype: torch.dtype = torch.float32) -> Batch:
    """Check the batch that a source returned for `n_examples` examples, and convert its images to `dtype`."""
    if not isinstance(batch, tuple) or len(batch) != 2 or not isinstance(batch[0], Tensor):
        raise PellucidError(f"{name}.batch returned {shown(batch)}; return pellucid.data.Batch(images, targets)")
    images, targets = batch
    if len(images) != n_examples or len(targets) != n_examples:
        raise PellucidError(
            f"{name}.batch returned {len(images)} images and {len(targets)} targets for {n_examples} indices; "
            "return one of each for every index"
        )
    return Batch(float_images(images, dtype), targets)
