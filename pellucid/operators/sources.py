"""Parameters, constants and masks as nodes of a graph: values that other operators read as inputs."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.settings.checks import check, check_range, check_whole

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.int64, torch.bool)}


class SourceCache(NamedTuple):
    """The empty cache of a layer without inputs."""


@dataclass(frozen=True)
class Learned(Layer):
    """A learned parameter as a value, such as a class token or a position embedding; it has no input.

    The parameter has no name of its own, so its path is that of the node: in the graph of an opened network, the key of
    the state_dict. y has the shape `shape`. New values are normally distributed, with the mean `mean` and the standard
    deviation `std`.
    """

    traits: ClassVar[Trait] = Trait.WHOLE | Trait.LEARNS

    shape: tuple[int, ...]
    mean: float = 0.0
    std: float = 0.0

    def __post_init__(self) -> None:
        """Raise PellucidError for a negative standard deviation."""
        check_range(self, std=self.std)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return a new value, and the shape without the first axis."""
        value = torch.full(self.shape, float(self.mean))
        if self.std and value.device.type != "meta":
            value += self.std * torch.randn(self.shape, generator=rng)
        return {"": value}, self.shape[1:]

    def forward(self, params: Params, x: tuple[()], mode: Mode) -> tuple[Tensor, SourceCache]:
        """Return the parameter."""
        return params[""], SourceCache()

    def backward(self, params: Params, cache: SourceCache, dy: Tensor) -> tuple[tuple[()], Params]:
        """Return dy as the gradient of the parameter."""
        return (), {"": dy}


@dataclass(frozen=True)
class Fixed(Layer):
    """A constant as a value, such as a table of indices or an attention mask; it has no input and no gradient.

    It is a buffer without a name of its own, as for Learned; new ones are zeros. dtype: "float32" is the precision of
    the network, whichever that is.
    """

    traits: ClassVar[Trait] = Trait.WHOLE
    buffers: ClassVar[tuple[str, ...]] = ("",)

    shape: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown dtype."""
        if self.dtype not in DTYPES:
            raise PellucidError(f"Fixed: dtype {self.dtype!r} must be one of {', '.join(DTYPES)}")

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return zeros, and the shape without the first axis."""
        return {"": torch.zeros(self.shape, dtype=DTYPES[self.dtype])}, self.shape[1:]

    def forward(self, params: Params, x: tuple[()], mode: Mode) -> tuple[Tensor, SourceCache]:
        """Return the constant."""
        return params[""], SourceCache()

    def backward(self, params: Params, cache: SourceCache, dy: Any) -> tuple[tuple[()], Params]:
        """Return no gradients."""
        return (), {}


@dataclass(frozen=True)
class ShiftMask(Layer):
    """A mask of the tokens of a window that may attend to each other after a cyclic shift; it has no input.

    y is (1, windows, 1, T, T), True for two tokens of a window that were neighbours before Roll moved the grid of
    `side` x `side` tokens by `shift` to the left and upwards; T = window². It is a buffer, as of Fixed.
    Source: Liu et al. 2021, section 3.2 and figure 4.
    """

    traits: ClassVar[Trait] = Trait.WHOLE | Trait.MOVES
    buffers: ClassVar[tuple[str, ...]] = ("",)

    side: int
    window: int
    shift: int

    def __post_init__(self) -> None:
        """Raise PellucidError for a window that does not divide the grid, or a shift of a window or more."""
        check_whole(self, side=self.side, window=self.window, shift=self.shift)
        check(self.side % self.window == 0, "ShiftMask: window", f"a divisor of side={self.side}", self.window)
        check(self.shift < self.window, "ShiftMask: shift", f"less than window={self.window}", self.shift)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the mask."""
        return (1, (self.side // self.window) ** 2, 1, self.window**2, self.window**2)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return the mask, and its shape without the first axis."""
        wrapped = torch.arange(self.side) >= self.side - self.shift  # rows, or columns, that came from the other end
        count = self.side // self.window
        regions = (2 * wrapped[:, None] + wrapped).view(count, self.window, count, self.window)
        labels = regions.transpose(1, 2).reshape(1, count**2, 1, self.window**2)  # (1, windows, 1, T)
        mask = labels[..., None] == labels[..., None, :]
        return {"": mask}, self.shape[1:]

    def forward(self, params: Params, x: tuple[()], mode: Mode) -> tuple[Tensor, SourceCache]:
        """Return the mask."""
        return params[""], SourceCache()

    def backward(self, params: Params, cache: SourceCache, dy: Any) -> tuple[tuple[()], Params]:
        """Return no gradients."""
        return (), {}
