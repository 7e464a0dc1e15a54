"""What a translation knows about one call: its arguments, and the shapes of the values that it reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pellucid.layers.base import Layer
from pellucid.opening.exported import Call, Multiple, Ref

LAST = 2**31  # from here on, the end of a slice is the end of the axis


class Unsupported(Exception):  # noqa: N818 - becomes one line of a PellucidError
    """An operator, or one of its options, for which there is no layer; the text says which."""


@dataclass(frozen=True)
class CallLayer:
    """The layer for a call: the values it reads, and the names in the export of its own parameters and buffers.

    sources: names of values in the export, or further layers whose outputs it reads. owned: by the layer's name for
    them, such as {"weight": "p_conv1_weight"}. batch: whether the layer reads the number of examples from the network's
    input, as its last input.
    """

    layer: Layer
    sources: "tuple[str | CallLayer, ...]"
    owned: Mapping[str, str] = field(default_factory=dict[str, str])
    batch: bool = False


@dataclass(frozen=True)
class Context:
    """One call, and all that is known before it.

    shapes: of every value. keys: of parameters and buffers in the state_dict. constants: values of folded calls and of
    buffers.
    """

    call: Call
    shapes: Mapping[str, tuple[Any, ...]]
    keys: Mapping[str, str]
    constants: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Any:
        """Return an argument by its name in the operator's schema."""
        return self.call.arguments[name]

    def source(self, name: str) -> str:
        """Return the name of the value that is an argument; Unsupported for a number."""
        value = self[name]
        if not isinstance(value, Ref):
            raise Unsupported(f"{name} is {value!r} instead of a tensor")
        return value.name

    @property
    def first(self) -> str:
        """The name of the value that is the first argument, whatever the argument's name."""
        return self.source(next(iter(self.call.arguments)))

    def given(self, *names: str) -> tuple[str, ...]:
        """Return the names of the values that are these arguments, without those that are None."""
        return tuple(self.source(name) for name in names if self[name] is not None)

    def shape(self, name: str = "self") -> tuple[Any, ...]:
        """Return the shape of the value that is an argument."""
        return self.shapes[self.source(name)]

    def axis(self, name: str = "dim", of: str = "self") -> int:
        """Return an axis counted from the first one."""
        return self.axes_of((self[name],), len(self.shape(of)))[0]

    def axes(self, name: str = "dim", of: str = "self") -> tuple[int, ...]:
        """Return several axes, counted from the first one; all axes for None and for an empty list."""
        count, given = len(self.shape(of)), self[name]
        given = (given,) if isinstance(given, int) else given
        return self.axes_of(given, count) if given else tuple(range(count))

    @staticmethod
    def axes_of(given: Any, count: int) -> tuple[int, ...]:
        """Return axes counted from the first one of `count`."""
        return tuple(axis % count for axis in given)

    def fixed(self, name: str) -> Any:
        """Return an argument; Unsupported if it depends on the number of examples."""
        value = self[name]
        if isinstance(value, Multiple) or (
            isinstance(value, tuple) and any(isinstance(part, Multiple) for part in value)
        ):
            raise Unsupported(f"{name} depends on the number of examples")
        return value

    def number(self, name: str) -> float:
        """Return an argument as a float; Unsupported for None and if it depends on the number of examples."""
        value = self.fixed(name)
        if value is None:
            raise Unsupported(f"{name}=None")
        return float(value)

    def only(self, **expected: Any) -> None:
        """Raise Unsupported unless the arguments have these values."""
        for name, value in expected.items():
            if self[name] != value:
                raise Unsupported(f"{name}={self[name]!r}")

    def owned(self, **names: str) -> dict[str, str] | None:
        """Return the layer's own parameters, if the module that makes the call has them under the layer's names.

        names: from the layer's name to the argument; arguments that are None are left out. None for other parameters.
        """
        found = {own: self[argument].name for own, argument in names.items() if isinstance(self[argument], Ref)}
        prefix = f"{self.call.module}." if self.call.module else ""
        return found if all(self.keys.get(value) == prefix + own for own, value in found.items()) else None


def pair(value: Any) -> tuple[int, int]:
    """Return one number for both axes, or one for each, as (height, width)."""
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])
