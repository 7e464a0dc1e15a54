"""Columns of a layer's Jacobian: the derivatives with respect to one of its values, as products of named factors."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.layers.base import Shape
from pellucid.nested import flatten
from pellucid.trace.passes import LayerCall
from pellucid.verify.probe import tensors


@dataclass(frozen=True)
class FactorColumn:
    """A factor in each of the k entries of a column: `values` (k,), in float64."""

    values: Tensor
    symbol: str  # the name of the factor
    role: str  # what the factor is, as in `Factor.role`
    # the input or parameter of the call ("x.0", "weight") that contains the values, at the flat indices `indices`; None
    # for computed values
    source: str | None = None
    indices: Tensor | None = None
    parts: "tuple[FactorColumn, ...]" = ()  # factors that add up to this one

    @property
    def magnitudes(self) -> Tensor:
        """The sum of the parts' absolute values, (k,), which bounds rounding errors under cancellation."""
        if not self.parts:
            return self.values.abs()
        return torch.stack([part.values.abs() for part in self.parts]).sum(0)


@dataclass(frozen=True)
class JacobianColumn:
    """∂y[o]/∂u for every output o that depends on the number u: the product of `factors`, 1 if there are none."""

    output_positions: Tensor  # flat indices (k,) into the output tensor with index `output_index`
    factors: tuple[FactorColumn, ...]
    words: str  # the rule for ∂C/∂u, as a sentence
    formula: str  # the same rule as LaTeX
    output_index: int = 0
    n_passes: int = 0  # the number of backward passes that computed the column


# Computes a column from (call, "x.0" or a parameter's name, flat index in that input or parameter).
Explainer = Callable[[LayerCall, str, int], JacobianColumn]


def input_index(argument: str) -> int | None:
    """Return the index of an input, 1 for "x.1"; None for a parameter's name."""
    return int(argument[2:]) if argument.startswith("x.") and argument[2:].isdigit() else None


def exact_sum(products: list[float]) -> float:
    """Return the exact sum, rounded once, or the floating-point sum if no exact one exists, as for inf and -inf."""
    try:
        return math.fsum(products)
    except (OverflowError, ValueError):
        return sum(products)


def argument_factors(call: LayerCall, argument: str, indices: Tensor, symbol: str, role: str) -> FactorColumn:
    """Return the elements of an input or a parameter of the call at flat indices as factors."""
    input_number = input_index(argument)
    tensor = call.params[argument] if input_number is None else call.inputs[input_number].tensor
    return FactorColumn(elements(tensor, indices), symbol, role, argument, indices)


def computed_factors(values: Tensor, symbol: str, role: str, *parts: FactorColumn) -> FactorColumn:
    """Return computed values as factors; parts: factors that add up to them."""
    return FactorColumn(values.double(), symbol, role, parts=parts)


def elements(tensor: Tensor, indices: Tensor) -> Tensor:
    """Return the elements at flat indices, in float64."""
    return tensor.flatten()[indices].double()


def flat_indices(shape: Shape, *axes: Tensor | int) -> Tensor:
    """Return the flat indices of all combinations of indices along the axes of `shape`, in row-major order."""
    flat = torch.zeros((), dtype=torch.int64)
    for size, axis in zip(shape, axes, strict=True):
        index = torch.as_tensor(axis, dtype=torch.int64)
        flat = (flat * size).unsqueeze(-1) + index if index.dim() else flat * size + index
    return flat.flatten()


def index_tensor(index: int) -> Tensor:
    """Return a flat index as a tensor of shape (1,)."""
    return torch.tensor([index])


MAX_PASSES = 20_000  # backward passes of `fallback` for one number, and for all links of a branching explanation


def fallback(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Return the column of any layer: the dependent outputs are found by bisection, their slopes by a one-hot dy.

    A layer's backward is linear in dy: if the gradient for a random dy over a group of outputs is 0, none of them
    depends on the number. Raises PellucidError for several output tensors, or if bisection needs too many passes.
    """
    if len(call.outputs) != 1:
        raise PellucidError(
            f"{call.name or 'the network'}: {call.title} has several outputs; explain one of its inputs"
        )
    n_outputs = call.y.numel()
    random_dy = torch.rand(n_outputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    n_passes = 0

    def slope_for(dy: Tensor) -> float:
        nonlocal n_passes
        n_passes += 1
        if n_passes > MAX_PASSES:
            raise PellucidError(
                f"{call.name or 'the network'}: more than {MAX_PASSES} outputs may depend on {argument}; explain a "
                "smaller layer"
            )
        return float(slopes(call, dy.view(call.y.shape))[argument].flatten()[index])

    output_slopes: list[tuple[int, float]] = []
    ranges = [(0, n_outputs)]
    while ranges:
        low, high = ranges.pop()
        dy = torch.zeros(n_outputs, dtype=call.y.dtype)
        dy[low:high] = random_dy[low:high].to(call.y.dtype) if high - low > 1 else 1.0
        slope = slope_for(dy)
        if slope != 0 and high - low == 1:
            output_slopes.append((low, slope))
        elif slope != 0:
            middle = (low + high) // 2
            ranges += [(low, middle), (middle, high)]
    output_slopes.sort()
    values = torch.tensor([slope for _, slope in output_slopes], dtype=torch.float64)
    return JacobianColumn(
        torch.tensor([output for output, _ in output_slopes], dtype=torch.int64),
        (computed_factors(values, "∂y/∂x" if input_index(argument) is not None else f"∂y/∂{argument}", "slope"),),
        f"the slope of each of {plural(len(output_slopes), 'output')}, computed by the backward pass of {call.title}",
        r"\frac{\partial C}{\partial u} = \sum_o \delta_o\, \frac{\partial y_o}{\partial u}",
        n_passes=n_passes,
    )


def slopes(call: LayerCall, dy: Any) -> dict[str, Tensor]:
    """Return the gradients of the layer's backward pass for `dy`, by "x.0", "x.1" ... and by parameter name."""
    dx, dparams = call.layer.backward(call.nested_params, call.cache, dy)
    inputs = {
        f"x.{input_number}": gradient for input_number, gradient in enumerate(tensors(dx)) if gradient is not None
    }
    return {**inputs, **flatten(dparams)}
