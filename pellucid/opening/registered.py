"""Registration of layers for operators that have none, verified with PyTorch's operator and central differences."""
# Return values of user-defined classes are checked at run time, since annotations are not enforced.
# pyright: reportUnnecessaryIsInstance=false

import dataclasses
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.extend.registry import register
from pellucid.layers.base import Layer, Mode
from pellucid.opening.exported import Ref
from pellucid.opening.graph import TRANSLATIONS
from pellucid.opening.missing import REGISTERED
from pellucid.opening.values import CallLayer, Context, Unsupported

SAMPLE_SHAPE = (2, 3, 4)  # shape of the default samples
DIFFERENCE_STEP = 1e-6  # step of the central differences
TOLERANCE, GRADIENT_TOLERANCE = 1e-10, 1e-6  # differences relative to the largest value


def register_op(name: str, layer: type[Layer], samples: Sequence[tuple[Any, ...]] = ()) -> None:
    """Register the layer for an operator of PyTorch: `pellucid.register_op("aten.sinh", Sinh)`.

    layer: a subclass of operators.TensorLayer, whose inputs are the operator's tensors in order, and whose fields have
    the names of the operator's other arguments; arguments without a field must have their defaults. samples: tuples of
    arguments of the operator, with which the layer is verified. The default is a sample of float64 tensors between 0.2
    and 1.8, and a sample with every second sign changed if the operator's output is finite for it.

    The outputs are compared with the operator's, and the gradients with central differences. Raises PellucidError for
    an unknown operator, an operator that has a layer, an invalid class, and a layer with other outputs or gradients.
    """
    library, _, op_name = name.partition(".")
    packet = getattr(getattr(torch.ops, library, None), op_name, None) if op_name.isidentifier() else None
    if packet is None:
        raise PellucidError(f"register_op: PyTorch has no operator {name!r}; give a name such as 'aten.sinh'")
    if op_name in TRANSLATIONS:
        raise PellucidError(f"register_op: {name} has a layer already")
    if not (inspect.isclass(layer) and issubclass(layer, Layer) and dataclasses.is_dataclass(layer)):
        raise PellucidError(f"register_op: {layer!r} is not a class of layers; see pellucid.operators.TensorLayer")
    arguments = getattr(packet, packet.overloads()[0])._schema.arguments
    if not samples:
        positive = _positive_sample(name, arguments)
        samples = [positive, *_signed_samples(packet, positive)]
    for sample in samples:
        _check_sample(name, packet, layer, arguments, sample)
    register(layer)
    REGISTERED[op_name] = _translation_to(layer)


def _translation_to(layer: type[Layer]) -> Callable[[Context], CallLayer]:
    def translate(c: Context) -> CallLayer:
        arguments = c.call.arguments
        tensor_names = tuple(value.name for value in arguments.values() if isinstance(value, Ref))
        defaults = {argument.name: argument.default_value for argument in c.call.target._schema.arguments}
        settings = {key: value for key, value in arguments.items() if not isinstance(value, Ref)}
        fields = {field.name for field in dataclasses.fields(layer)}
        for key, value in settings.items():
            if key not in fields and value != defaults[key]:
                raise Unsupported(f"{key}={value!r}")
        return CallLayer(layer(**{key: c.fixed_value(key) for key in settings if key in fields}), tensor_names)

    return translate


def _positive_sample(name: str, arguments: Sequence[Any]) -> tuple[Tensor, ...]:
    """Return a random tensor for each required argument; raises PellucidError for one that is not a tensor."""
    required = [argument for argument in arguments if not argument.has_default_value()]
    if any(str(argument.type) != "Tensor" for argument in required):
        unsupported = next(argument.name for argument in required if str(argument.type) != "Tensor")
        raise PellucidError(f"register_op: {name} needs the argument {unsupported!r}; give samples=[(x, ...)]")
    rng = torch.Generator().manual_seed(0)
    return tuple(torch.rand(SAMPLE_SHAPE, generator=rng, dtype=torch.float64) * 1.6 + 0.2 for _ in required)


def _signed_samples(packet: Any, sample: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """Return a sample with every second entry negative; an empty list if the output for it is not finite."""
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(math.prod(SAMPLE_SHAPE) // 2).view(SAMPLE_SHAPE)
    signed = tuple(x * signs for x in sample)
    return [signed] if bool(torch.isfinite(packet(*signed)).all()) else []


def _check_sample(
    name: str, packet: Any, layer: type[Layer], arguments: Sequence[Any], sample: tuple[Any, ...]
) -> None:
    """Raise PellucidError unless the layer's output and gradients are correct for these arguments."""
    fields = {field.name for field in dataclasses.fields(layer)}
    arguments_by_name = dict(zip((argument.name for argument in arguments), sample, strict=False))
    instance = layer(**{key: value for key, value in arguments_by_name.items() if key in fields})
    xs = tuple(value for value in sample if isinstance(value, Tensor))
    with torch.no_grad():
        expected = packet(*sample)
        y, cache = instance.forward({}, xs[0] if len(xs) == 1 else xs, Mode())
        _check_close(f"{name}: the output of {layer.__name__}", y, expected, TOLERANCE)
        dy = torch.rand(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype) + 0.5
        dx, _ = instance.backward({}, cache, dy)
        dxs = dx if isinstance(dx, tuple) else (dx,)
        for index, (x, gradient) in enumerate(zip(xs, dxs, strict=True)):
            if index not in instance.constants and x.is_floating_point():
                differences = _central_differences(lambda: float((packet(*sample) * dy).sum()), x)
                label = f"{name}: the gradient of {layer.__name__} with respect to input {index}"
                _check_close(label, gradient, differences, GRADIENT_TOLERANCE)


def _central_differences(function: Callable[[], float], x: Tensor) -> Tensor:
    """Return the central differences of `function` for the entries of x, which are changed in turn and restored."""
    flat = x.view(-1)
    differences = torch.zeros_like(x)
    for index in range(flat.numel()):
        original = flat[index].item()
        flat[index] = original + DIFFERENCE_STEP
        upper = function()
        flat[index] = original - DIFFERENCE_STEP
        differences.view(-1)[index] = (upper - function()) / (2 * DIFFERENCE_STEP)
        flat[index] = original
    return differences


def _check_close(label: str, value: Any, expected: Tensor, tolerance: float) -> None:
    if not isinstance(value, Tensor) or value.shape != expected.shape:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise PellucidError(f"register_op: {label} is {shape} instead of a tensor of shape {tuple(expected.shape)}")
    difference = float((value - expected).abs().max())
    largest = max(float(expected.abs().max()), 1e-6)  # values of 0 everywhere need an absolute tolerance
    if not difference <= tolerance * largest:
        raise PellucidError(f"register_op: {label} differs by {difference:.2g}, above {tolerance * largest:.2g}")
