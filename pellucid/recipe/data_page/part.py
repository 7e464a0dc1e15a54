"""One part of the data: the examples that are read of it, and their numbers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.augment import FeatureStats
from pellucid.data.augment.standardise import scaled
from pellucid.data.files import ImageFiles
from pellucid.data.images import attempt_all, image_size, pillow_warnings_as_errors
from pellucid.data.keypoints import KeypointSource
from pellucid.data.loader import augment_batch
from pellucid.data.seeds import generator
from pellucid.data.source import Arrays, Batch, Source, Subset, batch_of
from pellucid.data.stream import Stream
from pellucid.ops.image_objects import Objects
from pellucid.training.examples import first_batch
from pellucid.training.reading import Augmentation, drawn_indices

MAX_IN_MEMORY, MAX_READ = 2_000, 200  # examples of a part that are read: of arrays, and of other sources
MAX_VALUES = 100_000  # values of a part in a histogram
MAX_BYTES = 1 << 28  # of the examples of a part that are read, estimated by the first


class InputValues(NamedTuple):
    """The smallest and the largest value, the mean and the standard deviation of what the network receives."""

    low: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True, eq=False)
class DataPart:
    """A part of the data, by the examples of it that are read.

    name: such as "training". total: number of examples; None if it is unknown. indices, examples: of the examples that
    are read, each as a batch of one, before scaling and augmentation. inputs: the values of each example as the network
    receives them without augmentation. sampled_values: some of all these values. shown: the examples that are drawn,
    after scaling and augmentation. left_out: the reasons why images are left out. file_sizes: (H, W) of the image
    files, () if they are unknown.
    """

    name: str
    total: int | None
    indices: Sequence[int]
    examples: Sequence[Batch]
    inputs: Sequence[InputValues]
    sampled_values: Tensor
    shown: Batch
    left_out: Sequence[str]
    file_sizes: Sequence[tuple[int, int]]

    @property
    def values(self) -> InputValues:
        """The values of all inputs that are read."""
        low, high, means, deviations = torch.tensor(self.inputs, dtype=torch.float64).T
        weights = torch.tensor([example.images.numel() for example in self.examples], dtype=torch.float64)
        weights /= weights.sum()
        mean = (weights * means).sum()
        mean_square = (weights * (deviations.square() + means.square())).sum()
        deviation = (mean_square - mean.square()).clamp_min(0).sqrt()
        return InputValues(float(low.min()), float(high.max()), float(mean), float(deviation))

    @property
    def shapes(self) -> Counter[str]:
        """The numbers of inputs of each shape."""
        return Counter("x".join(map(str, example.images.shape[1:])) for example in self.examples)

    @property
    def object_sizes(self) -> Tensor:
        """The square roots of the areas of all boxes, in pixels."""
        targets = [example.targets[0] for example in self.examples]
        boxes = [target.boxes for target in targets if isinstance(target, Objects)]
        sides = [image_boxes[:, 2:] - image_boxes[:, :2] for image_boxes in boxes]
        return torch.cat([torch.zeros(0), *(image_sides.prod(1).sqrt() for image_sides in sides)])


def read_part(
    name: str,
    source: Source,
    stats: FeatureStats | None,
    augment: Augmentation | None,
    seed: int,
    limit: int | None,
    n_shown: int,
) -> DataPart:
    """Read a part: at most `limit` examples drawn with the seed, or the first ones of a stream.

    n_shown: number of examples that are drawn as pictures. limit: None for MAX_IN_MEMORY examples in memory, or
    MAX_READ others. Raises PellucidError if none can be read.
    """
    limit = limit or (MAX_IN_MEMORY if isinstance(source, Arrays) else MAX_READ)
    limit = max(1, min(limit, MAX_BYTES // _bytes_of_first_example(source)))
    if isinstance(source, Stream):
        indices, examples, errors = *_read_stream(source, limit), list[str]()
        total = None if source.steps is None and len(examples) >= limit else max(len(source), len(examples))
        first_examples = examples[:n_shown]
        shown = Batch(
            torch.cat([example.images for example in first_examples]),
            _join_targets([example.targets for example in first_examples]),
        )
    else:
        indices, examples, errors = _read_examples(source, drawn_indices(len(source), limit, seed).tolist(), seed)
        total = len(source)
        shown_positions = torch.linspace(0, len(indices) - 1, min(n_shown, len(indices))).round().int()
        shown = batch_of(source, [indices[k] for k in shown_positions.tolist()], generator(seed))
    # The order is that of training: uint8 to 0..1, augmentation, then standardization.
    shown = augment_batch(
        Batch(scaled(shown.images, None), shown.targets), augment, transform=None, rng=generator(seed)
    )
    shown = shown._replace(images=scaled(shown.images, stats))
    value_step = max(1, sum(example.images.numel() for example in examples) // MAX_VALUES)
    inputs, samples = zip(
        *(_received_values(example.images[0], stats, value_step) for example in examples), strict=True
    )
    return DataPart(
        name, total, indices, examples, inputs, torch.cat(samples),
        shown, [*errors, *_left_out(source)], _file_sizes(source, indices),
    )  # fmt: skip


def _received_values(x: Tensor, stats: FeatureStats | None, value_step: int) -> tuple[InputValues, Tensor]:
    """Return the values of an example (C, ...) after scaling, and every `value_step`-th of each channel.

    Scaling is affine in each channel, so images are not copied: slope and offset are read off its values for 0 and 1.
    """
    probes = torch.tensor([0, 1], dtype=x.dtype).reshape(2, *[1] * x.dim()).expand(2, len(x), *[1] * (x.dim() - 1))
    offset, scaled_ones = scaled(probes, stats, torch.float64).flatten(1)  # (C,) each
    slope, channel_rows = scaled_ones - offset, x.reshape(len(x), -1)
    float_rows = channel_rows.float()
    mean, std = (slope * float_rows.mean(1) + offset), slope * float_rows.std(1, correction=0)
    channel_ends = torch.stack([slope * channel_rows.amin(1) + offset, slope * channel_rows.amax(1) + offset])
    mean_square = (std.square() + mean.square()).mean()
    deviation = (mean_square - mean.mean().square()).clamp_min(0).sqrt()
    sampled_values = (channel_rows[:, ::value_step].double() * slope[:, None] + offset[:, None]).flatten().float()
    values = InputValues(float(channel_ends.min()), float(channel_ends.max()), float(mean.mean()), float(deviation))
    return values, sampled_values


def _bytes_of_first_example(source: Source) -> int:
    """Return the number of bytes of the first example."""
    images, targets = first_batch(source)
    first_target = targets[0]
    target = first_target.masks if isinstance(first_target, Objects) else first_target
    return images.nbytes + (target.nbytes if isinstance(target, Tensor) else 0) + 1


def _read_examples(source: Source, indices: Sequence[int], seed: int) -> tuple[list[int], list[Batch], list[str]]:
    """Return the indices and the examples that can be read, and the errors of the others."""
    read_examples: list[tuple[int, Batch]] = []
    errors: list[PellucidError] = []
    if isinstance(source, Arrays):
        return [*indices], [source.batch([k], generator(seed)) for k in indices], []
    with attempt_all(lambda k: batch_of(source, [k], generator(seed)), indices) as results:
        for k, example in results:
            if isinstance(example, PellucidError):
                errors.append(example)
            else:
                read_examples.append((k, example))
    if not read_examples:
        raise errors[0]
    return [k for k, _ in read_examples], [example for _, example in read_examples], [*map(str, errors)]


def _read_stream(source: Stream, limit: int) -> tuple[list[int], list[Batch]]:
    """Return the first examples of the stream's first epoch, at most `limit`; the random state does not change."""
    examples: list[Batch] = []
    with torch.random.fork_rng(devices=[]):
        for batch in source.epoch(0):
            indices_in_batch = range(min(len(batch.images), limit - len(examples)))
            examples += (Batch(batch.images[k : k + 1], batch.targets[k : k + 1]) for k in indices_in_batch)
            if len(examples) >= limit:
                break
    return [*range(len(examples))], examples


def _join_targets(targets: Sequence[Any]) -> Any:
    """Return the targets of batches of one example as those of one batch."""
    if all(isinstance(target, Tensor) for target in targets) and len({target.shape for target in targets}) == 1:
        return torch.cat([*targets])
    return [target[0] for target in targets]


def file_of(source: Any, index: int) -> str:
    """Return the file of an example of a source, "" if it has none."""
    while source is not None:
        files = source.names if isinstance(source, ImageFiles) else getattr(source, "files", ())
        if files:
            return files[index]
        if isinstance(source, Subset):
            index = int(source.indices[index])
        if isinstance(source, KeypointSource):  # an image may have several objects
            index = source.objects[index][0]
        source = getattr(source, "source", None)
    return ""


def _file_sizes(source: Any, indices: Sequence[int]) -> list[tuple[int, int]]:
    """Return the sizes (H, W) of the image files of a source at some indices; [] if it has no files."""
    while not isinstance(source, ImageFiles):
        if isinstance(source, Subset):
            indices = source.indices[torch.tensor(indices)].tolist()
        if isinstance(source, KeypointSource):  # an image may have several objects
            indices = [source.objects[k][0] for k in indices]
        source = getattr(source, "source", None)
        if source is None:
            return []
    with pillow_warnings_as_errors():
        return [image_size(source.tree.read(source.names[k]), source.tree.where(source.names[k])) for k in indices]


def _left_out(source: Any) -> list[str]:
    """Return the images and the annotations that a source left out, with their reasons where it states them."""
    while not hasattr(source, "skipped") and hasattr(source, "source"):
        source = source.source
    skipped = [f"{name}: missing, or cannot be read" for name in getattr(source, "skipped", ())]
    return [*skipped, *map(str, getattr(source, "faults", ()))]
