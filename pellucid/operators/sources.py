"""Parameters, constants and masks as nodes of a graph: values that other operators read as inputs."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_range, check_whole
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.int64, torch.bool)}


class SourceCache(NamedTuple):
    """The empty cache of a layer without inputs."""


@dataclass(frozen=True)
class Learned(Layer):
    """A node without inputs whose output is a learned parameter, such as a class token or a position embedding.

    The parameter's name is "", so its path is the node's path, which is a key of the state_dict in the graph of an
    opened network. y has the shape `shape`. Initial values are normally distributed, with the mean `mean` and the
    standard deviation `std`.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.LEARNS

    shape: tuple[int, ...]
    mean: float = 0.0
    std: float = 0.0

    def __post_init__(self) -> None:
        """Raise PellucidError for a negative standard deviation."""
        check_range(self, std=self.std)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return the initial value, and the shape without the first axis."""
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
    """A node without inputs whose output is a constant without gradient, such as indices or an attention mask.

    The constant is a buffer whose name is "", as in Learned; its initial values are 0. dtype: "float32" means the
    precision of the network.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES
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
    """A node without inputs whose output is the attention mask of the windows of a cyclically shifted grid of tokens.

    Roll shifts the grid of `side` x `side` tokens by `shift` to the left and upwards. y is (1, windows, 1, T, T) for
    T = window². It is True for two tokens of a window if the shift moved both or neither of them around an edge, in
    each direction. The mask is a buffer, as in Fixed.
    Source: Liu et al. 2021, section 3.2 and figure 4.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES
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
        is_wrapped = torch.arange(self.side) >= self.side - self.shift  # whether a row or column is wrapped
        n_windows = self.side // self.window
        regions = (2 * is_wrapped[:, None] + is_wrapped).view(n_windows, self.window, n_windows, self.window)
        labels = regions.transpose(1, 2).reshape(1, n_windows**2, 1, self.window**2)  # (1, windows, 1, T)
        mask = labels[..., None] == labels[..., None, :]
        return {"": mask}, self.shape[1:]

    def forward(self, params: Params, x: tuple[()], mode: Mode) -> tuple[Tensor, SourceCache]:
        """Return the mask."""
        return params[""], SourceCache()

    def backward(self, params: Params, cache: SourceCache, dy: Any) -> tuple[tuple[()], Params]:
        """Return no gradients."""
        return (), {}
