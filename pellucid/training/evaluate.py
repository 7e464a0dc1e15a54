"""Evaluation: a model's outputs, mean losses and metrics."""
# What users' own parts return is checked, whatever its type should be.
# pyright: reportUnnecessaryIsInstance=false

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.config import is_ours
from pellucid.contract import attempt, form, naming_layers
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
from pellucid.network.ending import ends
from pellucid.objective import MIN_INPUTS, Objective, Supervised
from pellucid.text import shown
from pellucid.training.device import CPU, device_of, on_device
from pellucid.training.diagnose import diagnose
from pellucid.training.examples import first_batch, read, read_images
from pellucid.training.learner import Learner
from pellucid.tree import dtype_of, flatten

BATCH = 256  # inputs at a time, at most
MEMORY = 1 << 30  # bytes of all layers' outputs together: 9 pictures of VGG16 at 224 x 224
MAE_ALONE = ("mae",)
RESERVED = ("loss", "n")  # names of results that are not metrics


def check_metrics(metrics: MetricLike | Sequence[MetricLike]) -> tuple[MetricLike, ...]:
    """Return names, Metric objects and functions, one or several, as a tuple; PellucidError for anything else."""
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
    """Nothing to measure: an output that is not finite, or a loss that ignores all examples."""


class Measures:
    """The metrics of one evaluation; `lower`, once computed: the names of results that are better when lower."""

    def __init__(self, metrics: Sequence[MetricLike]) -> None:
        self.given = [METRICS[metric]() if isinstance(metric, str) else metric for metric in metrics]
        self.names = [type(one).__name__ if isinstance(one, Metric) else function_name(one) for one in self.given]
        self.running = [fresh(metric) for metric in self.given]
        self.lower: set[str] = set()

    def update(self, outputs: Any, batch: Batch) -> None:
        """Update all metrics by one batch."""
        for name, metric in zip(self.names, self.running, strict=True):
            what = f"metric {name}: update, given outputs {form(outputs)} and targets {form(batch.targets)},"
            attempt(what, metric.update_batch, outputs, batch)

    def compute(self) -> dict[str, Any]:
        """Return all results by name; PellucidError for a result that is not a number, and for a name used twice."""
        found: dict[str, Any] = {}
        for name, given, metric in zip(self.names, self.given, self.running, strict=True):
            results = attempt(f"metric {name}", metric.compute)
            if not isinstance(results, Mapping):
                raise PellucidError(f"metric {name}: compute returned {shown(results)}; return {{name: number}}")
            for key, value in results.items():
                if key in found or key in RESERVED:
                    raise PellucidError(f"metric {name}: another result is called {shown(key)}; choose another name")
                found[key] = _plain(name, key, value)
            if improves_downward(given):
                self.lower.update(results)
        return found


def _plain(metric: str, key: Any, value: Any) -> Any:
    """Return a result as a float, or as lists of numbers."""
    if isinstance(value, list):
        return cast(list[Any], value)
    try:
        number = value.item() if hasattr(value, "item") else value
        if isinstance(key, str) and isinstance(number, int | float):
            return float(number)
    except (RuntimeError, ValueError):  # an array of several numbers
        pass
    raise PellucidError(f"metric {metric}: {shown(key)} is {shown(value)}; return one number")


def batch_within_memory(model: Learner, data: Tensor | Source) -> int:
    """Return how many inputs or examples to evaluate at a time: at most BATCH, fewer of large networks, at least 1.

    That many take at most MEMORY bytes for the outputs of all layers, measured by the first input.
    """
    if len(data) <= 1:
        return 1
    x = data[:1] if isinstance(data, Tensor) else first_batch(data).images
    numbers = 0

    def count(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        nonlocal numbers
        numbers += y.numel() if isinstance(y, Tensor) else 0

    images = scaled(on_device(x, device_of(model.params)), model.stats, dtype_of(model.params))
    with torch.inference_mode(), _naming(model, images):
        model.objective.watched(count).predict(model.params, images)
    return max(min(BATCH, MEMORY // max(4 * numbers, 1)), 1)


def _naming(model: Learner, images: Any) -> AbstractContextManager[None]:
    """Name the layer whose forward pass fails; the networks of a user-defined Objective run by its own code."""
    if not isinstance(model.objective, Supervised):
        return nullcontext()
    return naming_layers(model.objective.net, model.params, images)


def outputs(
    net: Layer, params: Params, x: Tensor | Source, batch_size: int, stats: FeatureStats | None = None
) -> Iterator[tuple[Tensor, Any]]:
    """Yield (inputs, the network's outputs) in evaluation mode, batch by batch; `params` must stay meanwhile."""
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
    """Return the mean of each loss over the examples, or over those at `indices`, and the metrics' results.

    The means of losses that weight or ignore examples do so too, for any batch size; metrics get only examples that the
    loss does not ignore. take: is called with the outputs of each batch.
    Raises UnmeasurableError, naming the layer, for an output that is not finite, and where the loss ignores all
    examples; PellucidError for mistakes of metrics.
    """
    objective, params = model.objective, model.params
    if isinstance(objective, Supervised):
        for metric in measures.running:
            if isinstance(metric, Accuracy | Confusion):
                metric.boundary = boundary(objective.net, objective.loss)
    count = len(data if indices is None else indices)
    evaluate, sums, counted, seen = objective.evaluator(params, count), dict[str, float](), 0.0, 0
    for batch in read(data, indices, batch_size, model.stats, device_of(params), dtype_of(params)):
        with _naming(model, batch.images):
            said, known, losses = evaluate(batch)
        share = float(objective.counted(batch))
        for name, value in losses.items():
            number = float(value)
            if number - number != 0.0:  # NaN or infinity
                fault = diagnose(objective, params, flatten(params), batch, Mode()) or "the loss is not finite"
                raise UnmeasurableError(f"evaluation: {fault}; look at the data and the weights")
            sums[name] = sums.get(name, 0.0) + number * share
        counted += share
        if measures.running and len(known.images):
            measures.update(on_device(said, CPU), on_device(known, CPU))
        seen += len(known.images)
        if take is not None:
            take(said)
    if measures.running and not seen:
        raise UnmeasurableError(f"evaluation: the loss ignores all {count} examples; give others, or metrics=()")
    means = {name: value / counted if counted else 0.0 for name, value in sums.items()}  # what is left out costs 0
    return means, measures.compute()


def evaluate(model: Learner, data: Source, batch_size: int) -> dict[str, Any]:
    """Return {"loss": the mean over the examples, of several losses their weighted sum, and each; metrics' results}."""
    losses, found = measure(model, Measures(model.metrics), data, batch_size)
    return {**loss_columns(model.objective, losses), **found}


def try_metrics(model: Learner, data: Source, indices: Sequence[int], batch_size: int, validated: bool) -> list[str]:
    """Measure the metrics once, and return the measured columns of the training history; [] for outputs not finite.

    Metrics of Pellucid see two examples, and all only where these raise: both masks may be ignored. Raises
    PellucidError for mistakes of metrics, such as outputs or targets that they are not for.
    """
    ours = all(isinstance(metric, str) or is_ours(metric) for metric in model.metrics)
    few = indices[:2] if ours else indices
    try:
        try:
            losses, found = measure(model, Measures(model.metrics), data, batch_size, few)
        except PellucidError:
            if len(few) == len(indices):
                raise
            losses, found = measure(model, Measures(model.metrics), data, batch_size, indices)
    except UnmeasurableError:
        return []
    roles = ("train", "val") if validated else ("train",)
    rows = ({**loss_columns(model.objective, losses, f"{role}_"), **columns(found, role)} for role in roles)
    return [name for row in rows for name in row]


def loss_columns(objective: Objective, means: Mapping[str, float], role: str = "") -> dict[str, float]:
    """Return {"loss": the weighted sum of the mean losses} and, of several losses, each as "NAME_loss"."""
    total = {f"{role}loss": objective.total(means) if means else 0.0}
    return total if set(means) <= {"loss"} else {**total, **{f"{role}{name}_loss": one for name, one in means.items()}}


def columns(found: Mapping[str, Any], role: str) -> dict[str, float | None]:
    """Return the numbers among the results of metrics as columns; None where one is not finite."""
    numbers = {name: value for name, value in found.items() if not isinstance(value, list)}
    return {f"{role}_{name}": value if math.isfinite(value) else None for name, value in numbers.items()}


def boundary(net: Layer, loss: Loss) -> float:
    """Return the threshold from which a single output means the second of two classes: 1/2, or 0 for logits.

    Outputs are logits where a user-defined loss does not override `predict` and no sigmoid or softmax ends the network.
    """
    says = is_ours(loss) or type(loss).predict is not Loss.predict
    return 0.5 if says or ends_in_probabilities(net) else 0.0


def gives_probabilities(net: Layer, loss: Loss) -> bool:
    """Return whether outputs, as the loss reads them, are probabilities: by its `predict`, or by the network's end."""
    return type(loss).predict is not Loss.predict or ends_in_probabilities(net)


def ends_in_probabilities(net: Layer) -> bool:
    """Return whether a sigmoid or a softmax ends the network."""
    return any(isinstance(end, Sigmoid | Softmax) for end in ends(net).values())


def default_metrics(loss: Loss, outputs: Any, targets: Any) -> tuple[MetricLike, ...]:
    """Return the metrics of a loss, for a loss of numbers on classes also the accuracy, and for masks the mean IoU.

    outputs: the shape of the network's output, without the batch axis.
    """
    if outputs and isinstance(outputs[0], tuple):
        outputs = loss.judged(outputs)  # the others are for training only
    if len(outputs) == 3 and "accuracy" in loss.metrics:  # which is not for maps
        masks = isinstance(targets, Tensor) and targets.dim() == 3
        return (MeanIoU(getattr(loss, "ignore", None)),) if masks else ()
    whole = isinstance(targets, Tensor) and not targets.is_floating_point() and targets.dim() == 1
    classes = whole and len(outputs) == 1 and outputs[0] != 1
    return (*loss.metrics, "accuracy") if classes and loss.metrics == MAE_ALONE else loss.metrics


def judge(model: Learner, data: Arrays) -> tuple[float, Tensor]:
    """Return the mean loss as `evaluate` does, and the outputs for all examples that it does not ignore."""
    scores: list[Tensor] = []
    losses, _ = measure(model, Measures(()), data, batch_within_memory(model, data.x), take=scores.append)
    return model.objective.total(losses), on_device(torch.cat(scores), CPU)
