"""Evaluation: a model's outputs, mean losses and metrics."""
# Return values of user-defined classes are checked at run time, whatever their annotations promise.
# pyright: reportUnnecessaryIsInstance=false

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.data.augment import FeatureStats
from pellucid.data.augment.standardise import scaled
from pellucid.data.source import Arrays, Batch, Source
from pellucid.errors import PellucidError, nearest
from pellucid.fuse.inference import AsWritten, inference
from pellucid.layers import Sigmoid, Softmax
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.metrics import (
    METRICS,
    Accuracy,
    Confusion,
    MeanIoU,
    Metric,
    MetricLike,
    fresh,
    function_name,
    improves_downward,
)
from pellucid.nested import dtype_of, flatten
from pellucid.network.ending import ends
from pellucid.objective import MIN_INPUTS, Objective, Supervised
from pellucid.registry import is_ours
from pellucid.run.history import Row
from pellucid.text import shown
from pellucid.training.device import CPU, device_of, on_device
from pellucid.training.diagnose import diagnose
from pellucid.training.examples import first_batch
from pellucid.training.learner import Learner
from pellucid.training.reading import read, read_images
from pellucid.user_defined import attempt, form, naming_layers

MAX_BATCH = 256  # inputs
MAX_BATCH_MEMORY = 1 << 30  # bytes for the outputs of all layers together: 9 images of 224 x 224 pixels in VGG16
REGRESSION_METRICS = ("mae",)  # the metrics of losses for regression
RESERVED = ("loss", "n")  # names of results that are not metrics


def check_metrics(metrics: MetricLike | Sequence[MetricLike]) -> tuple[MetricLike, ...]:
    """Return one or several metrics (names, Metric objects or functions) as a tuple; PellucidError for others."""
    given: Any = metrics
    several: Sequence[MetricLike] = (
        given if isinstance(metrics, Sequence) and not isinstance(metrics, str) else (metrics,)
    )
    for metric in several:
        if isinstance(metric, str) and metric not in METRICS:
            k = metric.lower().removeprefix("top").lstrip("_-")
            top = metric.lower().startswith("top") and k.isdecimal()
            hint = f"; give TopK({k}) of pellucid.metrics" if top else nearest(metric, METRICS)
            raise PellucidError(f"no metric {shown(metric)}; known: {', '.join(METRICS)}{hint}")
        if isinstance(metric, type):
            raise PellucidError(f"metrics: {metric.__name__} is a class; give an object of it, {metric.__name__}(...)")
        if not isinstance(metric, str | Metric) and not callable(metric):
            raise PellucidError(
                "metrics must be names, Metric objects or functions (outputs, targets) -> number, not "
                f"{shown(metric)}; known names: {', '.join(METRICS)}"
            )
    return tuple(several)


class UnmeasurableError(PellucidError):
    """A loss that is not finite or ignores all examples, so that no metrics can be computed."""


class Measures:
    """The metrics of one evaluation.

    lower: the names of the results that are better when lower, filled by `compute`.
    """

    def __init__(self, metrics: Sequence[MetricLike]) -> None:
        self.given = [METRICS[metric]() if isinstance(metric, str) else metric for metric in metrics]
        self.names = [
            type(metric).__name__ if isinstance(metric, Metric) else function_name(metric) for metric in self.given
        ]
        self.running = [fresh(metric) for metric in self.given]
        self.lower: set[str] = set()

    def set_boundary(self, objective: Objective) -> None:
        """Set the threshold of metrics for two classes to the one of the objective's outputs."""
        for metric in self.running:
            if isinstance(objective, Supervised) and isinstance(metric, Accuracy | Confusion):
                metric.boundary = boundary(objective.net, objective.loss)

    def update(self, outputs: Any, batch: Batch) -> None:
        """Update all metrics with one batch."""
        for name, metric in zip(self.names, self.running, strict=True):
            what = f"metric {name}: update, given outputs {form(outputs)} and targets {form(batch.targets)},"
            attempt(what, metric.update_batch, outputs, batch)

    def compute(self) -> dict[str, Any]:
        """Return the results of all metrics by name.

        Raises PellucidError for a result that is neither a number nor a list, and for a name used twice or reserved.
        """
        all_results: dict[str, Any] = {}
        for name, given, metric in zip(self.names, self.given, self.running, strict=True):
            results = attempt(f"metric {name}", metric.compute)
            if not isinstance(results, Mapping):
                raise PellucidError(f"metric {name}: compute returned {shown(results)}; return {{name: number}}")
            for key, value in results.items():
                if key in all_results or key in RESERVED:
                    raise PellucidError(f"metric {name}: another result is called {shown(key)}; choose another name")
                all_results[key] = _plain(name, key, value)
            if improves_downward(given):
                self.lower.update(results)
        return all_results


def _plain(metric: str, key: Any, value: Any) -> Any:
    """Return a result as a float, or a list unchanged."""
    if isinstance(value, list):
        return cast(list[Any], value)
    try:
        number = value.item() if hasattr(value, "item") else value
        if isinstance(key, str) and isinstance(number, int | float):
            return float(number)
    except (RuntimeError, ValueError):  # `item` of an array of several numbers
        pass
    raise PellucidError(f"metric {metric}: {shown(key)} is {shown(value)}; return one number")


def batch_within_memory(model: Learner, data: Tensor | Source) -> int:
    """Return the batch size for evaluation: at most MAX_BATCH, smaller for large networks, at least 1.

    The outputs of all layers for a batch take at most MAX_BATCH_MEMORY bytes, unless those for a single input take
    more. The size is measured with the first input.
    """
    if len(data) <= 1:
        return 1
    x = data[:1] if isinstance(data, Tensor) else first_batch(data).images
    values = 0  # in the outputs of all layers, for one input

    def count(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        nonlocal values
        values += y.numel() if isinstance(y, Tensor) else 0

    images = scaled(on_device(x, device_of(model.params)), model.stats, dtype_of(model.params))
    with torch.inference_mode(), _naming(model, images):
        model.objective.watched(count).predict(model.params, images)
    return max(min(MAX_BATCH, MAX_BATCH_MEMORY // max(values * dtype_of(model.params).itemsize, 1)), 1)


def _naming(model: Learner, images: Any) -> AbstractContextManager[None]:
    """Return a context that adds the layer's name to errors; it does nothing unless the objective is Supervised."""
    if not isinstance(model.objective, Supervised):
        return nullcontext()
    return naming_layers(model.objective.net, model.params, images)


def outputs(
    net: Layer, params: Params, x: Tensor | Source, batch_size: int, stats: FeatureStats | None = None
) -> Iterator[tuple[Tensor, Any]]:
    """Yield (inputs, the network's outputs) in evaluation mode, batch by batch.

    `params` must not change until the last batch, because faster forms of the network may hold copies of them.
    """
    run = inference(net, params) if len(x) >= MIN_INPUTS else AsWritten(net, params)
    for images in read_images(x, batch_size, stats, params):
        with naming_layers(net, params, images):
            y = run(images)
        yield images, y


def measure(
    model: Learner,
    measures: Measures,
    data: Source,
    batch_size: int,
    indices: Sequence[int] | None = None,
    take: Callable[[Any], None] | None = None,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the mean of each loss over the examples at `indices`, by default all, and the metrics' results.

    Where a loss weights or ignores examples, so does its mean, which is independent of the batch size. Metrics receive
    only the examples that the loss does not ignore. take: a function called with the predictions for each batch.
    Raises UnmeasurableError for a loss that is not finite, naming the first tensor that is not, and, if there are
    metrics, for a loss that ignores all examples; PellucidError for errors inside metrics and for invalid results.
    """
    objective, params = model.objective, model.params
    measures.set_boundary(objective)
    count = len(data if indices is None else indices)
    evaluate, sums, total_weight, measured = objective.evaluator(params, count), dict[str, float](), 0.0, 0
    for batch in read(data, indices, batch_size, model.stats, device_of(params), dtype_of(params)):
        with _naming(model, batch.images):
            predictions, kept, losses = evaluate(batch)
        weight = float(objective.total_weight(batch))
        for name, value in losses.items():
            number = float(value)
            if number - number != 0.0:  # NaN or infinity
                fault = diagnose(objective, params, flatten(params), batch, Mode()) or "the loss is not finite"
                raise UnmeasurableError(f"evaluation: {fault}; look at the data and the weights")
            sums[name] = sums.get(name, 0.0) + number * weight
        total_weight += weight
        if measures.running and len(kept.images):
            measures.update(on_device(predictions, CPU), on_device(kept, CPU))
        measured += len(kept.images)
        if take is not None:
            take(predictions)
    if measures.running and not measured:
        raise UnmeasurableError(f"evaluation: the loss ignores all {count} examples; give others, or metrics=()")
    # The total weight is 0 where the loss ignores all examples; their mean loss is then 0.
    means = {name: value / total_weight if total_weight else 0.0 for name, value in sums.items()}
    return means, measures.compute()


def evaluate(model: Learner, data: Source, batch_size: int) -> dict[str, Any]:
    """Return the mean losses, named as in `loss_columns`, and the results of the model's metrics."""
    losses, results = measure(model, Measures(model.metrics), data, batch_size)
    return {**loss_columns(model.objective, losses), **results}


def try_metrics(model: Learner, data: Source, indices: Sequence[int], batch_size: int, validated: bool) -> list[str]:
    """Measure losses and metrics once, and return the names of their columns in the training history.

    Returns [] where nothing can be measured: the loss is not finite, or ignores all examples. If all metrics are
    Pellucid's own, the first two examples are tried, and all only if this raises an error, since the loss may ignore
    both. User-defined metrics get all examples at `indices` at once. validated: whether there are validation data.
    Raises PellucidError for errors inside metrics, such as outputs or targets that a metric does not accept.
    """
    all_ours = all(isinstance(metric, str) or is_ours(metric) for metric in model.metrics)
    tried = indices[:2] if all_ours else indices
    try:
        try:
            losses, results = measure(model, Measures(model.metrics), data, batch_size, tried)
        except PellucidError:
            if len(tried) == len(indices):
                raise
            losses, results = measure(model, Measures(model.metrics), data, batch_size, indices)
    except UnmeasurableError:
        return []
    roles = ("train", "val") if validated else ("train",)
    rows = ({**loss_columns(model.objective, losses, f"{role}_"), **columns(results, role)} for role in roles)
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
    model: Learner, parts: Mapping[str, tuple[Source | None, Sequence[int] | None]], batch_size: int
) -> tuple[Row, set[str]]:
    """Return the columns of losses and metrics at the end of an epoch, and those that are better when lower.

    parts: data, and the indices of its examples or None for all, by "train" and "val". The training loss is that of the
    steps, so of the training data only metrics are measured.
    """
    row: Row = {}
    lower: set[str] = set()
    for role, (data, indices) in parts.items():
        if data is not None and (model.metrics or role == "val"):
            measures = Measures(model.metrics)
            losses, results = measure(model, measures, data, batch_size, indices)
            if role == "val":
                row.update(loss_columns(model.objective, losses, "val_"))
                lower |= set(row)
            row.update(columns(results, role))
            lower |= {f"{role}_{name}" for name in measures.lower}
    return row, lower


def columns(results: Mapping[str, Any], role: str) -> dict[str, float | None]:
    """Return the results of metrics that are numbers as columns of the history; None for one that is not finite.

    role: "train" or "val", the beginning of the columns' names.
    """
    numbers = {name: value for name, value in results.items() if not isinstance(value, list)}
    return {f"{role}_{name}": value if math.isfinite(value) else None for name, value in numbers.items()}


def boundary(net: Layer, loss: Loss) -> float:
    """Return the threshold from which a single output predicts the second of two classes: 1/2, or 0 for logits.

    Outputs are logits if a user-defined loss does not override `predict` and no sigmoid or softmax ends the network.
    """
    converted = is_ours(loss) or type(loss).predict is not Loss.predict
    return 0.5 if converted or ends_in_probabilities(net) else 0.0


def gives_probabilities(net: Layer, loss: Loss) -> bool:
    """Return whether `loss.predict` returns probabilities: it is overridden, or the network ends in them."""
    return type(loss).predict is not Loss.predict or ends_in_probabilities(net)


def ends_in_probabilities(net: Layer) -> bool:
    """Return whether a sigmoid or a softmax ends the network."""
    return any(isinstance(end, Sigmoid | Softmax) for end in ends(net).values())


def default_metrics(loss: Loss, outputs: Any, targets: Any) -> tuple[MetricLike, ...]:
    """Return the default metrics for a loss.

    They are the loss's own, with two exceptions: a loss for regression with class targets also gets the accuracy, and a
    loss for classification whose outputs are maps gets the mean IoU if the targets are masks, otherwise no metric.
    outputs: the shape of the network's output without the batch axis, or a tuple of shapes.
    """
    if outputs and isinstance(outputs[0], tuple):
        outputs = loss.main_output(outputs)  # without the shapes of outputs for training only
    if len(outputs) == 3 and "accuracy" in loss.metrics:  # accuracy does not accept maps
        masks = isinstance(targets, Tensor) and targets.dim() == 3
        return (MeanIoU(getattr(loss, "ignore", None)),) if masks else ()
    integers = isinstance(targets, Tensor) and not targets.is_floating_point() and targets.dim() == 1
    classes = integers and len(outputs) == 1 and outputs[0] != 1
    return (*loss.metrics, "accuracy") if classes and loss.metrics == REGRESSION_METRICS else loss.metrics


def loss_and_predictions(model: Learner, data: Arrays) -> tuple[float, Tensor]:
    """Return the total mean loss, and the predictions on the CPU for all examples that the loss does not ignore."""
    scores: list[Tensor] = []
    losses, _ = measure(model, Measures(()), data, batch_within_memory(model, data.x), take=scores.append)
    return model.objective.total(losses), on_device(torch.cat(scores), CPU)
