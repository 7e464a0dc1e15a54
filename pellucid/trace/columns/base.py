"""Columns of a call's Jacobian: the derivatives of its outputs by one number, as products of named factors."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Shape
from pellucid.probe import tensors
from pellucid.trace.passes import Call
from pellucid.tree import flatten


@dataclass(frozen=True)
class Factors:
    """One factor of each of a column's k entries, in float64.

    symbol: their common name. source: the tensor of the call from which they are read ("x.0", "weight"), at the flat
    indices `places`; None for computed numbers. parts: factors whose sum these are.
    """

    values: Tensor
    symbol: str
    role: str
    source: str | None = None
    places: Tensor | None = None
    parts: "tuple[Factors, ...]" = ()

    @property
    def magnitudes(self) -> Tensor:
        """The sums of the absolute values of their parts, which bound rounding errors under cancellation."""
        if not self.parts:
            return self.values.abs()
        return torch.stack([part.values.abs() for part in self.parts]).sum(0)


@dataclass(frozen=True)
class Column:
    """∂y[o]/∂u for every output o that depends on the number u: the product of `factors`, or 1 without factors.

    outputs: flat indices into output tensor number `output`, (k,). words, formula: the layer's rule for ∂C/∂u.
    """

    outputs: Tensor
    factors: tuple[Factors, ...]
    words: str
    formula: str
    output: int = 0


# (call, "x.0" or a parameter's name, flat index in that tensor) -> its column
Explainer = Callable[[Call, str, int], Column]


def part_of(what: str) -> int | None:
    """Return the index of an input, 1 for "x.1"; None for a parameter's name."""
    return int(what[2:]) if what.startswith("x.") and what[2:].isdigit() else None


def exact_sum(products: list[float]) -> float:
    """Return the sum, rounded once; the floating-point sum if no exact sum exists, as for inf and -inf."""
    try:
        return math.fsum(products)
    except (OverflowError, ValueError):
        return sum(products)


def read(call: Call, what: str, places: Tensor, symbol: str, role: str) -> Factors:
    """Return numbers of an input or a parameter of the call as factors."""
    part = part_of(what)
    tensor = call.params[what] if part is None else call.inputs[part].tensor
    return Factors(at(tensor, places), symbol, role, what, places)


def worked(values: Tensor, symbol: str, role: str, *parts: Factors) -> Factors:
    """Return computed numbers as factors; parts: factors that add up to them."""
    return Factors(values.double(), symbol, role, parts=parts)


def at(tensor: Tensor, places: Tensor) -> Tensor:
    """Return the elements at flat indices, in float64."""
    return tensor.flatten()[places].double()


def places(shape: Shape, *axes: Tensor | int) -> Tensor:
    """Return the flat indices of all combinations of indices along the axes of `shape`, last axis fastest."""
    flat = torch.zeros((), dtype=torch.int64)
    for size, axis in zip(shape, axes, strict=True):
        index = torch.as_tensor(axis, dtype=torch.int64)
        flat = (flat * size).unsqueeze(-1) + index if index.dim() else flat * size + index
    return flat.flatten()


def one(place: int) -> Tensor:
    """Return one flat index as a tensor."""
    return torch.tensor([place])


MAX_PASSES = 20_000  # backward passes for one number


def fallback(call: Call, what: str, place: int) -> Column:
    """Return the column of any layer: find the dependent outputs by bisection, and their slopes from one-hot deltas.

    A layer's backward is linear in dy: if the gradient for random deltas over a group of outputs is 0, none of them
    depends on the number. Raises PellucidError for several output tensors, or for too many dependent outputs.
    """
    if len(call.outputs) != 1:
        raise PellucidError(
            f"{call.name or 'the network'}: {call.title} has several outputs; explain one of its inputs"
        )
    count = call.y.numel()
    draw = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    passes = 0

    def slope_for(dy: Tensor) -> float:
        nonlocal passes
        passes += 1
        if passes > MAX_PASSES:
            raise PellucidError(
                f"{call.name or 'the network'}: more than {MAX_PASSES} outputs may depend on {what}; explain a smaller "
                "layer"
            )
        return float(slopes(call, dy.view(call.y.shape))[what].flatten()[place])

    found: list[tuple[int, float]] = []
    groups = [(0, count)]
    while groups:
        low, high = groups.pop()
        dy = torch.zeros(count, dtype=call.y.dtype)
        dy[low:high] = draw[low:high].to(call.y.dtype) if high - low > 1 else 1.0
        slope = slope_for(dy)
        if slope != 0 and high - low == 1:
            found.append((low, slope))
        elif slope != 0:
            middle = (low + high) // 2
            groups += [(low, middle), (middle, high)]
    found.sort()
    values = torch.tensor([slope for _, slope in found], dtype=torch.float64)
    return Column(
        torch.tensor([output for output, _ in found], dtype=torch.int64),
        (worked(values, "∂y/∂x" if part_of(what) is not None else f"∂y/∂{what}", "slope"),),
        f"the backward pass of {call.title} itself gives the slope of each of {len(found)} outputs",
        r"\frac{\partial C}{\partial u} = \sum_o \delta_o\, \frac{\partial y_o}{\partial u}",
    )


def slopes(call: Call, dy: Any) -> dict[str, Tensor]:
    """Return the gradients that the layer's backward gives for `dy`: "x.0", "x.1" ... and parameters by name."""
    dx, dparams = call.layer.backward(call.tree, call.cache, dy)
    parts = {f"x.{part}": one for part, one in enumerate(tensors(dx)) if one is not None}
    return {**parts, **flatten(dparams)}
