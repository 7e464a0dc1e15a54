"""Search for the first tensor with NaN or infinity in a training step, and the error that reports it."""
# Return values of user-defined classes are checked at run time, regardless of their annotations.
# pyright: reportUnnecessaryIsInstance=false

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.base.settings.checks import check
from pellucid.base.text import plural
from pellucid.combine.base import uses_flow
from pellucid.data.source import Batch
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.nested import flatten
from pellucid.objective import Objective, Supervised
from pellucid.run.records import read_object, to_record
from pellucid.sweep import forward
from pellucid.training.examples import first_not_finite
from pellucid.training.learner import Learner
from pellucid.training.step import NotFiniteError, TrainingStep

MAX_SIZE = 1 << 40  # of an axis of a tensor
FaultKind = Literal["input", "weight", "memory", "output", "loss", "gradient"]


@dataclass(frozen=True)
class NotFinite:
    """A tensor that is not finite; str() is "dense1 (Dense): the output y contains infinity (3 of 16 values, ...)"."""

    kind: FaultKind  # the role of the tensor; "memory" is the optimizer's state for a weight
    path: str  # the layer's path, "" for the network itself, the inputs and the loss
    layer: str  # the layer's type if the tensor was found in a pass, otherwise ""
    tensor: str  # its name in messages, such as "weight" or "the output y"
    what: str  # "NaN", or "infinity" if there is no NaN
    count: int  # the number of values that are not finite
    shape: tuple[int, ...]  # of the tensor
    note: str = ""  # additional text for the message

    @classmethod
    def of(cls, value: Any, kind: FaultKind, tensor: str, path: str = "", layer: str = "") -> Self | None:
        """Return the first tensor that is not finite in `value` (a tensor, None or a tuple of these), or None."""
        if isinstance(value, tuple):
            return next(
                filter(None, (cls.of(item, kind, tensor, path, layer) for item in cast(tuple[Any, ...], value))), None
            )
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return None
        n_not_finite = int((~torch.isfinite(value)).sum())
        value_kind = "NaN" if bool(torch.isnan(value).any()) else "infinity"
        return cls(kind, path, layer, tensor, value_kind, n_not_finite, tuple(value.shape)) if n_not_finite else None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "shape": list(self.shape)}

    @property
    def without_path(self) -> str:
        """The message without the layer's path."""
        size = math.prod(self.shape)
        note = f", {self.note}" if self.note else ""
        return f"{self.tensor} contains {self.what} ({self.count} of {plural(size, 'value')}, shape {self.shape}){note}"

    def __str__(self) -> str:
        """Return the layer's path and type, or "the loss", and the message."""
        layer_text = f"{self.path} ({self.layer})" if self.path and self.layer else self.path or self.layer
        position = "the loss" if self.kind == "loss" else layer_text
        return f"{position}: {self.without_path}" if position else self.without_path


class StoppedError(PellucidError):
    """NaN or infinity in a training.

    step: the number of the training step, from 1.
    fault: the tensor.
    """

    def __init__(self, message: str, step: int, fault: NotFinite) -> None:
        super().__init__(message)
        self.step = step
        self.fault = fault

    def write(self, path: Path) -> None:
        """Write the error to a JSON file."""
        write_atomically(path, (json.dumps(self.to_json(), indent=2) + "\n").encode())

    def to_json(self) -> dict[str, Any]:
        """Return the message, the step and the tensor as JSON values."""
        return {"error": str(self), "step": self.step, "fault": self.fault.to_json()}

    @classmethod
    def read(cls, path: Path) -> "StoppedError | None":
        """Return the error in a file of `write`, or None if there is no file; raises PellucidError for other files."""
        values = read_object(path, "remove it, or train again")
        if values is None:
            return None
        try:
            record = to_record(values, _StoppedFile, str(path))
            fault = to_record(record.fault, NotFinite, f"{path}: fault")
            check(all(0 <= size < MAX_SIZE for size in fault.shape), f"{path}: shape", "that of a tensor", fault.shape)
        except PellucidError as error:
            raise PellucidError(f"{error}; remove it, or train again") from error
        return cls(record.error, record.step, fault)


class _StoppedFile(NamedTuple):
    """The contents of error.json, as `StoppedError.to_json` returns them."""

    error: str
    step: int
    fault: dict[str, Any]


class _FaultFoundError(Exception):
    """Raised to end a pass at the first tensor that is not finite."""

    def __init__(self, fault: NotFinite) -> None:
        super().__init__(str(fault))
        self.fault = fault


def diagnose(
    objective: Objective,
    params: Params,
    weights: Mapping[str, Tensor],
    batch: Batch,
    mode: Mode,
    example_numbers: Sequence[int] | None = None,
) -> NotFinite | None:
    """Return the first tensor that is not finite in one forward and backward pass, or None.

    The order is the order of computation: the input, the weights (the last layer's first), each layer's output, the
    losses, their gradients, and each layer's dparams and dx in the backward pass. weights: the learned tensors by path,
    without running statistics, which the pass overwrites. If an objective updates its networks in turns, all turns are
    computed with the current parameters, which earlier turns of the step may have changed. example_numbers: the
    positions of the examples in the whole batch, if `batch` is a part of it.
    """
    fault = input_fault(batch.images, example_numbers) or weights_fault(weights)
    if fault:
        return fault
    # Output gradients that are not finite. They are reported only after all losses are checked, because `gradients`
    # returns the losses after its backward passes, and a loss that is not finite is the cause.
    dy_faults: list[NotFinite] = []

    def check_forward(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        fault = _output_fault(path, layer, y)
        has_examples = isinstance(y, Tensor) and y.dim() > 1 and len(y) == len(batch.images)
        _raise_fault(_naming_example(fault, y, example_numbers) if fault and has_examples else fault)

    def check_backward(path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
        layer_type = type(layer).__name__
        fault = NotFinite.of(dy, "gradient", "the gradient dy of its output", path, layer_type)
        if fault:
            dy_faults.append(fault)
        if dy_faults:
            return
        for name, gradient in flatten(dparams).items():
            _raise_fault(NotFinite.of(gradient, "gradient", f"the gradient d{name}", path, layer_type))
        _raise_fault(NotFinite.of(dx, "gradient", "the gradient dx", path, layer_type))

    try:
        turns = objective.watched(check_forward, check_backward).gradients(params, batch, mode)
        for losses, _ in (turns,) if isinstance(turns, tuple) else turns:
            for name, value in losses.items():
                _raise_fault(loss_fault(name, value))
            if dy_faults and isinstance(objective, Supervised):
                return replace(dy_faults[0], kind="loss", path="", layer="", tensor="its gradient dy")
            _raise_fault(next(iter(dy_faults), None))
    except _FaultFoundError as error:
        return error.fault
    return None


def step_fault(
    model: Learner,
    step: TrainingStep,
    batch: Batch,
    mode: Mode,
    loss: NotFiniteError,
    example_numbers: Sequence[int] | None = None,
) -> NotFinite:
    """Return the first tensor that is not finite in a step with such a loss; see `diagnose` for `example_numbers`."""
    fault = diagnose(model.objective, model.params, weights_of(step), batch, mode, example_numbers)
    fault = fault or loss_fault(loss.name, torch.tensor(loss.value))
    assert fault is not None  # the value of the loss is not finite
    if fault.kind != "input":
        return fault
    note = f"{fault.note}, caused by the augmentation or the preprocessing of finite data".lstrip(", ")
    return replace(fault, note=note)


def weights_of(step: TrainingStep) -> dict[str, Tensor]:
    """Return the learned tensors of a step by path."""
    return dict(zip(step.paths, step.weights, strict=True))


def diagnose_output(net: Layer, params: Params, x: Any) -> NotFinite | None:
    """Return the first tensor that is not finite in a forward pass in evaluation mode, or None."""
    fault = input_fault(x) or weights_fault(flatten(params))
    if fault:
        return fault
    try:
        forward(net, params, x, Mode(keep=False), _check_forward)
    except _FaultFoundError as error:
        return error.fault
    return None


def _check_forward(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
    _raise_fault(_output_fault(path, layer, y))


def _output_fault(path: str, layer: Layer, y: Any) -> NotFinite | None:
    """Return the fault of a layer's output that is not finite, or None; a combinator's is that of a layer in it."""
    return None if uses_flow(layer) else NotFinite.of(y, "output", "the output y", path, type(layer).__name__)


def loss_fault(name: str, value: Any) -> NotFinite | None:
    """Return the fault of a loss whose value is not finite, or None."""
    return NotFinite.of(value, "loss", "its value" if name == "loss" else f"the value of {name!r}")


def input_fault(x: Any, example_numbers: Sequence[int] | None = None) -> NotFinite | None:
    """Return the fault of a batch of inputs that is not finite, with the number of the first such example, or None.

    example_numbers: the number of each example, by default 0, 1, ...
    """
    fault = NotFinite.of(x, "input", "the input x")
    return fault and _naming_example(fault, x, example_numbers)


def _naming_example(fault: NotFinite, values: Any, example_numbers: Sequence[int] | None) -> NotFinite:
    """Return a fault in values (N, ...) with a note on the first example that is not finite."""
    index = first_not_finite(values) if isinstance(values, Tensor) else None
    if index is None:
        return fault
    number = index if example_numbers is None else example_numbers[index]
    return replace(fault, note=f"first in example {number} of the batch")


def weights_fault(weights: Mapping[str, Tensor]) -> NotFinite | None:
    """Return the fault of the last tensor in the network's order that is not finite, or None.

    The backward pass begins at the last layer, and spreads its NaN to the gradients of all layers before it.
    """
    for path, tensor in reversed(list(weights.items())):
        layer, _, name = path.rpartition(".")
        fault = NotFinite.of(tensor, "weight", name, layer)
        if fault:
            return fault
    return None


def learned_fault(step: TrainingStep) -> NotFinite | None:
    """Return the fault of a weight, or of a tensor of an optimizer's state, that is not finite, or None.

    The state is checked too, because a weight stays finite when its mean square overflows: its updates are then 0.
    """
    fault = weights_fault(weights_of(step))
    if fault:
        return fault
    for state_name, path, tensor in reversed(step.state_tensors()):
        layer, _, name = path.rpartition(".")
        fault = NotFinite.of(tensor, "memory", f"the optimizer's {state_name} of {name}", layer)
        if fault:
            return fault
    return None


def update_note(last_clean_step: int, step: int) -> str:
    """Return a note on the updates after `last_clean_step` that may have caused a fault found after `step`."""
    first_step = last_clean_step + 1
    if first_step > step:
        return "not caused by an update"
    updates = f"the update of one of the steps {first_step} to {step}"
    return f"from {updates if first_step < step else f'the update of step {step}'}"


def learned_is_finite(step: TrainingStep) -> bool:
    """Return whether all weights and the optimizers' states are finite, as fast as possible."""
    states = (tensors for state in step.states.values() for tensors in state.values() if not isinstance(tensors, int))
    total = 0.0
    for tensors in (step.weights, *states):
        if tensors and tensors[0].device.type != "cpu":  # wait for the device once, not once for each tensor
            total += torch.stack([tensor.sum(dtype=torch.float32) for tensor in tensors]).sum().item()
            continue
        for tensor in tensors:
            total += tensor.sum().item()  # the fastest reduction of a tensor
    # A finite sum has only finite terms; a sum that is not finite may also have overflowed, so each term is checked.
    return total - total == 0.0 or not learned_fault(step)


def _raise_fault(fault: NotFinite | None) -> None:
    if fault:
        raise _FaultFoundError(fault)


def fault_advice(fault: NotFinite, lr: float) -> str:
    """Return what to do about a fault in a training with a learning rate."""
    if fault.kind == "input":
        return "check what these return"
    return f"lower the learning rate ({lr:g}) or look for very large values in the data"
