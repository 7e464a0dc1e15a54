"""Checks of the values that methods of user-defined layers and losses return for one batch.

Pellucid's own classes have tests; user-defined classes are checked once before training.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import shown
from pellucid.combine.base import Combinator, join, prefix_of, walk
from pellucid.extend.registry import is_ours
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.nested import flatten, map_tree
from pellucid.sweep import backward, run

T = TypeVar("T")


def attempt(subject: str, call: Callable[..., T], *args: Any) -> T:
    """Return `call(*args)`; an error in it becomes a PellucidError that begins with `subject`, raised from it.

    PellucidError and MemoryError are raised unchanged.
    """
    try:
        return call(*args)
    except (PellucidError, MemoryError):
        raise
    except Exception as error:  # raised by user code
        reason = " ".join(str(error).split())
        are_gradients_off = "does not require grad" in reason or "Inference tensor" in reason
        hint = (
            "; PyTorch gradients are off here: use `with torch.inference_mode(False):`, y.detach().clone()"
            if are_gradients_off
            else ""
        )
        raise PellucidError(f"{subject} raised {type(error).__name__}: {reason}{hint}; --debug shows where") from error


def layer_label(path: str, layer: Layer) -> str:
    """Return the name of a layer for messages."""
    return f"{path} ({type(layer).__name__})" if path else type(layer).__name__


def describe(value: Any) -> str:
    """Describe a value for messages: shape and dtype of tensors, the type of objects in a list, otherwise the value."""
    if isinstance(value, tuple):
        return f"({', '.join(map(describe, value))})"
    if isinstance(value, list) and value and is_dataclass(value[0]):  # their repr would print all their tensors
        return f"a list of {len(value)} {type(value[0]).__name__}"
    return f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else shown(value)


def copy_of(x: Any) -> Any:
    """Return a copy of a tensor, or of nested tuples of tensors."""
    return tuple(map(copy_of, x)) if isinstance(x, tuple) else x.clone()


def has_changed(before: Any, x: Any) -> bool:
    """Return whether x, a tensor or nested tuples, differs from its earlier copy `before`; NaN equals NaN."""
    if isinstance(x, tuple):
        return any(map(has_changed, before, x))
    return before.shape != x.shape or not torch.equal(before.nan_to_num(), x.nan_to_num())


def try_network(net: Layer, params: Params, loss: Loss, x: Any, target: Tensor) -> None:
    """Run one batch forward and backward in training mode, and check the results of user-defined classes.

    Parameters and running statistics are not changed. Raises PellucidError, naming the layer and the method, for an
    error in user-defined code, for results of unexpected shapes, and for parameters without a gradient.
    """
    user_defined_paths = {path for path, layer in walk(net) if not is_ours(layer)}
    inputs: dict[str, set[str]] = {}  # descriptions of inputs by path; several if a layer is shared
    params = map_tree(torch.clone, params)
    reached_paths: set[str] = set()

    def recording_forward(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        inputs.setdefault(path, set()).add(describe(x))
        return checked_forward(path, layer, params, x, mode)

    def rules(path: str, layer: Layer) -> Callable[..., tuple[Any, Params]]:
        def rule(layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
            reached_paths.add(path)
            if path not in user_defined_paths:
                return layer.backward(params, cache, dy)
            subject = f"{layer_label(path, layer)}: backward"
            dx, dparams = result = _check_backward_result(subject, attempt(subject, layer.backward, params, cache, dy))
            if not isinstance(dx, tuple) and describe(dx) not in inputs[path]:
                raise PellucidError(
                    f"{subject} must return dx shaped like x, {' or '.join(inputs[path])}, not {describe(dx)}"
                )
            _check_gradients(subject, layer, params, dparams)
            return result

        return rule

    device = (x[0] if isinstance(x, tuple) else x).device
    generator = torch.Generator(device).manual_seed(0)
    y, cache = run(net, params, x, Mode(True, generator), recording_forward)
    _, dy = try_loss(loss, y, target)
    _, dparams = backward(net, params, cache, dy, rules)
    if any(isinstance(layer, Combinator) and path in user_defined_paths for path, layer in walk(net)):
        _check_combinators(net, params, dparams, reached_paths)


def checked_forward(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
    """Return a layer's output and cache; raises PellucidError, naming the layer, for errors of a user-defined one."""
    if is_ours(layer):
        return layer.forward(params, x, mode)
    subject = f"{layer_label(path, layer)}: forward"
    before = copy_of(x)
    result = attempt(subject, layer.forward, params, x, mode)
    if has_changed(before, x):
        raise PellucidError(
            f"{subject} changes its input, which other layers read too; return a new tensor, such as y = x * 2"
        )
    if not isinstance(result, tuple) or len(result) != 2:
        raise PellucidError(f"{subject} must return (y, cache), not {describe(result)}")
    y = result[0]
    if not isinstance(y, Tensor | tuple):
        raise PellucidError(f"{subject} must return a tensor as y, not {describe(y)}")
    if not isinstance(y, tuple) and not isinstance(x, tuple):
        _check_output(subject, path, layer, x, y)
    return result


@contextmanager
def naming_layers_in_errors(net: Layer, params: Params, x: Any) -> Iterator[None]:
    """Within the context, raise PellucidError, naming the layer, if a forward pass of x fails in a user-defined layer.

    To find the layer, the pass is repeated in evaluation mode; if no layer fails there, the error is raised unchanged.
    """
    try:
        yield
    except (PellucidError, MemoryError):
        raise
    except Exception:
        run(net, params, x, Mode(keep=False), checked_forward)
        raise


def try_loss(loss: Loss, y: Any, target: Tensor) -> tuple[Tensor, Any]:
    """Return (value, dy) of a loss; if user-defined, raise PellucidError unless value is 0-d and dy shaped like `y`."""
    if is_ours(loss):
        return loss(y, target)
    name = type(loss).__name__
    subject = f"{name}: compute, given outputs {describe(y)} and targets {describe(target)},"
    result = attempt(subject, loss, y, target)
    if not isinstance(result, tuple) or len(result) != 2:
        raise PellucidError(f"{name}: compute must return (value, dy), not {describe(result)}")
    value, dy = result
    if not isinstance(value, Tensor) or value.dim():
        raise PellucidError(
            f"{name}: the loss must be a tensor of one number, not {describe(value)}; sum or average it"
        )
    if describe(dy) != describe(y):
        raise PellucidError(f"{name}: the gradient must be {describe(y)} like the outputs, not {describe(dy)}")
    return value, dy


def _check_output(subject: str, path: str, layer: Layer, x: Tensor, y: Tensor) -> None:
    """Raise PellucidError unless a layer's output has the dtype of x and the shape returned by its `init`."""
    if y.is_floating_point() and x.is_floating_point() and y.dtype != x.dtype:
        raise PellucidError(f"{subject} must return y of {x.dtype} like x, not {y.dtype}; convert it by y.to(x.dtype)")
    _, output_shape = attempt(
        f"{layer_label(path, layer)}: init", layer.init, tuple(x.shape[1:]), torch.Generator().manual_seed(0)
    )
    expected = (len(x), *output_shape)
    if tuple(y.shape) != expected:
        raise PellucidError(f"{subject} must return y of shape {expected}, as init returns it, not {tuple(y.shape)}")


def _check_backward_result(subject: str, result: Any) -> tuple[Any, Params]:
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
        raise PellucidError(f"{subject} must return (dx, dparams), dparams a dict by parameter, not {describe(result)}")
    return result


def _check_gradients(subject: str, layer: Layer, params: Params, dparams: Params) -> None:
    """Raise PellucidError unless the gradients have the names and shapes of the learned parameters."""
    gradients = flatten(dparams)
    learned_params = {name: value for name, value in flatten(params).items() if name not in layer.buffers}
    for name in gradients:
        if name not in learned_params:
            known_text = f"its parameters: {', '.join(learned_params)}" if learned_params else "it has no parameters"
            raise PellucidError(f"{subject} returns a gradient for {name!r}, which init does not return; {known_text}")
    for name, value in learned_params.items():
        if name not in gradients:
            raise PellucidError(
                f"{subject} returns no gradient for {name!r}, which would never be updated; return one (zeros if "
                "nothing depends on it), or name it in `buffers`"
            )
        if describe(gradients[name]) != describe(value):
            raise PellucidError(
                f"{subject} must return a gradient of {describe(value)} for {name!r}, not {describe(gradients[name])}"
            )


def _check_combinators(net: Layer, params: Params, dparams: Params, reached_paths: set[str]) -> None:
    """Raise PellucidError unless combinators return the gradients of all layers that a sweep reached, and no others.

    reached_paths: the paths of the layers whose backward was called.
    """
    gradients, known_params = flatten(dparams), flatten(params)
    unknown_paths = [path for path in gradients if path not in known_params]
    if unknown_paths:
        raise PellucidError(
            f"{unknown_paths[0]}: a combinator's sweep returns a gradient for it, but init returns no such parameter"
        )
    for path, layer in walk(net):
        if path not in reached_paths or isinstance(layer, Combinator):
            continue
        for name in sorted(known_params.keys() - gradients.keys() - {join(path, buffer) for buffer in layer.buffers}):
            if name.startswith(prefix_of(path)):
                raise PellucidError(f"{name}: a combinator's sweep calls its layer's backward but drops its gradient")
