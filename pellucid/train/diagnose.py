"""Where NaN or infinity first appears in a training step."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.combine import Combinator
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.sweep import backward, forward
from pellucid.tree import flatten


class _FoundError(Exception):
    """Ends a pass at the first tensor that is not finite."""


def diagnose(
    net: Layer, params: Params, weights: Mapping[str, Tensor], loss: Loss, x: Any, target: Tensor, mode: Mode
) -> str:
    """Return which tensor of one forward and backward pass is the first that is not finite, or "".

    weights: the learned tensors by path (running statistics, which the pass overwrites, are not among them).
    Looked at in the order in which they come to be: the input, the weights, each layer's output, the loss, its
    gradient, and each layer's dx and dparams on the way back.
    """
    fault = next(_faults("", "the input x", x), "") or weights_fault(weights)
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
    fault = next(_faults("", "the input x", x), "") or weights_fault(flatten(params))
    if fault:
        return fault
    try:
        forward(net, params, x, Mode(keep=False), _watch_forward)
    except _FoundError as found:
        return str(found)
    return ""


def weights_fault(weights: Mapping[str, Tensor]) -> str:
    """Return which of some tensors by path is the first that is not finite, or ""."""
    for path, tensor in weights.items():
        layer, _, name = path.rpartition(".")
        for fault in _faults(layer, name, tensor):
            return fault
    return ""


def all_finite(tensors: list[Tensor]) -> bool:
    """Tell whether no tensor holds NaN or infinity."""
    # A sum that is finite had only finite parts, and is cheaper; one that is not may also be too large.
    return all(bool(torch.isfinite(one.sum())) or bool(torch.isfinite(one).all()) for one in tensors)


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
