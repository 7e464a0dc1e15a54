"""The interface of metrics, which are updated batch by batch and computed at the end."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.arguments import Checked
from pellucid.base.text import note_once


class Metric(metaclass=Checked):
    """A measure of a model's outputs, computed batch by batch.

    Each evaluation updates a new copy (`copy.deepcopy`) of the model's metric, so a metric needs no reset method. A
    metric with arguments is a dataclass: the fields of its constructor are saved with the model, and its state is
    stored in fields with `init=False`.
    lower_is_better: whether smaller results are better.
    sums: the names of the fields that are sums over the batches (numbers, tensors or lists), if the state consists only
        of such fields; several processes can then compute the metric together.
    """

    lower_is_better: ClassVar[bool] = False
    sums: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def update(self, outputs: Any, targets: Any) -> None:
        """Add one batch: `outputs` (n, ...) as `Model.predict` returns them, `targets` (n, ...) as in the data.

        Targets that are a list in the data, one entry per image, are passed as a list.
        """

    def update_batch(self, outputs: Any, batch: Any) -> None:
        """Call `update(outputs, batch.targets)`; metrics that also need the images override this method.

        batch: the pellucid.data.Batch of these outputs. Outputs and targets are on the CPU.
        """
        self.update(outputs, batch.targets)

    def merge(self, other: Any) -> None:
        """Add the state of a copy of this metric that was updated with later batches; by default, add its `sums`.

        A metric whose state is not only sums must override this method if several processes compute it together.
        """
        for name in self.sums:
            own_value, added = getattr(self, name), getattr(other, name)
            if own_value is None:  # no batch so far
                setattr(self, name, added)
            elif added is not None:
                setattr(self, name, own_value + added)

    @abstractmethod
    def compute(self) -> dict[str, Any]:
        """Return the results by name: numbers, or lists of numbers, which are left out of the training history."""


@dataclass
class Function(Metric):
    """The value of a function (outputs, targets) -> number, called once with the outputs and targets of all batches.

    Outputs and targets are tensors, or lists with one entry per example if the examples differ in shape.
    """

    sums: ClassVar[tuple[str, ...]] = ("outputs", "targets")

    function: Callable[[Any, Any], Any]
    outputs: list[Any] = field(default_factory=list, init=False, repr=False)
    targets: list[Any] = field(default_factory=list, init=False, repr=False)

    def update(self, outputs: Any, targets: Any) -> None:
        """Store the batch."""
        self.outputs.append(outputs)
        self.targets.append(targets)

    def compute(self) -> dict[str, Any]:
        """Return the function's value under its name."""
        return {
            function_name(self.function): self.function(
                concatenate_batches(self.outputs), concatenate_batches(self.targets)
            )
        }


@dataclass
class MissingMetric(Metric):
    """A metric of which a weights file contains only the name; it has no results."""

    name: str

    def update(self, outputs: Any, targets: Any) -> None:
        """Store nothing."""

    def merge(self, other: Any) -> None:
        """Add nothing."""

    def compute(self) -> dict[str, Any]:
        """Return no results, and print a note once."""
        note_once(
            f"evaluation lacks the metric {self.name}, of which the weights file contains only the name; "
            f"give it by Model.load(path, custom=[{self.name}]) or compile"
        )
        return {}


def concatenate_batches(batches: Sequence[Any]) -> Any:
    """Return the outputs or the targets of all batches as one tensor, or as a list with one entry per example.

    The result is a list if the batches are lists, or if the shapes of their entries differ.
    """
    same_shape = all(isinstance(batch, Tensor) and batch.shape[1:] == batches[0].shape[1:] for batch in batches)
    return torch.cat(list(batches)) if same_shape else [entry for batch in batches for entry in batch]


MetricLike = str | Metric | Callable[[Any, Any], Any]


def function_name(function: Callable[..., Any]) -> str:
    """Return the name of a function's result; for a `functools.partial`, with its arguments: `f_beta(beta=2)`."""
    if isinstance(function, partial):
        arguments = [*map(str, function.args), *(f"{name}={value}" for name, value in function.keywords.items())]
        return f"{function_name(function.func)}({', '.join(arguments)})"
    return str(getattr(function, "__name__", type(function).__name__))


def fresh(metric: Metric | Callable[[Any, Any], Any]) -> Metric:
    """Return a copy of a metric, to be updated in one evaluation; a function is converted to a `Function` metric."""
    return deepcopy(metric) if isinstance(metric, Metric) else Function(metric)


def improves_downward(metric: Metric | Callable[[Any, Any], Any]) -> bool:
    """Return the attribute `lower_is_better` of a metric or a function, False by default."""
    return bool(getattr(metric, "lower_is_better", False))


def is_mergeable(metric: Metric | Callable[[Any, Any], Any]) -> bool:
    """Return whether several processes can compute a metric together: it has `sums` or overrides `merge`.

    Functions always can.
    """
    return not isinstance(metric, Metric) or bool(metric.sums) or type(metric).merge is not Metric.merge


def mergeable_state(metric: Metric) -> Any:
    """Return an argument for `merge` that can be sent to other processes: the `sums` of a metric, or the metric."""
    if type(metric).merge is not Metric.merge:
        return metric
    return SimpleNamespace(**{name: getattr(metric, name) for name in metric.sums})


def checked_ratio(numerator: float, denominator: float, metric: Metric) -> float:
    """Return numerator / denominator; raises PellucidError if `denominator` is 0."""
    check_measured(denominator, metric)
    return numerator / denominator


def check_measured(count: float, metric: Metric) -> None:
    """Raise PellucidError if `count`, the number of examples or values that a metric has measured, is 0."""
    if not count:
        raise PellucidError(f"{type(metric).__name__}: no examples were measured; call update first")
