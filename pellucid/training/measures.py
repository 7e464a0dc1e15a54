"""The metrics of a model: checks, default metrics, and the results of one evaluation."""
# Return values of user-defined classes are checked at run time, regardless of their annotations.
# pyright: reportUnnecessaryIsInstance=false

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.text import shown
from pellucid.data.source import Batch
from pellucid.extend.registry import is_ours
from pellucid.extend.user_defined import attempt, describe
from pellucid.layers import Sigmoid, Softmax
from pellucid.layers.base import Layer
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
from pellucid.metrics.base import Function, is_mergeable
from pellucid.network.ending import last_layers
from pellucid.objective import Objective, Supervised

REGRESSION_METRICS = ("mae",)  # the metrics of regression losses
RESERVED_NAMES = ("loss", "n")  # names of results that are not metrics


def check_metrics(metrics: MetricLike | Sequence[MetricLike]) -> tuple[MetricLike, ...]:
    """Return one or several metrics (names, objects or functions) as a tuple; raises PellucidError for others."""
    metric_list: Any = metrics
    metric_tuple: Sequence[MetricLike] = (
        metric_list if isinstance(metrics, Sequence) and not isinstance(metrics, str) else (metrics,)
    )
    for metric in metric_tuple:
        if isinstance(metric, str) and metric not in METRICS:
            k_text = metric.lower().removeprefix("top").lstrip("_-")
            is_top_k = metric.lower().startswith("top") and k_text.isdecimal()
            hint = f"; give TopK({k_text}) of pellucid.metrics" if is_top_k else nearest(metric, METRICS)
            raise PellucidError(f"no metric {shown(metric)}; known: {', '.join(METRICS)}{hint}")
        if isinstance(metric, type):
            raise PellucidError(f"metrics: {metric.__name__} is a class; give an object of it, {metric.__name__}(...)")
        if not isinstance(metric, str | Metric) and not callable(metric):
            raise PellucidError(
                "metrics must be names, Metric objects or functions (outputs, targets) -> number, not "
                f"{shown(metric)}; known names: {', '.join(METRICS)}"
            )
    return tuple(metric_tuple)


def check_mergeable(metrics: Sequence[MetricLike]) -> None:
    """Raise PellucidError for a metric that several processes cannot compute together."""
    for metric in metrics:
        # states that are not sums would be added to a wrong result without a warning
        if not isinstance(metric, str) and not is_mergeable(metric):
            name = type(metric).__name__
            raise PellucidError(
                f"metric {name}: many processes compute it in parts; name the fields that are sums over batches in its "
                "`sums`, or define merge(other)"
            )


class Measures:
    """The metrics of one evaluation.

    lower_is_better: the names of the results that are better when lower, filled by `compute`.
    """

    def __init__(self, metrics: Sequence[MetricLike]) -> None:
        self.metrics = [METRICS[metric]() if isinstance(metric, str) else metric for metric in metrics]
        self.metric_names = [
            type(metric).__name__ if isinstance(metric, Metric) else function_name(metric) for metric in self.metrics
        ]
        self.running_metrics = [fresh(metric) for metric in self.metrics]
        self.lower_is_better: set[str] = set()

    def set_decisions(self, objective: Objective) -> None:
        """Set how metrics derive classes from outputs: the threshold, see `boundary`, and multi-label targets."""
        if not isinstance(objective, Supervised):
            return
        for metric in self.running_metrics:
            if isinstance(metric, Accuracy | Confusion):
                metric.boundary = boundary(objective.net, objective.loss)
            if isinstance(metric, Accuracy) and metric.multilabel is None:
                metric.multilabel = objective.loss.multilabel

    def copy(self) -> "Measures":
        """Return copies of the metrics, without the batches so far."""
        copy = Measures(self.metrics)
        copy.running_metrics = [
            replace(metric) if isinstance(metric, Function) else deepcopy(metric) for metric in self.running_metrics
        ]
        return copy

    def update(self, outputs: Any, batch: Batch) -> None:
        """Update all metrics with one batch."""
        for name, metric in zip(self.metric_names, self.running_metrics, strict=True):
            call_text = (
                f"metric {name}: update, given outputs {describe(outputs)} and targets {describe(batch.targets)},"
            )
            attempt(call_text, metric.update_batch, outputs, batch)

    def merge(self, batches: Iterable[Sequence[Any]]) -> None:
        """Merge the states of the metrics for batches of all processes, see `mergeable_state`."""
        for batch in batches:
            for metric, other in zip(self.running_metrics, batch, strict=False):
                metric.merge(other)

    def compute(self) -> dict[str, Any]:
        """Return the results of all metrics by name.

        Raises PellucidError for a result that is neither a number nor a list, and for a name used twice or reserved.
        """
        all_results: dict[str, Any] = {}
        for name, original, metric in zip(self.metric_names, self.metrics, self.running_metrics, strict=True):
            results = attempt(f"metric {name}", metric.compute)
            if not isinstance(results, Mapping):
                raise PellucidError(f"metric {name}: compute returned {shown(results)}; return {{name: number}}")
            for key, value in results.items():
                if key in all_results or key in RESERVED_NAMES:
                    raise PellucidError(f"metric {name}: another result is called {shown(key)}; choose another name")
                all_results[key] = _as_float(name, key, value)
            if improves_downward(original):
                self.lower_is_better.update(results)
        return all_results


def _as_float(metric: str, key: Any, value: Any) -> Any:
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


def metric_columns(results: Mapping[str, Any], role: str) -> dict[str, float | None]:
    """Return the results of metrics that are numbers as columns of the history; None for one that is not finite.

    role: "train" or "val", the beginning of the columns' names.
    """
    numbers = {name: value for name, value in results.items() if not isinstance(value, list)}
    return {f"{role}_{name}": value if math.isfinite(value) else None for name, value in numbers.items()}


def boundary(net: Layer, loss: Loss) -> float:
    """Return the threshold from which a single output predicts the second of two classes: 1/2, or 0 for logits.

    Outputs are logits if a user-defined loss does not override `predict` and no sigmoid or softmax ends the network.
    """
    returns_probabilities = is_ours(loss) or type(loss).predict is not Loss.predict
    return 0.5 if returns_probabilities or ends_in_probabilities(net) else 0.0


def predicts_probabilities(net: Layer, loss: Loss) -> bool:
    """Return whether `loss.predict` returns probabilities: it is overridden, or the network ends in them."""
    return type(loss).predict is not Loss.predict or ends_in_probabilities(net)


def ends_in_probabilities(net: Layer) -> bool:
    """Return whether a sigmoid or a softmax ends the network."""
    return any(isinstance(end, Sigmoid | Softmax) for end in last_layers(net).values())


def default_metrics(loss: Loss, outputs: Any, targets: Any) -> tuple[MetricLike, ...]:
    """Return the default metrics for a loss.

    They are `loss.metrics`, with two exceptions: a regression loss with class targets also has the accuracy, and a
    classification loss whose outputs are maps has the mean IoU if the targets are masks, otherwise no metric.
    outputs: the shape of the network's output without the batch axis, or a tuple of shapes.
    """
    if outputs and isinstance(outputs[0], tuple):
        outputs = loss.main_output(outputs)  # without the shapes of outputs that only training uses
    if len(outputs) > 1 and "accuracy" in loss.metrics:  # accuracy does not accept maps
        has_mask_targets = len(outputs) == 3 and isinstance(targets, Tensor) and targets.dim() == 3
        return (MeanIoU(getattr(loss, "ignore", None)),) if has_mask_targets else ()
    has_class_indices = isinstance(targets, Tensor) and not targets.is_floating_point() and targets.dim() == 1
    needs_accuracy = has_class_indices and len(outputs) == 1 and outputs[0] != 1
    return (*loss.metrics, "accuracy") if needs_accuracy and loss.metrics == REGRESSION_METRICS else loss.metrics
