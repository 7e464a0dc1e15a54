"""Where NaN or infinity first appears in a training step."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from pellucid.combine import Combinator
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.sweep import backward, forward
from pellucid.train.examples import first_not_finite
from pellucid.train.notfinite import NotFinite
from pellucid.train.step import Step
from pellucid.tree import flatten


class _FoundError(Exception):
    """Ends a pass at the first tensor that is not finite."""

    def __init__(self, what: NotFinite) -> None:
        super().__init__(str(what))
        self.what = what


def diagnose(
    net: Layer, params: Params, weights: Mapping[str, Tensor], loss: Loss, x: Any, target: Tensor, mode: Mode
) -> NotFinite | None:
    """Return which tensor of one forward and backward pass is the first that is not finite, or None.

    weights: the learned tensors by path (running statistics, which the pass overwrites, are not among them).
    Looked at in the order in which they come to be: the input, the weights (the last layer's first), each layer's
    output, the loss, its gradient, and each layer's dx and dparams on the way back.
    """
    fault = input_fault(x) or weights_fault(weights)
    if fault:
        return fault
    try:
        y, cache = forward(net, params, x, mode, _watch_forward)
        value, dy = loss(y, target)
        _raise(NotFinite.of(value, "loss", "its value"))
        _raise(NotFinite.of(dy, "loss", "its gradient dy"))
        backward(net, params, cache, dy, watch=_watch_backward)
    except _FoundError as found:
        return found.what
    return None


def diagnose_output(net: Layer, params: Params, x: Any) -> NotFinite | None:
    """Return which tensor of a forward pass in evaluation mode is the first that is not finite, or None."""
    fault = input_fault(x) or weights_fault(flatten(params))
    if fault:
        return fault
    try:
        forward(net, params, x, Mode(keep=False), _watch_forward)
    except _FoundError as found:
        return found.what
    return None


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
    """Return which weight, or which tensor that the optimizer remembers, is not finite, or None.

    A weight whose mean square has overflowed stays finite: its updates are 0 from then on.
    """
    fault = weights_fault(dict(zip(step.paths, step.weights, strict=True)))
    if fault:
        return fault
    for kind, tensors in step.state.items():
        if isinstance(tensors, int):
            continue
        for path, tensor in reversed(list(zip(step.paths, tensors, strict=True))):
            layer, _, name = path.rpartition(".")
            fault = NotFinite.of(tensor, "memory", f"the optimizer's {kind} of {name}", layer)
            if fault:
                return fault
    return None


def learned_is_finite(step: Step) -> bool:
    """Tell, as fast as can be, whether `learned_fault` would find nothing."""
    total = 0.0
    for tensors in (step.weights, *step.state.values()):
        if not isinstance(tensors, int):
            for tensor in tensors:
                total += tensor.sum().item()  # faster than any other question about all of a tensor
    # A sum that is finite had only finite parts; one that is not may also be too large.
    return total - total == 0.0 or not learned_fault(step)


def _watch_forward(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
    if not isinstance(layer, Combinator):
        _raise(NotFinite.of(y, "output", "the output y", path, type(layer).__name__))


def _watch_backward(path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
    if not isinstance(layer, Combinator):
        for name, gradient in dparams.items():
            _raise(NotFinite.of(gradient, "gradient", f"the gradient d{name}", path, type(layer).__name__))
        _raise(NotFinite.of(dx, "gradient", "the gradient dx", path, type(layer).__name__))


def _raise(fault: NotFinite | None) -> None:
    if fault:
        raise _FoundError(fault)
