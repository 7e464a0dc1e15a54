"""Where NaN or infinity first appears in a training step."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.combine import Combinator
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.sweep import backward, forward
from pellucid.train.examples import first_not_finite
from pellucid.train.step import Step
from pellucid.tree import flatten


class _FoundError(Exception):
    """Ends a pass at the first tensor that is not finite."""


def diagnose(
    net: Layer, params: Params, weights: Mapping[str, Tensor], loss: Loss, x: Any, target: Tensor, mode: Mode
) -> str:
    """Return which tensor of one forward and backward pass is the first that is not finite, or "".

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
        _raise_first("the loss", "its value", value)
        _raise_first("the loss", "its gradient dy", dy)
        backward(net, params, cache, dy, watch=_watch_backward)
    except _FoundError as found:
        return str(found)
    return ""


def diagnose_output(net: Layer, params: Params, x: Any) -> str:
    """Return which tensor of a forward pass in evaluation mode is the first that is not finite, or ""."""
    fault = input_fault(x) or weights_fault(flatten(params))
    if fault:
        return fault
    try:
        forward(net, params, x, Mode(keep=False), _watch_forward)
    except _FoundError as found:
        return str(found)
    return ""


def input_fault(x: Any) -> str:
    """Return what is not finite in a batch of inputs, and in which example of it, or ""."""
    fault = next(_faults("", "the input x", x), "")
    place = first_not_finite(x) if fault and isinstance(x, Tensor) else None
    return fault if place is None else f"{fault}, first in example {place} of the batch"


def weights_fault(weights: Mapping[str, Tensor]) -> str:
    """Return which of some tensors by path, in the network's order, is not finite, or "".

    Of several it is the last layer's: the sweep comes from there, and carries a fault on to all layers before.
    """
    for path, tensor in reversed(list(weights.items())):
        layer, _, name = path.rpartition(".")
        for fault in _faults(layer, name, tensor):
            return fault
    return ""


def learned_fault(step: Step) -> str:
    """Return which weight, or which tensor that the optimizer remembers, is not finite, or "".

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
            for found in _faults(layer, f"the optimizer's {kind} of {name}", tensor):
                return found
    return ""


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
        _raise_first(_named(path, layer), "the output y", y)


def _watch_backward(path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
    if not isinstance(layer, Combinator):
        for name, gradient in dparams.items():
            _raise_first(_named(path, layer), f"the gradient d{name}", gradient)
        _raise_first(_named(path, layer), "the gradient dx", dx)


def _named(path: str, layer: Layer) -> str:
    return f"{path} ({type(layer).__name__})" if path else type(layer).__name__


def _raise_first(where: str, name: str, value: Any) -> None:
    for fault in _faults(where, name, value):
        raise _FoundError(fault)


def _faults(where: str, name: str, value: Any) -> Iterator[str]:
    """Yield a description of each tensor in `value` (a tensor, None, or a tuple of such) that is not finite."""
    if isinstance(value, tuple):
        for part in value:
            yield from _faults(where, name, part)
    elif isinstance(value, Tensor) and value.is_floating_point():
        wrong = ~torch.isfinite(value)
        count = int(wrong.sum())
        if count:
            what = "NaN" if bool(torch.isnan(value).any()) else "infinity"
            place = f"{where}: " if where else ""
            yield f"{place}{name} holds {what} ({count} of {value.numel()} values, shape {tuple(value.shape)})"
