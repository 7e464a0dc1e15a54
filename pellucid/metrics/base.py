"""The interface of metrics: updated batch by batch, computed at the end."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.settings.arguments import Checked
from pellucid.text import note_once


class Metric(metaclass=Checked):
    """A measure of a model's outputs, computed batch by batch.

    Each evaluation updates a new copy (`copy.deepcopy`) of the model's metric, so a metric needs no reset method. A
    metric with arguments is a dataclass: the fields of its constructor are saved with the model, its state is in
    fields with `init=False`. `lower_is_better`: whether smaller results are better. `sums`: the names of the fields
    that are sums over the batches (numbers, tensors or lists), if these are the whole state; several processes can then
    compute the metric together.
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

        A metric with another state overrides this method, if several processes are to compute it together.
        """
        for name in self.sums:
            own_value, added = getattr(self, name), getattr(other, name)
            setattr(self, name, added if own_value is None else own_value if added is None else own_value + added)

    @abstractmethod
    def compute(self) -> dict[str, Any]:
        """Return the results by name: numbers, or lists of numbers, which are not part of the training history."""


@dataclass
class Function(Metric):
    """The value of a function (outputs, targets) -> number, called once with all outputs and targets of the data.

    Both are tensors, or lists with one entry per example if the examples differ in shape.
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
    """A metric of which a weights file contains the name alone; it has no results."""

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
    """Return the outputs, or targets, of all batches as one tensor, or a list with one entry per example.

    It is a list if the batches are lists, or if the shapes of their entries differ.
    """
    same_shape = all(isinstance(batch, Tensor) and batch.shape[1:] == batches[0].shape[1:] for batch in batches)
    return torch.cat(list(batches)) if same_shape else [entry for batch in batches for entry in batch]


MetricLike = str | Metric | Callable[[Any, Any], Any]


def function_name(function: Callable[..., Any]) -> str:
    """Return the name of a function's result; for a partial function, including its arguments: `f_beta(beta=2)`."""
    if isinstance(function, partial):
        arguments = [*map(str, function.args), *(f"{name}={value}" for name, value in function.keywords.items())]
        return f"{function_name(function.func)}({', '.join(arguments)})"
    return str(getattr(function, "__name__", type(function).__name__))


def fresh(metric: Metric | Callable[[Any, Any], Any]) -> Metric:
    """Return a metric in its initial state."""
    return deepcopy(metric) if isinstance(metric, Metric) else Function(metric)


def improves_downward(metric: Metric | Callable[[Any, Any], Any]) -> bool:
    """Return the attribute `lower_is_better` of a metric or a function, False by default."""
    return bool(getattr(metric, "lower_is_better", False))


def is_mergeable(metric: Metric | Callable[[Any, Any], Any]) -> bool:
    """Return whether several processes can compute a metric together: by `sums`, its own `merge`, or as a function."""
    return not isinstance(metric, Metric) or bool(metric.sums) or type(metric).merge is not Metric.merge


def mergeable_state(metric: Metric) -> Any:
    """Return what `merge` takes of a metric: its `sums`, which can be sent to other processes, or the metric itself."""
    if type(metric).merge is not Metric.merge:
        return metric
    return SimpleNamespace(**{name: getattr(metric, name) for name in metric.sums})


def checked_ratio(numerator: float, denominator: float, metric: Metric) -> float:
    """Return numerator / denominator; raises PellucidError if `denominator` is 0."""
    check_measured(denominator, metric)
    return numerator / denominator


def check_measured(count: float, metric: Metric) -> None:
    """Raise PellucidError if a metric has counted nothing."""
    if not count:
        raise PellucidError(f"{type(metric).__name__}: no examples were measured; call update first")
