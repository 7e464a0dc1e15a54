"""How good a model is: its outputs, its mean loss and its metrics."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator
from pellucid.data.augment import FeatureStats
from pellucid.data.augment.standardise import scaled
from pellucid.errors import PellucidError, nearest
from pellucid.fuse.inference import AsWritten, inference
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.metrics import METRICS, Metric, MetricLike, fresh, function_name, improves_downward
from pellucid.sweep import forward
from pellucid.text import shown
from pellucid.train.diagnose import diagnose_output
from pellucid.train.examples import Examples

BATCH = 256  # inputs at a time, at most
MEMORY = 1 << 30  # bytes of all layers' outputs together: 9 pictures of VGG16 at 224 x 224
MANY = 16  # inputs for which it pays to lay out the network's weights anew
RESERVED = ("loss", "n")  # what evaluations call results of their own


def check_metrics(metrics: MetricLike | Sequence[MetricLike]) -> tuple[MetricLike, ...]:
    """Return names, Metric objects and functions, one or several, as a tuple; PellucidError for anything else."""
    several = metrics if isinstance(metrics, Sequence) and not isinstance(metrics, str) else (metrics,)
    for metric in several:
        if isinstance(metric, str) and metric not in METRICS:
            raise PellucidError(f"no metric {shown(metric)}; known: {', '.join(METRICS)}{nearest(metric, METRICS)}")
        if isinstance(metric, type):
            raise PellucidError(f"metrics: {metric.__name__} is a class; give an object of it, {metric.__name__}(...)")
        if not isinstance(metric, str | Metric) and not callable(metric):
            raise PellucidError(
                "metrics must be names, Metric objects or functions (outputs, targets) -> number, not "
                f"{shown(metric)}; known names: {', '.join(METRICS)}"
            )
    return tuple(several)


class Measures:
    """Fresh metrics of one evaluation; `lower` are, once computed, the names of results that are better when lower."""

    def __init__(self, metrics: Sequence[MetricLike]) -> None:
        self.given = [METRICS[metric]() if isinstance(metric, str) else metric for metric in metrics]
        self.running = [fresh(metric) for metric in self.given]
        self.lower: set[str] = set()

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take one batch."""
        for metric in self.running:
            metric.update(outputs, targets)

    def compute(self) -> dict[str, Any]:
        """Return all results by name; PellucidError for one that is no number, and for a name that two of them use."""
        found: dict[str, Any] = {}
        for given, metric in zip(self.given, self.running, strict=True):
            name = type(given).__name__ if isinstance(given, Metric) else function_name(given)
            results = metric.compute()
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
        return value
    try:
        number = value.item() if hasattr(value, "item") else value
        if isinstance(key, str) and isinstance(number, int | float):
            return float(number)
    except (RuntimeError, ValueError):  # an array of several numbers
        pass
    raise PellucidError(f"metric {metric}: {shown(key)} is {shown(value)}; return one number")


def batch_within_memory(net: Layer, params: Params, x: Tensor, stats: FeatureStats | None = None) -> int:
    """Return how many of the inputs (N, ...) to evaluate at a time: at most BATCH, fewer of large networks, at least 1.

    That many take at most MEMORY bytes for the outputs of all layers, measured by the first input.
    """
    if len(x) <= 1:
        return 1
    numbers = 0

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        nonlocal numbers
        if not isinstance(layer, Combinator) and isinstance(y, Tensor):
            numbers += y.numel()

    with torch.inference_mode():
        forward(net, params, scaled(x[:1], stats), Mode(keep=False), watch)
    return max(min(BATCH, MEMORY // max(4 * numbers, 1)), 1)


def outputs(
    net: Layer, params: Params, x: Tensor, batch_size: int, stats: FeatureStats | None = None
) -> Iterator[tuple[Tensor, Any]]:
    """Yield (inputs, the network's outputs) in evaluation mode, batch by batch; `params` must stay meanwhile."""
    run = inference(net, params) if len(x) >= MANY else AsWritten(net, params)
    for part in x.split(batch_size):
        batch = scaled(part, stats)
        yield batch, run(batch)


def evaluate(
    net: Layer,
    params: Params,
    loss: Loss,
    metrics: Sequence[MetricLike],
    data: Examples,
    batch_size: int,
    stats: FeatureStats | None = None,
) -> dict[str, Any]:
    """Return {"loss": the mean over the examples, each metric's results}, of the outputs that the loss judges.

    Where the loss weighs or leaves out examples, the mean does so too, whatever batches they come in.
    Raises PellucidError that names the layer when an output is not finite.
    """
    return measure(net, params, loss, Measures(metrics), data, batch_size, stats)


def measure(
    net: Layer,
    params: Params,
    loss: Loss,
    measures: Measures,
    data: Examples,
    batch_size: int,
    stats: FeatureStats | None = None,
) -> dict[str, Any]:
    """Return what `evaluate` does, by metrics that stay at hand; they see the examples that the loss does not ignore.

    Raises PellucidError where there is no such example.
    """
    seen = 0

    def take(predicted: Tensor, target: Tensor) -> None:
        nonlocal seen
        kept = loss.kept(target)
        if kept is not None:
            predicted, target = predicted[kept], target[kept]
        if len(target):
            measures.update(predicted, target)
        seen += len(target)

    mean = _mean_loss(net, params, loss, data, batch_size, stats, take if measures.running else None)
    if measures.running and not seen:
        raise PellucidError(f"evaluation: the loss ignores all {len(data)} examples; give others, or metrics=()")
    return {"loss": mean, **measures.compute()}


def judge(
    net: Layer, params: Params, loss: Loss, data: Examples, batch_size: int, stats: FeatureStats | None = None
) -> tuple[float, Tensor]:
    """Return the mean loss as `evaluate` does, and what the network says of all examples."""
    scores: list[Tensor] = []
    mean = _mean_loss(net, params, loss, data, batch_size, stats, lambda said, _: scores.append(said))
    return mean, torch.cat(scores)


def _mean_loss(
    net: Layer,
    params: Params,
    loss: Loss,
    data: Examples,
    batch_size: int,
    stats: FeatureStats | None,
    take: Callable[[Tensor, Tensor], None] | None,
) -> float:
    """Return the mean loss; `take` gets each batch's predictions and targets."""
    total, counted = 0.0, 0.0
    for (x, raw), target in zip(outputs(net, params, data.x, batch_size, stats), data.y.split(batch_size), strict=True):
        y = loss.judged(raw)
        value = loss(y, target)[0].item()
        if value - value != 0.0:  # NaN or infinity
            fault = diagnose_output(net, params, x) or "the loss is not finite"
            raise PellucidError(f"evaluation: {fault}; look at the data and the weights")
        count = loss.counted(target)
        total, counted = total + value * count, counted + count
        if take is not None:
            take(loss.predict(y), target)
    return total / counted if counted else 0.0  # what is left out costs nothing


def predictions(
    net: Layer, params: Params, loss: Loss, x: Tensor, batch_size: int, stats: FeatureStats | None = None
) -> list[Tensor]:
    """Return what the network says of inputs, batch by batch, as the loss reads it; see `interpret_outputs`."""
    return [interpret_outputs(net, params, loss, *pair) for pair in outputs(net, params, x, batch_size, stats)]


def interpret_outputs(net: Layer, params: Params, loss: Loss, x: Tensor, y: Any) -> Tensor:
    """Return outputs as the loss reads them, such as probabilities; PellucidError, naming the layer, for NaN."""
    scores = loss.predict(y)
    if not bool(torch.isfinite(scores).all()):
        fault = diagnose_output(net, params, x) or "an output is NaN or infinite"
        raise PellucidError(f"prediction: {fault}; look at the images, the preprocessing and the weights")
    return scores
