"""Elementwise functions of one tensor, such as logarithm, absolute value, sine, softplus and PReLU."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_known
from pellucid.layers.base import Mode, Params, Trait, expanded_zeros
from pellucid.operators.base import TensorLayer, unbroadcast
from pellucid.operators.moves import InputCache, InputsCache


class InputOutputCache(NamedTuple):
    """Cache of a layer whose derivative is computed from its input and its output."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Logarithm(TensorLayer):
    """Compute y = log(x)."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.ELEMENTWISE

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute y = log(x)."""
        return x.log(), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy / x."""
        return dy / cache.x, {}


@dataclass(frozen=True)
class Absolute(TensorLayer):
    """Compute y = |x|; the gradient at 0 is 0."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.ELEMENTWISE

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute y = |x|."""
        return x.abs(), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = sign(x) dy."""
        return dy * cache.x.sign(), {}


@dataclass(frozen=True)
class SineFunction(TensorLayer):
    """Compute y = sin(x)."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.ELEMENTWISE

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute y = sin(x)."""
        return x.sin(), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = cos(x) dy."""
        return dy * cache.x.cos(), {}


@dataclass(frozen=True)
class CosineFunction(TensorLayer):
    """Compute y = cos(x)."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.ELEMENTWISE

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute y = cos(x)."""
        return x.cos(), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = -sin(x) dy."""
        return -dy * cache.x.sin(), {}


@dataclass(frozen=True)
class ErrorFunction(TensorLayer):
    """Compute y = erf(x) = 2 / sqrt(π) ∫ exp(-t²) dt from 0 to x."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.ELEMENTWISE

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute y = erf(x)."""
        return x.erf(), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = 2 / sqrt(π) exp(-x²) dy."""
        return dy * (2 / math.sqrt(math.pi)) * (-cache.x * cache.x).exp(), {}


@dataclass(frozen=True)
class SoftPlus(TensorLayer):
    """Compute y = log(1 + exp(β x)) / β, or y = x where β x is above `threshold`. Source: Dugas et al. 2001."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.ELEMENTWISE

    beta: float = 1.0
    threshold: float = 20.0

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute y = log(1 + exp(β x)) / β, or y = x above the threshold."""
        return F.softplus(x, self.beta, self.threshold), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy / (1 + exp(-β x)), or dx = dy above the threshold."""
        scaled = cache.x * self.beta
        return torch.where(scaled > self.threshold, dy, dy * torch.sigmoid(scaled)), {}


@dataclass(frozen=True)
class ParametricReLU(TensorLayer):
    """Multiply negative values by slopes a, a second input (1,) or (C,): y = max(x, 0) + a min(x, 0).

    Source: He et al. 2015, equation 1 (PReLU).
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute y = max(x, 0) + a min(x, 0)."""
        return F.prelu(*x), InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, Tensor], Params]:
        """Compute dx = dy for x > 0, else a dy, and da = the sum of min(x, 0) dy."""
        x, a = cache.xs
        axis = 1 if x.dim() > 1 else 0
        shape = [-1 if i == axis else 1 for i in range(x.dim())] if a.numel() > 1 else [1] * x.dim()
        slopes = a.reshape(shape)
        da = (dy * x.clamp(max=0)).sum_to_size(slopes.shape).reshape(a.shape)
        return (torch.where(x > 0, dy, dy * slopes), da), {}


@dataclass(frozen=True)
class KeepOutside(TensorLayer):
    """Keep values outside [low, high], and replace those inside by `value`, as threshold and hardshrink of PyTorch.

    low: None for no lower limit.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.ELEMENTWISE

    low: float | None
    high: float
    value: float = 0.0

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Compute y = value where low <= x <= high, else y = x."""
        return torch.where(self._is_inside(x), self.value, x), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = 0 where low <= x <= high, else dx = dy."""
        return torch.where(self._is_inside(cache.x), 0.0, dy), {}

    def _is_inside(self, x: Tensor) -> Tensor:
        is_below = x <= self.high
        return is_below if self.low is None else is_below & (x >= self.low)


@dataclass(frozen=True)
class Detach(TensorLayer):
    """Return x as a constant: nothing before it receives a gradient through it, as through torch.Tensor.detach."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.ELEMENTWISE

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Return y = x."""
        return x, InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dx = 0."""
        return torch.zeros_like(cache.x), {}


# Functions of numbers, and their derivatives as functions of x and y, by name.
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "acos": (torch.acos, lambda x, y: -torch.rsqrt(1 - x * x)),
    "asin": (torch.asin, lambda x, y: torch.rsqrt(1 - x * x)),
    "atan": (torch.atan, lambda x, y: 1 / (1 + x * x)),
    "asinh": (torch.asinh, lambda x, y: torch.rsqrt(1 + x * x)),
    "atanh": (torch.atanh, lambda x, y: 1 / (1 - x * x)),
    "tan": (torch.tan, lambda x, y: 1 + y * y),
    "exp2": (torch.exp2, lambda x, y: math.log(2) * y),
    "expm1": (torch.expm1, lambda x, y: y + 1),
    "log1p": (torch.log1p, lambda x, y: 1 / (1 + x)),
    "log2": (torch.log2, lambda x, y: 1 / (math.log(2) * x)),
    "log10": (torch.log10, lambda x, y: 1 / (math.log(10) * x)),
    "erfc": (torch.erfc, lambda x, y: -2 / math.sqrt(math.pi) * (-x * x).exp()),
    "lgamma": (torch.lgamma, lambda x, y: torch.digamma(x)),
}


@dataclass(frozen=True)
class NumberFunction(TensorLayer):
    """Compute a function of each number, such as acos or log1p: a name in FUNCTIONS."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.ELEMENTWISE

    function: str

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown function."""
        check_known("NumberFunction: function", self.function, FUNCTIONS)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputOutputCache]:
        """Compute y = f(x)."""
        function, _ = FUNCTIONS[self.function]
        y = function(x)
        return y, InputOutputCache(x, y)

    def backward(self, params: Params, cache: InputOutputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = f'(x) dy."""
        _, derivative = FUNCTIONS[self.function]
        return dy * derivative(cache.x, cache.y), {}


@dataclass(frozen=True)
class AngleOfPoint(TensorLayer):
    """Compute the angle of the point with the coordinates (second input, first input), from -π to π: atan2."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.MULTIPLE_INPUTS

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute atan2(a, b)."""
        return torch.atan2(*x), InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, Tensor], Params]:
        """Compute da = dy b / (a² + b²) and db = -dy a / (a² + b²), both 0 at the origin."""
        a, b = cache.xs
        squares = a * a + b * b
        scaled = torch.where(squares == 0, 0, dy / squares)
        return (unbroadcast(scaled * b, a), unbroadcast(-scaled * a, b)), {}


# Functions whose derivative is 0 wherever they have one, by name; other values become numbers by a dtype's name.
STEPS: dict[str, Callable[..., Tensor]] = {
    **{name: getattr(torch, name) for name in ("sign", "floor", "ceil", "round", "trunc", "floor_divide")},
    **{name: getattr(torch, name) for name in ("eq", "gt", "ge", "lt", "le")},
    **{name: getattr(torch, name) for name in ("logical_not", "logical_and", "logical_or", "logical_xor")},
    **{name: getattr(torch, name) for name in ("isnan", "isposinf", "isneginf")},
    "float32": Tensor.float,
    "float64": Tensor.double,
    "int64": Tensor.long,
    "int32": Tensor.int,
}


@dataclass(frozen=True)
class StepFunction(TensorLayer):
    """Compute a function in steps: a sign, a rounding, or a comparison with a number or a second input, a mask.

    function: a name in STEPS. number: the second operand of a comparison, None for another tensor.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES

    function: str
    number: float | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown function."""
        check_known("StepFunction: function", self.function, STEPS)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Tensor, InputsCache]:
        """Compute the function."""
        inputs = x if isinstance(x, tuple) else (x,)
        numbers = () if self.number is None else (self.number,)
        return STEPS[self.function](*inputs, *numbers), InputsCache(tuple(map(expanded_zeros, inputs)))

    def backward(self, params: Params, cache: InputsCache, dy: Tensor | None) -> tuple[Any, Params]:
        """Return dx = 0, None for masks."""
        dxs = tuple(torch.zeros_like(x) if x.is_floating_point() else None for x in cache.xs)
        return dxs[0] if len(dxs) == 1 else dxs, {}
