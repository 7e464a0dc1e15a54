"""What one number of a call moves: its column of the Jacobian, with every entry as a product of named factors."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.layers.base import Shape
from pellucid.trace.calls import Call


@dataclass(frozen=True)
class Factors:
    """One factor of every entry: k numbers in float64.

    symbol: what to call them all. source: the tensor of the call that they are read from ("x.0", "weight"), at the
    flat places `places`; None where they are worked out. parts: further factors that add up to these.
    """

    values: Tensor
    symbol: str
    role: str
    source: str | None = None
    places: Tensor | None = None
    parts: "tuple[Factors, ...]" = ()


@dataclass(frozen=True)
class Column:
    """∂y[o]/∂u for every output o that the number u moves: the product of `factors`, 1 without any.

    outputs: flat places in output number `output`, (k,). words and formula say the layer's rule for ∂C/∂u.
    """

    outputs: Tensor
    factors: tuple[Factors, ...]
    words: str
    formula: str
    output: int = 0


# (call, "x.0" or a parameter's name, flat place in that tensor) -> its column
Explainer = Callable[[Call, str, int], Column]


def part_of(what: str) -> int | None:
    """Return which input "x.1" is; None for a parameter's name."""
    return int(what[2:]) if what.startswith("x.") and what[2:].isdigit() else None


def exact_sum(products: list[float]) -> float:
    """Return the sum, rounded once; where there is none, as of inf and -inf, what floating point says."""
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
    """Return numbers that were worked out; where there are parts, their exact sums."""
    return Factors(values.double(), symbol, role, parts=parts)


def at(tensor: Tensor, places: Tensor) -> Tensor:
    """Return the numbers at flat places, in float64."""
    return tensor.flatten()[places].double()


def index_of(place: int, shape: Shape) -> tuple[int, ...]:
    """Return the place along each axis."""
    found = []
    for size in reversed(shape):
        place, rest = divmod(place, size)
        found.append(rest)
    return tuple(reversed(found))


def places(shape: Shape, *axes: Tensor | int) -> Tensor:
    """Return the flat places of all combinations of indices along the axes of `shape`, last axis fastest."""
    flat = torch.zeros((), dtype=torch.int64)
    for size, axis in zip(shape, axes, strict=True):
        index = torch.as_tensor(axis, dtype=torch.int64)
        flat = (flat * size).unsqueeze(-1) + index if index.dim() else flat * size + index
    return flat.flatten()


def one(place: int) -> Tensor:
    """Return one place."""
    return torch.tensor([place])


def map_bias(call: Call, place: int) -> Column:
    """Return what the bias of a map moves, (N, maps, H, W)."""
    batch, _, rows, columns = call.y.shape
    return Column(
        places(call.y.shape, torch.arange(batch), place, torch.arange(rows), torch.arange(columns)),
        (),
        f"a bias moves every position of its map one to one: the deltas of map {place}, summed over positions",
        r"\frac{\partial C}{\partial b_f} = \sum_{n,p,q} \delta_{nfpq}",
    )
