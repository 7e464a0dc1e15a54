"""Types for the translation of an operator call to a layer: the call with its arguments and shapes, and the layer."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pellucid.layers.base import Layer
from pellucid.opening.exported import Call, Multiple, Ref

END_OF_AXIS = 2**31  # a slice with this stop, or a larger one, ends at the end of the axis


class Unsupported(Exception):  # noqa: N818 - becomes one line of a PellucidError
    """Raised for an operator, or an option of it, that no layer implements; the message names the option."""


@dataclass(frozen=True)
class CallLayer:
    """The layer for a call, with its inputs and parameters."""

    layer: Layer
    # the layer's inputs: names of values in the export, or other layers whose outputs it reads
    sources: "tuple[str | CallLayer, ...]"
    # the names in the export of the layer's own parameters and buffers, by the layer's names for them, such as
    # {"weight": "p_conv1_weight"}
    own_params: Mapping[str, str] = field(default_factory=dict[str, str])
    # whether the network's input is an additional last input, from which the layer reads the number of examples
    with_network_input: bool = False


@dataclass(frozen=True)
class Context:
    """One call, `c` in the translations, with the properties of the values before it, by their names in the export."""

    call: Call
    shapes: Mapping[str, tuple[Any, ...]]  # the shapes of all values
    keys: Mapping[str, str]  # the keys of parameters and buffers in the state_dict
    constants: dict[str, Tensor]  # the values of folded calls and of buffers
    masks: Collection[str] = ()  # the values that are booleans
    integers: Collection[str] = ()  # the values that are whole numbers
    varying: Mapping[str, tuple[Any, Any]] = field(default_factory=dict[str, tuple[Any, Any]])
    # constants that depend on the number of examples, for the two numbers FOLDING_COUNTS
    attention_dropout: float = 0.0  # rate at which the calling module drops attention weights in training mode

    def __getitem__(self, name: str) -> Any:
        """Return an argument by its name in the operator's schema."""
        return self.call.arguments[name]

    def source(self, name: str) -> str:
        """Return the name of the value that is an argument; raises Unsupported for a number."""
        value = self[name]
        if not isinstance(value, Ref):
            raise Unsupported(f"{name} is {value!r} instead of a tensor")
        return value.name

    def constant(self, name: str, value: Tensor) -> str:
        """Add a constant of the call, and return its name."""
        full_name = f"{self.call.name}.{name}"
        self.constants[full_name] = value
        return full_name

    @property
    def first_source(self) -> str:
        """The name of the value that is the first argument, for any name of the argument."""
        return self.source(next(iter(self.call.arguments)))

    def sources(self, *names: str) -> tuple[str, ...]:
        """Return the names of the values that are these arguments, without those that are None."""
        return tuple(self.source(name) for name in names if self[name] is not None)

    def shape(self, name: str = "self") -> tuple[Any, ...]:
        """Return the shape of the value that is an argument."""
        return self.shapes[self.source(name)]

    def axis(self, name: str = "dim", of: str = "self") -> int:
        """Return an argument that is an axis as a nonnegative index, for the axes of the value `of`."""
        return self.axes_of((self[name],), len(self.shape(of)))[0]

    def axes(self, name: str = "dim", of: str = "self") -> tuple[int, ...]:
        """Return an argument that is a list of axes as nonnegative indices; all axes for None and an empty list."""
        rank = len(self.shape(of))
        dims = self[name]
        dims = (dims,) if isinstance(dims, int) else dims
        return self.axes_of(dims, rank) if dims else tuple(range(rank))

    @staticmethod
    def axes_of(dims: Any, rank: int) -> tuple[int, ...]:
        """Return axes as nonnegative indices, for `rank` axes."""
        return tuple(axis % rank for axis in dims)

    def fixed_value(self, name: str) -> Any:
        """Return an argument; raises Unsupported if it depends on the number of examples."""
        value = self[name]
        if isinstance(value, Multiple) or (
            isinstance(value, tuple) and any(isinstance(size, Multiple) for size in value)
        ):
            raise Unsupported(f"{name} depends on the number of examples")
        return value

    def number(self, name: str) -> float:
        """Return an argument as a float; raises Unsupported for None and if it depends on the number of examples."""
        value = self.fixed_value(name)
        if value is None:
            raise Unsupported(f"{name}=None")
        return float(value)

    def check_values(self, **expected: Any) -> None:
        """Raise Unsupported unless the arguments have these values."""
        for name, value in expected.items():
            if self[name] != value:
                raise Unsupported(f"{name}={self[name]!r}")

    def own_params(self, **names: str) -> dict[str, str] | None:
        """Return the names in the export of the layer's own parameters, by the layer's names for them.

        names: the names of the operator's arguments, by the layer's names; arguments that are None are left out.
        Returns None unless the calling module has the parameters under the layer's names.
        """
        value_names = {
            param: self[argument].name for param, argument in names.items() if isinstance(self[argument], Ref)
        }
        prefix = f"{self.call.module}." if self.call.module else ""
        is_own = all(self.keys.get(value) == prefix + param for param, value in value_names.items())
        return value_names if is_own else None


def pair(value: Any) -> tuple[int, int]:
    """Return a list of one or two numbers as (height, width); one number is for both."""
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def per_axis(value: Any, n_axes: int) -> tuple[int, ...]:
    """Return one number for each axis, from a list with one number for all axes or one for each."""
    return tuple(value) * n_axes if len(value) == 1 else tuple(value)


def unused_name(name: str, is_used: Callable[[str], bool], next_suffixes: dict[str, int]) -> str:
    """Return the name, or if it is in use, the name with the first unused suffix of ~2, ~3 ...

    next_suffixes: by name, the suffix from which to search; without it, many equal names would take quadratic time.
    """
    if not is_used(name):
        return name
    suffix = next_suffixes.get(name, 2)
    while is_used(f"{name}~{suffix}"):
        suffix += 1
    next_suffixes[name] = suffix
    return f"{name}~{suffix}"
