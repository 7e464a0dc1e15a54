"""Parameters and constants as nodes of a graph: values that other operators read as inputs."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.settings.checks import check_range

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
