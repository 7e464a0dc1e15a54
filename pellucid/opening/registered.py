"""Registration of layers for operators that have none, each verified by PyTorch's operator and central differences."""
# Return values of user-defined classes are checked at run time, whatever their annotations promise.
# pyright: reportUnnecessaryIsInstance=false

import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Layer, Mode
from pellucid.opening.exported import Ref
from pellucid.opening.graph import TRANSLATIONS
from pellucid.opening.missing import REGISTERED
from pellucid.opening.values import CallLayer, Context, Unsupported
from pellucid.registry import register

SHAPE = (2, 3, 4)  # of the default samples
STEP = 1e-6  # of the central differences
TOLERANCE, SLOPE_TOLERANCE = 1e-10, 1e-6  # relative to the largest value


def register_op(name: str, layer: type[Layer], samples: Sequence[tuple[Any, ...]] = ()) -> None:
    """Register the layer for an operator of PyTorch: `pellucid.register_op("aten.sinh", Sinh)`.

    layer: a class of operators.TensorLayer, whose inputs are the operator's tensors in order, and whose fields have the
    names of its other arguments; arguments without a field must have their defaults. samples: arguments of the
    operator, by which the layer is verified; by default one tensor of float64 between 0.2 and 1.8 for each tensor, and
    one with negative numbers among them if the operator is finite for these.

    The outputs are compared with the operator's, and the gradients with central differences. Raises PellucidError for
    an unknown operator, one that has a layer, an invalid class, and a layer with other outputs or gradients.
    """
    library, _, short = name.partition(".")
    packet = getattr(getattr(torch.ops, library, None), short, None) if short.isidentifier() else None
    if packet is None:
        raise PellucidError(f"register_op: PyTorch has no operator {name!r}; give a name such as 'aten.sinh'")
    if short in TRANSLATIONS:
        raise PellucidError(f"register_op: {name} has a layer already")
    if not (inspect.isclass(layer) and issubclass(layer, Layer) and dataclasses.is_dataclass(layer)):
        raise PellucidError(f"register_op: {layer!r} is not a class of layers; see pellucid.operators.TensorLayer")
    arguments = getattr(packet, packet.overloads()[0])._schema.arguments
    if not samples:
        positive = _drawn(name, arguments)
        samples = [positive, *_drawn_below_0(packet, positive)]
    for sample in samples:
        _verify(name, packet, layer, arguments, sample)
    register(layer)
    REGISTERED[short] = _translation(layer)


def _translation(layer: type[Layer]) -> Callable[[Context], CallLayer]:
    """Return the translation of a call to the layer."""

    def translate(c: Context) -> CallLayer:
        given = c.call.arguments
        names = tuple(value.name for value in given.values() if isinstance(value, Ref))
        defaults = {one.name: one.default_value for one in c.call.target._schema.arguments}
        others = {key: value for key, value in given.items() if not isinstance(value, Ref)}
        fields = {field.name for field in dataclasses.fields(layer)}
        for key, value in others.items():
            if key not in fields and value != defaults[key]:
                raise Unsupported(f"{key}={value!r}")
        return CallLayer(layer(**{key: c.fixed(key) for key in others if key in fields}), names)

    return translate


def _drawn(name: str, arguments: Sequence[Any]) -> tuple[Tensor, ...]:
    """Return a tensor for each argument that is one; PellucidError for other arguments without a default."""
    needed = [one for one in arguments if not one.has_default_value()]
    if any(str(one.type) != "Tensor" for one in needed):
        other = next(one.name for one in needed if str(one.type) != "Tensor")
        raise PellucidError(f"register_op: {name} needs the argument {other!r}; give samples=[(x, ...)]")
    rng = torch.Generator().manual_seed(0)
    return tuple(torch.rand(SHAPE, generator=rng, dtype=torch.float64) * 1.6 + 0.2 for _ in needed)


def _drawn_below_0(packet: Any, sample: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """Return arguments of which every second entry is below 0; none if the operator is not finite for them."""
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(math.prod(SHAPE) // 2).view(SHAPE)
    other = tuple(x * signs for x in sample)
    return [other] if bool(torch.isfinite(packet(*other)).all()) else []


def _verify(name: str, packet: Any, layer: type[Layer], arguments: Sequence[Any], sample: tuple[Any, ...]) -> None:
    """Raise PellucidError unless the layer's output and gradients are right for these arguments."""
    fields = {field.name for field in dataclasses.fields(layer)}
    named = dict(zip((one.name for one in arguments), sample, strict=False))
    made = layer(**{key: value for key, value in named.items() if key in fields})
    xs = tuple(value for value in sample if isinstance(value, Tensor))
    with torch.no_grad():
        expected = packet(*sample)
        y, cache = made.forward({}, xs[0] if len(xs) == 1 else xs, Mode())
        _compare(f"{name}: the output of {layer.__name__}", y, expected, TOLERANCE)
        dy = torch.rand(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype) + 0.5
        dx, _ = made.backward({}, cache, dy)
        found = dx if isinstance(dx, tuple) else (dx,)
        for index, (x, gradient) in enumerate(zip(xs, found, strict=True)):
            if index not in made.constants and x.is_floating_point():
                slopes = _slopes(lambda: float((packet(*sample) * dy).sum()), x)
                where = f"{name}: the gradient of {layer.__name__} with respect to input {index}"
                _compare(where, gradient, slopes, SLOPE_TOLERANCE)


def _slopes(value: Callable[[], float], x: Tensor) -> Tensor:
    """Return the central differences of a number with respect to the entries of x, which changes meanwhile."""
    flat, slopes = x.view(-1), torch.zeros_like(x)
    for index in range(flat.numel()):
        before = flat[index].item()
        flat[index] = before + STEP
        above = value()
        flat[index] = before - STEP
        slopes.view(-1)[index] = (above - value()) / (2 * STEP)
        flat[index] = before
    return slopes


def _compare(what: str, found: Any, expected: Tensor, tolerance: float) -> None:
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise PellucidError(f"register_op: {what} is {shape} instead of a tensor of shape {tuple(expected.shape)}")
    gap, largest = float((found - expected).abs().max()), max(float(expected.abs().max()), 1e-6)
    if not gap <= tolerance * largest:
        raise PellucidError(f"register_op: {what} differs by {gap:.2g}, above {tolerance * largest:.2g}")
