"""Evaluation: a model's outputs, mean losses and metrics."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.augment import FeatureStats
from pellucid.data.augment.standardise import scaled
from pellucid.data.source import Arrays, Batch, Source
from pellucid.extend.registry import is_ours
from pellucid.extend.user_defined import naming_layers_in_errors
from pellucid.fuse.inference import AsWritten, inference
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.metrics.base import mergeable_state
from pellucid.nested import dtype_of, flatten
from pellucid.objective import MIN_INPUTS, Objective, Supervised
from pellucid.run.history import Row
from pellucid.training.device import CPU, device_of, on_device
from pellucid.training.diagnose import diagnose
from pellucid.training.distributed import ALONE, Processes, assigned_range
from pellucid.training.examples import Stream, first_batch
from pellucid.training.learner import Learner
from pellucid.training.measures import Measures, metric_columns
from pellucid.training.reading import read_batches, read_images

MAX_BATCH = 256  # inputs
MAX_BATCH_MEMORY = 1 << 30  # bytes for the outputs of all layers together: 9 images of 224 x 224 pixels in VGG16


class UnmeasurableError(PellucidError):
    """A loss that is not finite or ignores all examples, so that no metrics can be computed."""


def batch_within_memory(model: Learner, data: Tensor | Source) -> int:
    """Return the batch size for evaluation: at most MAX_BATCH, smaller for large networks, at least 1.

    The outputs of all layers for a batch take at most MAX_BATCH_MEMORY bytes, unless those for a single input take
    more. The size is measured with the first input.
    """
    if len(data) <= 1:
        return 1
    x = data[:1] if isinstance(data, Tensor) else first_batch(data).images
    value_count = 0  # in the outputs of all layers, for one input

    def count_values(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        nonlocal value_count
        value_count += y.numel() if isinstance(y, Tensor) else 0

    images = scaled(on_device(x, device_of(model.params)), model.stats, dtype_of(model.params))
    with torch.inference_mode(), _naming_errors(model, images):
        model.objective.watched(count_values).predict(model.params, images)
    return max(min(MAX_BATCH, MAX_BATCH_MEMORY // max(value_count * dtype_of(model.params).itemsize, 1)), 1)


def _naming_errors(model: Learner, images: Any) -> AbstractContextManager[None]:
    """Return a context that adds the layer's name to errors; it does nothing unless the objective is Supervised."""
    if not isinstance(model.objective, Supervised):
        return nullcontext()
    return naming_layers_in_errors(model.objective.net, model.params, images)


def output_batches(
    net: Layer, params: Params, x: Tensor | Source, batch_size: int, stats: FeatureStats | None = None
) -> Iterator[tuple[Tensor, Any]]:
    """Yield (inputs, the network's outputs) in evaluation mode, batch by batch.

    `params` must not change until the last batch, because faster forms of the network may contain copies of them.
    """
    run = inference(net, params) if len(x) >= MIN_INPUTS else AsWritten(net, params)
    for images in read_images(x, batch_size, stats, params):
        with naming_layers_in_errors(net, params, images):
            y = run(images)
        yield images, y


@dataclass(frozen=True)
class BatchMeasurement:
    """One batch of an evaluation."""

    losses: dict[str, float]  # by name
    weight: float  # the batch's weight in the mean losses
    examples: int  # the number of examples, without those that the loss ignores
    # with several processes, the state that the batch adds to each metric
    metrics: list[Any] = field(default_factory=list[Any])


def measure(
    model: Learner,
    measures: Measures,
    data: Source,
    batch_size: int,
    indices: Sequence[int] | None = None,
    on_predictions: Callable[[Any], None] | None = None,
    processes: Processes = ALONE,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the mean of each loss over the examples at `indices`, by default all, and the metrics' results.

    The mean weights or ignores examples as the loss does, and does not depend on the batch size. Metrics receive only
    the examples that the loss does not ignore. on_predictions: a function called with the predictions for each
    batch. processes: each process, with equal parameters, evaluates some of the batches; all return the same results.
    Raises UnmeasurableError for a loss that is not finite, naming the first such tensor, and, if there are metrics,
    for a loss that ignores all examples; PellucidError for errors inside metrics and for invalid results.
    """
    measures.set_decisions(model.objective)
    objective, params = model.objective, model.params
    n_examples, is_alone = len(data if indices is None else indices), processes.count == 1
    own_indices, first_batch_number = (indices, 0) if is_alone else _own_indices(data, indices, batch_size, processes)
    measurements: list[BatchMeasurement] = []
    evaluate = objective.evaluator(params, n_examples, first_batch_number)
    for batch in read_batches(data, own_indices, batch_size, model.stats, device_of(params), dtype_of(params)):
        with _naming_errors(model, batch.images):
            predictions, scored_batch, losses = evaluate(batch)
        weight = float(objective.total_weight(batch))
        measurements.append(BatchMeasurement(_finite_losses(model, losses, batch), weight, len(scored_batch.images)))
        if measures.running_metrics and measurements[-1].examples:
            batch_measures = measures if is_alone else measures.copy()
            batch_measures.update(on_device(predictions, CPU), on_device(scored_batch, CPU))
            if not is_alone:  # merged in the order of batches, so that sums of floats have the bits of one process
                measurements[-1].metrics.extend(map(mergeable_state, batch_measures.running_metrics))
        if on_predictions is not None:
            on_predictions(predictions)
    measurements = [item for process_items in processes.from_all(measurements) for item in process_items]
    if measures.running_metrics and not any(measurement.examples for measurement in measurements):
        raise UnmeasurableError(f"evaluation: the loss ignores all {n_examples} examples; give others, or metrics=()")
    measures.merge(measurement.metrics for measurement in measurements)
    return _mean_losses(measurements), measures.compute()


def _own_indices(
    data: Source, indices: Sequence[int] | None, batch_size: int, processes: Processes
) -> tuple[Sequence[int] | None, int]:
    """Return the indices of the batches that this process evaluates, and the number of the first.

    Each process evaluates consecutive batches; a stream is evaluated by the first process only.
    """
    if isinstance(data, Stream):
        return (indices if processes.is_first else []), 0
    indices = [*range(len(data))] if indices is None else indices
    batch_range = assigned_range(processes.rank, processes.count, -(-len(indices) // batch_size))
    return indices[batch_range.start * batch_size : batch_range.stop * batch_size], batch_range.start


def _finite_losses(model: Learner, losses: Mapping[str, Any], batch: Batch) -> dict[str, float]:
    """Return losses as floats; raise UnmeasurableError for NaN and infinity."""
    numbers = {name: float(value) for name, value in losses.items()}
    if any(number - number != 0.0 for number in numbers.values()):
        fault = diagnose(model.objective, model.params, flatten(model.params), batch, Mode())
        raise UnmeasurableError(f"evaluation: {fault or 'the loss is not finite'}; look at the data and the weights")
    return numbers


def _mean_losses(measurements: Sequence[BatchMeasurement]) -> dict[str, float]:
    """Return the mean losses by name; 0 if the loss ignores all examples."""
    sums = dict[str, float]()
    total_weight = 0.0
    for measurement in measurements:
        total_weight += measurement.weight
        for name, value in measurement.losses.items():
            sums[name] = sums.get(name, 0.0) + value * measurement.weight
    return {name: value / total_weight if total_weight else 0.0 for name, value in sums.items()}


def evaluate(model: Learner, data: Source, batch_size: int) -> dict[str, Any]:
    """Return the mean losses, named as in `loss_columns`, and the results of the model's metrics."""
    losses, results = measure(model, Measures(model.metrics), data, batch_size)
    return {**loss_columns(model.objective, losses), **results}


def try_metrics(model: Learner, data: Source, indices: Sequence[int], batch_size: int, validated: bool) -> list[str]:
    """Measure losses and metrics once, and return the names of their columns in the training history.

    Returns [] if nothing can be measured: the loss is not finite, or ignores all examples. If all metrics are
    Pellucid's own, the first two examples are tried, and all only if this raises an error, since the loss may ignore
    both. User-defined metrics always receive all examples. validated: whether there are validation data.
    Raises PellucidError for errors inside metrics, such as outputs or targets that a metric does not accept.
    """
    are_built_in = all(isinstance(metric, str) or is_ours(metric) for metric in model.metrics)
    tried_indices = indices[:2] if are_built_in else indices
    try:
        try:
            losses, results = measure(model, Measures(model.metrics), data, batch_size, tried_indices)
        except PellucidError:
            if len(tried_indices) == len(indices):
                raise
            losses, results = measure(model, Measures(model.metrics), data, batch_size, indices)
    except UnmeasurableError:
        return []
    roles = ("train", "val") if validated else ("train",)
    rows = ({**loss_columns(model.objective, losses, f"{role}_"), **metric_columns(results, role)} for role in roles)
    return [name for row in rows for name in row]


def loss_columns(objective: Objective, means: Mapping[str, float], prefix: str = "") -> dict[str, float]:
    """Return {"loss": the weighted sum of the mean losses}, with an entry "NAME_loss" for each of several losses.

    prefix: "train_" or "val_" for columns of the training history.
    """
    total = {f"{prefix}loss": objective.total(means) if means else 0.0}
    if set(means) <= {"loss"}:
        return total
    return {**total, **{f"{prefix}{name}_loss": mean for name, mean in means.items()}}


def epoch_columns(
    model: Learner,
    parts: Mapping[str, tuple[Source | None, Sequence[int] | None]],
    batch_size: int,
    processes: Processes,
) -> tuple[Row, set[str]]:
    """Return the losses and metrics at the end of an epoch by column, and the columns that are better when lower.

    parts: data, and the indices of its examples or None for all, by "train" and "val". The training loss is the
    mean over the steps, so only metrics are measured on the training data. processes: see `measure`.
    """
    row: Row = {}
    lower_is_better: set[str] = set()
    for role, (data, indices) in parts.items():
        if data is not None and (model.metrics or role == "val"):
            measures = Measures(model.metrics)
            losses, results = measure(model, measures, data, batch_size, indices, processes=processes)
            if role == "val":
                losses_by_column = loss_columns(model.objective, losses, "val_")
                row.update(losses_by_column)
                lower_is_better |= set(losses_by_column)
            row.update(metric_columns(results, role))
            lower_is_better |= {f"{role}_{name}" for name in measures.lower_is_better}
    return row, lower_is_better


def loss_and_predictions(model: Learner, data: Arrays, processes: Processes = ALONE) -> tuple[float, Tensor]:
    """Return the total mean loss, and the predictions on the CPU for all examples that the loss does not ignore.

    processes: see `measure`.
    """
    predictions_by_batch: list[Tensor] = []
    losses, _ = measure(
        model,
        Measures(()),
        data,
        batch_within_memory(model, data.x),
        on_predictions=lambda predictions: predictions_by_batch.append(on_device(predictions, CPU)),
        processes=processes,
    )
    return model.objective.total(losses), torch.cat(
        [
            batch_predictions
            for process_predictions in processes.from_all(predictions_by_batch)
            for batch_predictions in process_predictions
        ]
    )
