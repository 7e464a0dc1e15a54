"""Where NaN or infinity first appears in a training step, and the error that reports it."""
# What users' own parts return is checked, whatever its type should be.
# pyright: reportUnnecessaryIsInstance=false

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import torch
from torch import Tensor

from pellucid.combine.base import is_wiring
from pellucid.data.source import Batch
from pellucid.errors import PellucidError
from pellucid.files import read_regular, write_atomically
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.objective import Objective, Supervised
from pellucid.sweep import forward
from pellucid.training.examples import first_not_finite
from pellucid.training.step import Step
from pellucid.tree import flatten

Kind = Literal["input", "weight", "memory", "output", "loss", "gradient"]


@dataclass(frozen=True)
class NotFinite:
    """What is not finite; as a string, a sentence: "dense1 (Dense): the output y holds infinity (3 of 16 values, ...)".

    kind: what the tensor is; "memory" is the optimizer's state of a weight. path: of its layer, "" for the network
    itself, the inputs and the loss. layer: the layer's type where a pass met it. tensor: its name: "weight", "the
    output y". what: "NaN", also where there is infinity besides, or "infinity". count: how many of its values, and
    shape: the tensor's. note: further facts.
    """

    kind: Kind
    path: str
    layer: str
    tensor: str
    what: str
    count: int
    shape: tuple[int, ...]
    note: str = ""

    @classmethod
    def of(cls, value: Any, kind: Kind, tensor: str, path: str = "", layer: str = "") -> Self | None:
        """Return the first that is not finite in `value`, a tensor, None, or a tuple of such; None if all are."""
        if isinstance(value, tuple):
            return next(
                filter(None, (cls.of(part, kind, tensor, path, layer) for part in cast(tuple[Any, ...], value))), None
            )
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return None
        count = int((~torch.isfinite(value)).sum())
        what = "NaN" if bool(torch.isnan(value).any()) else "infinity"
        return cls(kind, path, layer, tensor, what, count, tuple(value.shape)) if count else None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Build from what `to_json` returned; KeyError, TypeError or ValueError for anything else."""
        found = cls(**{one.name: values[one.name] for one in fields(cls)})
        words = (found.kind, found.path, found.layer, found.tensor, found.what, found.note)
        if found.kind not in get_args(Kind) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"{values} describes no tensor")
        return cls(*words[:5], int(found.count), tuple(int(size) for size in found.shape), found.note)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "shape": list(self.shape)}

    @property
    def held(self) -> str:
        """The sentence without the location."""
        size = torch.Size(self.shape).numel()
        note = f", {self.note}" if self.note else ""
        return f"{self.tensor} holds {self.what} ({self.count} of {size} values, shape {self.shape}){note}"

    def __str__(self) -> str:
        """Return the sentence."""
        kind = f"{self.path} ({self.layer})" if self.path and self.layer else self.path or self.layer
        place = "the loss" if self.kind == "loss" else kind
        return f"{place}: {self.held}" if place else self.held


class StoppedError(PellucidError):
    """NaN or infinity in a training: `step`, from 1, and `fault`, the tensor that it is in."""

    def __init__(self, said: str, step: int, fault: NotFinite) -> None:
        super().__init__(said)
        self.step, self.fault = step, fault

    def write(self, path: Path) -> None:
        """Write the error, as JSON."""
        told = {"error": str(self), "step": self.step, "fault": self.fault.to_json()}
        write_atomically(path, (json.dumps(told, indent=2) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> "StoppedError":
        """Return what `write` wrote; PellucidError for anything else."""
        try:
            told = json.loads(read_regular(path))
            return cls(str(told["error"]), int(told["step"]), NotFinite.from_json(told["fault"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise PellucidError(f"{path} cannot be read ({error}); remove it, or train again") from error


class _FoundError(Exception):
    """Ends a pass at the first tensor that is not finite."""

    def __init__(self, what: NotFinite) -> None:
        super().__init__(str(what))
        self.what = what


def diagnose(
    objective: Objective, params: Params, weights: Mapping[str, Tensor], batch: Batch, mode: Mode
) -> NotFinite | None:
    """Return which tensor of one forward and backward pass is the first that is not finite, or None.

    weights: the learned tensors by path (running statistics, which the pass overwrites, are not among them).
    Looked at in the order in which they come to be: the input, the weights (the last layer's first), each layer's
    output, the losses, their gradients, and each layer's dx and dparams in the backward pass. Of several turns, those
    before the one that failed are computed with what they have changed already.
    """
    fault = input_fault(batch.images) or weights_fault(weights)
    if fault:
        return fault
    reached: list[NotFinite] = []  # gradients that reach a layer so: the losses, which come later, say more of these

    def back(path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
        kind = type(layer).__name__
        fault = NotFinite.of(dy, "gradient", "the gradient dy of its output", path, kind)
        if fault:
            reached.append(fault)
        if reached:
            return
        for name, gradient in flatten(dparams).items():
            _raise(NotFinite.of(gradient, "gradient", f"the gradient d{name}", path, kind))
        _raise(NotFinite.of(dx, "gradient", "the gradient dx", path, kind))

    try:
        turns = objective.watched(_look_forward, back).gradients(params, batch, mode)
        for losses, _ in (turns,) if isinstance(turns, tuple) else turns:
            for name, value in losses.items():
                _raise(loss_fault(name, value))
            if reached and isinstance(objective, Supervised):
                return replace(reached[0], kind="loss", path="", layer="", tensor="its gradient dy")
            _raise(next(iter(reached), None))
    except _FoundError as found:
        return found.what
    return None


def diagnose_output(net: Layer, params: Params, x: Any) -> NotFinite | None:
    """Return which tensor of a forward pass in evaluation mode is the first that is not finite, or None."""
    fault = input_fault(x) or weights_fault(flatten(params))
    if fault:
        return fault
    try:
        forward(net, params, x, Mode(keep=False), _look_forward)
    except _FoundError as found:
        return found.what
    return None


def _look_forward(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
    if not is_wiring(layer):
        _raise(NotFinite.of(y, "output", "the output y", path, type(layer).__name__))


def loss_fault(name: str, value: Any) -> NotFinite | None:
    """Return what is not finite in the value of a loss, or None."""
    return NotFinite.of(value, "loss", "its value" if name == "loss" else f"the value of {name!r}")


def input_fault(x: Any) -> NotFinite | None:
    """Return what is not finite in a batch of inputs, and in which example of it, or None."""
    fault = NotFinite.of(x, "input", "the input x")
    place = first_not_finite(x) if fault and isinstance(x, Tensor) else None
    return fault if fault is None or place is None else replace(fault, note=f"first in example {place} of the batch")


def weights_fault(weights: Mapping[str, Tensor]) -> NotFinite | None:
    """Return which of some tensors by path, in the network's order, is not finite, or None.

    Of several it is the last layer's: the sweep comes from there, and carries a fault on to all layers before.
    """
    for path, tensor in reversed(list(weights.items())):
        layer, _, name = path.rpartition(".")
        fault = NotFinite.of(tensor, "weight", name, layer)
        if fault:
            return fault
    return None


def learned_fault(step: Step) -> NotFinite | None:
    """Return which weight, or which tensor of an optimizer's state, is not finite, or None.

    A weight whose mean square has overflowed stays finite: its updates are 0 from then on.
    """
    fault = weights_fault(dict(zip(step.paths, step.weights, strict=True)))
    if fault:
        return fault
    for kind, path, tensor in reversed(step.memory()):
        layer, _, name = path.rpartition(".")
        fault = NotFinite.of(tensor, "memory", f"the optimizer's {kind} of {name}", layer)
        if fault:
            return fault
    return None


def learned_is_finite(step: Step) -> bool:
    """Return whether `learned_fault` would find nothing, as fast as possible."""
    kept = (tensors for state in step.states.values() for tensors in state.values() if not isinstance(tensors, int))
    total = 0.0
    for tensors in (step.weights, *kept):
        if tensors and tensors[0].device.type != "cpu":  # wait for the device once, not once for each tensor
            total += torch.stack([tensor.sum(dtype=torch.float32) for tensor in tensors]).sum().item()
            continue
        for tensor in tensors:
            total += tensor.sum().item()  # the fastest reduction of a tensor
    # A sum that is finite had only finite parts; one that is not may also be too large.
    return total - total == 0.0 or not learned_fault(step)


def _raise(fault: NotFinite | None) -> None:
    if fault:
        raise _FoundError(fault)
