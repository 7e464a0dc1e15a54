"""Batches yielded sequentially by a generator, a function of the epoch or a PyTorch DataLoader."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from pellucid.base.errors import PellucidError
from pellucid.base.settings.tensors import as_targets, as_tensor
from pellucid.base.text import shown
from pellucid.data.dataset import float_images
from pellucid.data.source import Batch


def is_stream(x: Any) -> bool:
    """Return whether x yields batches: a generator or another iterator, a function, or a DataLoader."""
    return isinstance(x, Iterator | DataLoader) or inspect.isfunction(x) or inspect.ismethod(x)


class Stream:
    """Batches (images, targets) in the order in which they are yielded: a source without random access.

    source: a DataLoader; a function that returns an iterator for each epoch, called with the epoch (from 0) if it takes
    an argument; or a generator, which continues from epoch to epoch. steps: batches per epoch, by default the length of
    a DataLoader, else until the iterator ends. name: of the data, in messages. images_alone: whether the batches may be
    images without targets. dtype: of images and floating-point targets.

    The first batch is read at construction: `batch` returns examples of it, and `len` counts `steps` batches of its
    size. A resumed training skips the batches before its start, which is exact only if the same batches are yielded
    again; this is not checked. Raises PellucidError for items that are not batches.
    """

    classes: tuple[str, ...] | None = None

    def __init__(
        self, source: Any, steps: int | None, name: str, images_alone: bool = False, dtype: torch.dtype = torch.float32
    ) -> None:
        self.steps = len(source) if steps is None and isinstance(source, DataLoader) else steps
        self.checksum = f"batches as they are yielded, {self.steps} per epoch"
        self.is_single_pass = isinstance(source, Iterator)  # a generator, which can be read only once
        self._iterable, self._name, self._images_alone, self._dtype = source, name, images_alone, dtype
        self.check: Callable[[Batch], None] = lambda batch: None  # called with every batch
        self.n_examples = 0  # examples yielded in the last epoch that was read
        self._n_batches_read = 0  # batches of a generator that have been read
        first_item = next(self._iterator(0), None)
        if first_item is None:
            raise PellucidError(f"{name} yields no batch; give at least one")
        self._first_batch = self._batch(first_item)
        if self.is_single_pass:
            self._iterable = chain([first_item], source)

    @property
    def first_size(self) -> int:
        """The number of examples in the first batch."""
        return len(self._first_batch.images)

    @property
    def smallest_size(self) -> int:
        """The smallest known number of examples in a batch: of the first one, and of the last one of a DataLoader."""
        loader = self._iterable
        batches = loader.batch_sampler if isinstance(loader, DataLoader) else None
        if not isinstance(batches, BatchSampler) or not hasattr(batches.sampler, "__len__"):
            return self.first_size
        last_size = len(cast(Any, batches.sampler)) % batches.batch_size
        has_smaller_last = last_size > 0 and not batches.drop_last and self.steps == len(batches)
        return min(self.first_size, last_size) if has_smaller_last else self.first_size

    def checked(self, check: Callable[[Batch], None]) -> "Stream":
        """Call `check` with every later batch, and return this stream."""
        self.check = check
        return self

    def __len__(self) -> int:
        """Return the number of examples in an epoch, assuming that all batches are as large as the first."""
        return self.first_size * (self.steps or 1)

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return the examples of the first batch at `indices`, modulo its size."""
        images, targets = self._first_batch
        rows = [k % len(images) for k in indices]
        return Batch(images[rows], targets[rows] if isinstance(targets, Tensor) else [targets[k] for k in rows])

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from batch `start`; raise PellucidError for fewer than `steps` batches."""
        self.n_examples = 0
        n_skipped = start + (epoch * (self.steps or 0) - self._n_batches_read if self.is_single_pass else 0)
        if n_skipped < start:
            raise PellucidError(f"{self._name} is a generator, which can be read only once; give a function")
        n_required, n_read = None if self.steps is None else n_skipped + self.steps - start, 0
        for item in islice(self._iterator(epoch), n_required):
            n_read += 1
            self._n_batches_read += self.is_single_pass
            if n_read > n_skipped:
                batch = self._batch(item)
                self.n_examples += len(batch.images)
                yield batch
        if n_required is not None and n_read < n_required:
            raise PellucidError(
                f"{self._name} ended in epoch {epoch + 1} after {max(0, n_read - n_skipped + start)} of "
                f"{self.steps} batches; "
                "give fewer steps_per_epoch, or a function that returns an iterator for each epoch"
            )

    def _iterator(self, epoch: int) -> Iterator[Any]:
        """Return the iterator of an epoch."""
        if not callable(self._iterable):
            return iter(self._iterable)
        parameters = inspect.signature(self._iterable).parameters.values()
        takes_epoch = any(
            parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters
        )
        iterable: Any = self._iterable(epoch) if takes_epoch else self._iterable()
        try:
            return iter(iterable)
        except TypeError:
            raise PellucidError(
                f"{self._name} returned {shown(iterable)}; return an iterator of batches (images, targets)"
            ) from None

    def _batch(self, item: Any) -> Batch:
        """Return a yielded item as a checked batch of tensors."""
        pair: Any = [item] if self._images_alone and not isinstance(item, tuple | list) else item
        if not isinstance(pair, tuple | list) or not 2 - self._images_alone <= len(pair) <= 2:
            raise PellucidError(f"{self._name} yields {shown(item)}; yield batches (images, targets)")
        images = as_tensor(pair[0], self._name)
        if images.dtype is not torch.uint8 and not images.is_floating_point():
            raise PellucidError(f"{self._name} yields images of {images.dtype}; give uint8 (0..255) or floats (0..1)")
        batch = Batch(float_images(images, self._dtype), _targets(pair[-1], self._name, self._dtype))
        n_examples = len(images) if images.dim() else 0
        if not n_examples or n_examples != len(batch.targets):
            raise PellucidError(
                f"{self._name} yields {n_examples} images and {len(batch.targets)} targets in a batch; "
                "yield the same number of both, and at least one"
            )
        self.check(batch)
        return batch


def _targets(values: Any, name: str, dtype: torch.dtype) -> Any:
    """Return numeric targets as a tensor, floats as `dtype`; a list of other targets, such as Objects, is unchanged."""
    if isinstance(values, list | tuple) and values and not isinstance(values[0], int | float | np.generic):
        return values
    return as_targets(values, name, dtype)
