"""Reading of sources in batches for training and evaluation; the sample of training data for metrics."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.data import FeatureStats, Loader
from pellucid.data.augment.standardise import scaled
from pellucid.data.loader import WORKERS, augment_batch
from pellucid.data.seeds import generator
from pellucid.data.source import Arrays, Batch, Source, Subset, batch_of
from pellucid.data.stream import Stream
from pellucid.layers.base import Mode, Params
from pellucid.nested import dtype_of, map_tree
from pellucid.objective import merge_turns, seeded_generator
from pellucid.training.device import CPU, device_of, on_device
from pellucid.training.examples import first_batch
from pellucid.training.learner import Learner
from pellucid.training.step import training_form

MIN_SAMPLE, MAX_SAMPLE = 500, 5_000  # limits of the number of training examples on which metrics are measured
MIN_LARGE_SAMPLE = 4
LARGE_IMAGE = 50_000  # values; 3 x 128 x 128 are 49,152
Augmentation = Callable[[Any, torch.Generator], Any]  # (images, rng) -> images; with joint = True (Batch, rng) -> Batch


@dataclass(frozen=True, eq=False)
class StreamLoader:
    """A loader of a stream: its batches, augmented and transformed as in a Loader."""

    stream: Stream
    seed: int
    augment: Augmentation | None
    transform: Callable[[Tensor], Tensor] | None

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.stream.steps or 0

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, beginning with batch number `start`."""
        for k, batch in enumerate(self.stream.epoch(epoch, start), start):
            yield self.augment_batch(batch, epoch, k, 0)

    def augment_batch(self, batch: Batch, epoch: int, k: int, shard: int) -> Batch:
        """Return batch number k of an epoch, or one of its shards, augmented and transformed."""
        return augment_batch(batch, self.augment, self.transform, generator(self.seed, epoch, k, shard))


def batch_loader(
    model: Learner, data: Source, batch_size: int, augment: Augmentation | None, shards: int = 1
) -> Loader | StreamLoader:
    """Return the loader of training batches for a model, augmented, and standardized if the model has statistics.

    shards: the number of parts of each batch that are computed separately. A last batch in which a part has a single
    example is merged into the batch before, unless the model can be trained on a single example.
    Raises PellucidError for an invalid batch size, and for a stream without a number of batches per epoch.
    """
    dtype = dtype_of(model.params)
    transform = None if model.stats is None else partial(model.stats.apply, dtype=dtype)
    if not isinstance(data, Stream):
        loader = Loader(data, batch_size, model.seed, augment, transform=transform, dtype=dtype)
        last_shard_size = (len(data) % batch_size) // shards  # of the last batch, in its smallest shard
        # merged into the batch before only if a trial pass fails: all other trainings keep their batches and bits
        if last_shard_size == 1 and single_example_fault(model, data) is not None:
            return replace(loader, min_rows=2)
        return loader
    if data.steps is None:
        raise PellucidError("fit: give steps_per_epoch, the number of batches that make an epoch of a generator")
    return StreamLoader(data, model.seed, augment, transform)


def single_example_fault(model: Learner, data: Source) -> Exception | None:
    """Return the error with which a model cannot be trained on the first example alone, such as by batch normalization.

    None if it can, and if two examples fail too, since the error is then not that of a single example.
    """
    fault = _training_error(model, data, [0])
    n_examples = data.first_size if isinstance(data, Stream) else len(data)
    # two examples fail too: the error is not about their number, and the training itself will raise it
    if fault is not None and n_examples > 1 and _training_error(model, data, [0, 1]) is not None:
        return None
    return fault


def _training_error(model: Learner, data: Source, indices: list[int]) -> Exception | None:
    """Return the error with which the gradients of the examples at `indices` fail, None if they do not."""
    batch = next(read_batches(data, indices, len(indices), model.stats, model.device, dtype_of(model.params)))
    params = map_tree(torch.clone, model.params)  # the pass changes running statistics
    objective = training_form(model.objective, params, model.frozen)
    try:
        with torch.inference_mode():
            mode = Mode(train=True, rng=seeded_generator(model.device, model.seed))
            merge_turns(objective.gradients(params, batch, mode))
    except Exception as error:  # a user-defined part may raise any
        return error
    return None


def check_single_examples(model: Learner, data: Source, batch_size: int, shards: int) -> None:
    """Raise PellucidError if a part of a batch is a single example, on which the model cannot be trained.

    A smaller last batch is not looked at unless it is that of a stream, since `batch_loader` merges others.
    """
    is_stream = isinstance(data, Stream)
    smallest_batch = data.smallest_size if is_stream else min(batch_size, len(data))
    fault = single_example_fault(model, data) if smallest_batch // shards == 1 else None
    if fault is None:
        return
    batches = f"{plural(len(data), 'example')} in batches of {batch_size}"
    remedy = f"give a batch size of at least {2 * shards}"
    if is_stream:
        batches = f"a batch of {smallest_batch} from the stream"
        remedy = "yield larger batches, or give the DataLoader drop_last=True"
    elif len(data) < 2 * shards:
        remedy = f"give at least {2 * shards} examples"
    subject = f"one of {shards} shards" if shards > 1 else "a batch"
    reason = str(fault) or type(fault).__name__
    raise PellucidError(f"fit: with {batches}, {subject} has a single example: {reason}; {remedy}") from fault


def read_batches(
    data: Source,
    indices: Sequence[int] | None,
    batch_size: int,
    stats: FeatureStats | None = None,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Batch]:
    """Yield the examples at `indices` in that order, by default all, in batches for the network.

    Images are converted to `dtype`, and standardized with `stats`. Sources that are not in memory are read in
    background threads. A stream yields its own batches of epoch 0 if `indices` is None.
    """
    if indices is not None and not len(indices):
        return
    if isinstance(data, Arrays):
        arrays = (data.x, data.y) if indices is None else data.batch(indices, generator(0))
        batches = map(Batch, *(torch.split(array, batch_size) for array in arrays))
    elif isinstance(data, Stream) and indices is None:
        batches = data.epoch(0)
    else:
        source = data if indices is None else Subset(data, torch.tensor(indices))
        batches = Loader(source, batch_size, seed=0, shuffle=False, dtype=dtype).epoch(0)
    for batch in batches:
        images, targets = on_device(tuple(batch), device)
        yield Batch(scaled(images, stats, dtype), targets)


def read_images(x: Tensor | Source, batch_size: int, stats: FeatureStats | None, params: Params) -> Iterator[Tensor]:
    """Yield inputs (N, ...), or the images of a source, in batches on the device and in the dtype of `params`."""
    device = device_of(params)
    dtype = dtype_of(params)
    if isinstance(x, Tensor):
        return (scaled(on_device(chunk, device), stats, dtype) for chunk in torch.split(x, batch_size))
    return (batch.images for batch in read_batches(x, None, batch_size, stats, device, dtype))


def sample_indices(data: Source, validation: Source | None, seed: int) -> list[int]:
    """Return the indices of the training examples on which metrics are measured, drawn with `seed`.

    Their number is a tenth of the examples, but at least MIN_SAMPLE and at most MAX_SAMPLE; of large images at most as
    many as the validation examples, but at least MIN_LARGE_SAMPLE. For a stream, they are those of its first batch.
    """
    if isinstance(data, Stream):
        return list(range(data.first_size))
    count = min(max(len(data) // 10, MIN_SAMPLE), MAX_SAMPLE)
    if validation is not None and not isinstance(validation, Stream):
        # Measuring all of a hundred large images would take a third of the training.
        large_count = max(len(validation), MIN_LARGE_SAMPLE)
        if large_count < min(count, len(data)) and first_batch(data).images.numel() > LARGE_IMAGE:
            count = large_count
    return cast(Any, drawn_indices(len(data), count, seed)).tolist()


def drawn_indices(n_examples: int, max_count: int, seed: int) -> Tensor:
    """Return the ascending indices of at most `count` of n examples, drawn with the seed."""
    return torch.randperm(n_examples, generator=generator(seed))[:max_count].sort().values


def read_examples(source: Source, max_count: int, seed: int) -> list[Batch]:
    """Return at most `count` examples, drawn with the seed, in their original order, as batches of one example each.

    Of a stream, they are the first ones of its first batch.
    """
    if isinstance(source, Stream):
        return [source.batch([k], generator(seed)) for k in range(min(max_count, source.first_size))]
    indices: list[int] = cast(Any, drawn_indices(len(source), max_count, seed)).tolist()

    def read(k: int) -> Batch:
        return batch_of(source, [k], generator(seed))

    if isinstance(source, Arrays):
        return [*map(read, indices)]
    with ThreadPoolExecutor(WORKERS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return [*pool.map(read, indices)]
