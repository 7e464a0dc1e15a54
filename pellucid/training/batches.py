"""The batches of a training or an evaluation, from any source."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.data import Arrays, Batch, FeatureStats, Loader, Source, Subset
from pellucid.data.augment.standardise import scaled
from pellucid.data.loader import changed
from pellucid.data.seeds import generator
from pellucid.data.stream import Stream
from pellucid.errors import PellucidError
from pellucid.training.device import CPU, on_device
from pellucid.training.learner import Learner

SAMPLE = 500, 5_000  # training images that train_accuracy is measured on: a tenth of them, but between these
Augmentation = Callable[[Any, torch.Generator], Any]  # of images, or of a Batch where it has joint = True


@dataclass(frozen=True, eq=False)
class StreamLoader:
    """The batches of a stream, augmented and transformed as those of a Loader."""

    stream: Stream
    seed: int
    augment: Augmentation | None
    transform: Callable[[Tensor], Tensor] | None

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.stream.steps or 0

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from batch `start`."""
        for k, batch in enumerate(self.stream.epoch(epoch, start), start):
            yield changed(batch, self.augment, self.transform, generator(self.seed, epoch, k, 0))


def batches(model: Learner, data: Source, batch_size: int, augment: Augmentation | None) -> Loader | StreamLoader:
    """Return the batches that the model sees in training; PellucidError for a batch size that does not fit."""
    transform = None if model.stats is None else model.stats.apply
    if not isinstance(data, Stream):
        return Loader(data, batch_size, model.seed, augment, transform=transform)
    if data.steps is None:
        raise PellucidError("fit: give steps_per_epoch, the number of batches that make an epoch of a generator")
    return StreamLoader(data, model.seed, augment, transform)


def read(
    data: Source,
    indices: Sequence[int] | None,
    batch_size: int,
    stats: FeatureStats | None = None,
    device: torch.device = CPU,
) -> Iterator[Batch]:
    """Yield the examples at `indices`, all without, in that order, as the network takes them.

    Images that are not in memory are decoded in the background.
    """
    if isinstance(data, Arrays):
        parts = (data.x, data.y) if indices is None else data.batch(indices, generator(0))
        found = map(Batch, *(part.split(batch_size) for part in parts))
    elif isinstance(data, Stream) and indices is None:
        found = data.epoch(0)
    else:
        source = data if indices is None else Subset(data, torch.tensor(indices))
        found = Loader(source, batch_size, seed=0, shuffle=False).epoch(0)
    for batch in found:
        images, targets = on_device(tuple(batch), device)
        yield Batch(scaled(images, stats), targets)


def read_images(
    x: Tensor | Source, batch_size: int, stats: FeatureStats | None, device: torch.device
) -> Iterator[Tensor]:
    """Yield inputs (N, ...), or the images of a source, batch by batch as the network takes them."""
    if isinstance(x, Tensor):
        return (scaled(on_device(part, device), stats) for part in x.split(batch_size))
    return (batch.images for batch in read(x, None, batch_size, stats, device))


def sample(data: Source, seed: int) -> list[int]:
    """Return which examples the training's metrics are measured on, the first batch of a stream."""
    if isinstance(data, Stream):
        return list(range(data.first_size))
    order = torch.randperm(len(data), generator=generator(seed))
    return order[: min(max(len(data) // 10, SAMPLE[0]), SAMPLE[1])].sort().values.tolist()
