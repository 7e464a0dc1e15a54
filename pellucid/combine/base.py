"""The interface of combinators: layers that contain named layers."""
# Return values of user-defined layers are checked at run time, because they may differ from their annotations.
# pyright: reportUnnecessaryIsInstance=false

import copy
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeGuard, cast

import torch

from pellucid.base.brief import MAX_LINES, screen_repr
from pellucid.base.errors import LayerError, PellucidError, nearest
from pellucid.base.text import plural, shown
from pellucid.layers.base import Cache, Layer, Mode, Params, describe

MAX_DEPTH = 4  # levels of combinators in a `repr`

# How a combinator runs one child forward: (name, child, its params, x, mode) -> (y, its cache)
LayerRun = Callable[[str, Layer, Params, Any, Mode], tuple[Any, Cache]]
# How a combinator propagates back through one child: (name, child, its params, its cache, dy) -> (dx, dparams)
Back = Callable[[str, Layer, Params, Cache, Any], tuple[Any, Params]]


@dataclass(frozen=True, repr=False)
class Combinator(Layer):
    """A layer that contains named layers and defines the order of computation.

    Its params and its cache are dicts by child name. In `flow` and `sweep`, the functions `step` and `back` run one
    child. `sweep` removes each child's cache from the dict after its use, which frees its memory.
    """

    @property
    @abstractmethod
    def layers(self) -> Mapping[str, Layer]:
        """The children by name; a child that runs several times with the same parameters appears once."""

    @abstractmethod
    def rebuild(self, layers: Mapping[str, Layer]) -> "Layer":
        """Return a combinator of the same type with other children of the same names."""

    @abstractmethod
    def flow(self, params: Params, x: Any, mode: Mode, step: LayerRun) -> tuple[Any, Cache]:
        """Run the children forward, each with `step`, and return (y, cache)."""

    @abstractmethod
    def sweep(self, params: Params, cache: Cache, dy: Any, back: Back) -> tuple[Any, Params]:
        """Propagate back through the children, each with `back`, remove their caches, and return (dx, dparams)."""

    def with_fields(self, **fields: Any) -> Self:
        """Return a copy of the same type with these fields replaced."""
        result = copy.copy(self)
        for name, value in fields.items():
            object.__setattr__(result, name, value)
        return result

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the children forward, each by its own `forward`."""
        return self.flow(params, x, mode, own_forward)

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Propagate back through the children, each by its own `backward`; `cache` is not changed."""
        return self.sweep(params, copy_cache(cache), dy, own_backward)

    def __str__(self) -> str:
        """Return the children as an indented text, a line for each layer."""
        return "\n".join(self._lines(sys.maxsize))

    def __repr__(self) -> str:
        """Return the text of `str`, with as many levels of combinators as fit on a screen."""
        for depth in range(MAX_DEPTH, 0, -1):
            lines = self._lines(depth)
            if len(lines) <= MAX_LINES:
                return "\n".join(lines)
        return screen_repr("\n".join(self._lines(1)))

    def _inputs(self) -> Mapping[str, str] | None:
        """Return the inputs of children as text, by name; by default None: the type of the combinator defines them."""

    def _lines(self, depth: int) -> list[str]:
        """Return the lines of the text of `str`; combinators more than `depth` levels down are only named."""
        lines: list[str] = []
        inputs = self._inputs() or {}
        for name, layer in self.layers.items():
            first_line = describe(layer)
            further_lines: list[str] = []
            if isinstance(layer, Combinator):
                first_line = f"{type(layer).__name__} of {plural(len(layer.layers), 'layer')}"
                if depth > 1:
                    first_line, *further_lines = layer._lines(depth - 1)
            lines += [f"  {name}: {first_line}", *(f"  {line}" for line in further_lines)]
            if name in inputs:
                lines[-1] += f" <- {inputs[name]}"
        return [f"{type(self).__name__}(", *lines, ")"]


def uses_flow(layer: Layer) -> TypeGuard[Combinator]:
    """Return whether a layer is a combinator whose children are run by its `flow` and `sweep`.

    A combinator that overrides `forward` or `backward` is run by these methods, like a layer without children.
    """
    kind = type(layer)
    return kind.forward is Combinator.forward and kind.backward is Combinator.backward


def map_layers(net: Layer, change: Callable[[Layer], Layer]) -> Layer:
    """Return the network with every layer that is not a combinator replaced by `change(layer)`."""
    if isinstance(net, Combinator):
        return net.rebuild({name: map_layers(child, change) for name, child in net.layers.items()})
    return change(net)


def replace_layer(net: Layer, path: str, change: Callable[[Layer], Layer]) -> Layer:
    """Return the network with the layer at `path` replaced by `change(layer)`.

    Raises PellucidError for an unknown path.
    """
    # The layers on the path, their names, and the remaining path:
    layers_on_path = [net]
    names = list[str]()
    rest_of_path = path
    while rest_of_path:
        parent = layers_on_path[-1]
        children: Mapping[str, Layer] = parent.layers if isinstance(parent, Combinator) else {}
        names.append(name := first_name(rest_of_path, children))
        rest_of_path = rest_of_path.removeprefix(name).removeprefix(".")
        if name not in children:
            raise PellucidError(f"no layer {path!r}{nearest(name, children)}")
        layers_on_path.append(children[name])
    replacement = change(layers_on_path.pop())
    for name, parent in zip(reversed(names), reversed(layers_on_path), strict=True):
        assert isinstance(parent, Combinator)
        replacement = parent.rebuild({**parent.layers, name: replacement})
    return replacement


def init_child(name: str, child: Layer, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
    """Initialize a child and return (params, output shape); errors name its path and input shape."""
    try:
        result = child.init(shape, rng)
    except LayerError as error:
        raise LayerError(join(name, error.path), error.shape, error.why) from error
    except PellucidError as error:
        raise LayerError(name, shape, str(error)) from error
    except Exception as error:
        kind = type(child)
        if kind.__module__.partition(".")[0] == __name__.partition(".")[0]:
            raise
        why = f"{kind.__name__}.init raised {type(error).__name__}: {' '.join(str(error).split())}"
        raise LayerError(name, shape, why) from error
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[0], dict):
        why = f"{type(child).__name__}.init must return (params, shape), params a dict, not {shown(result)}"
        raise LayerError(name, shape, why)
    return result


def own_forward(name: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
    """Run a child by its `forward`, or a combinator by its `flow`, and return (y, cache)."""
    if uses_flow(layer):
        return layer.flow(params, x, mode, own_forward)
    return layer.forward(params, x, mode)


def own_backward(name: str, layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
    """Propagate back through a child by its `backward`, or a combinator by its `sweep`, which removes used caches."""
    if uses_flow(layer):
        return layer.sweep(params, cache, dy, own_backward)
    return layer.backward(params, cache, dy)


def copy_cache(cache: Cache) -> Cache:
    """Return a copy of the nested dicts of a cache; its tensors are not copied."""
    if isinstance(cache, dict):
        return {name: copy_cache(child_cache) for name, child_cache in cast("dict[str, Cache]", cache).items()}
    return cache


def add_up(total: Any, part: Any) -> Any:
    """Return the sum of two gradients with respect to one value; tuples are added by entry, and None counts as 0."""
    if total is None:
        return part
    if part is None:
        return total
    if isinstance(total, tuple):
        return tuple(add_up(left, right) for left, right in zip(cast("tuple[Any, ...]", total), part, strict=True))
    return total + part


def add_up_tree(total: Params, part: Params) -> Params:
    """Return the sum, by name, of two nested dicts of parameter gradients."""
    merged = dict(total)
    for name, value in part.items():
        if name not in merged:
            merged[name] = value
        elif isinstance(value, dict):
            merged[name] = add_up_tree(merged[name], cast(Params, value))
        else:
            merged[name] = merged[name] + value
    return merged


def name_children(
    where: str,
    unnamed: Iterable[Any],
    named: Mapping[str, Layer],
    reserved_names: tuple[str, ...] = (),
    allow_dots: bool = False,
) -> dict[str, Layer]:
    """Return all layers by name; unnamed layers are named by type and count (conv2d1, relu1, conv2d2).

    Raises PellucidError, whose message begins with `where`, for a value that is not a layer, and for a repeated,
    invalid or reserved name. allow_dots: whether names may contain dots.
    """
    children: dict[str, Layer] = {}
    counts: dict[str, int] = {}
    for index, layer in enumerate(unnamed, start=1):
        check_layer(layer, f"{where}: layer {index}")
        kind = type(layer).__name__.lower()
        counts[kind] = counts.get(kind, 0) + 1
        children[f"{kind}{counts[kind]}"] = layer
    for name, layer in named.items():
        if name in children:
            raise PellucidError(f"{where}: two children are called {name!r}; give each its own name")
        children[name] = layer
    for name, layer in children.items():
        check_layer(layer, f"{where}: child {name!r}")
        name_parts = name.split(".") if allow_dots else [name]
        if (
            not name.isprintable()
            or not all(name_parts)
            or "." in name_parts[0]
            or "[" in name
            or name in reserved_names
        ):
            raise PellucidError(
                f"{where}: {name!r} cannot be a layer's name; use another, printable and without '.' and '['"
            )
    return children


def check_layer(value: object, label: str) -> None:
    """Raise PellucidError unless the value is a layer; `label` is its name in the message."""
    if isinstance(value, Layer):
        return
    text = " ".join(repr(value).split())[:60]
    if isinstance(value, type) and issubclass(value, Layer):
        raise PellucidError(
            f"{label} is the class {value.__name__}; give an object of it, such as {value.__name__}(...)"
        )
    if isinstance(value, Mapping):
        raise PellucidError(f"{label} is a dict; give names as arguments, such as Sequential(**layers)")
    raise PellucidError(f"{label} is {text}, not a layer")


def walk(layer: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield (path, layer) for the layer and all layers in it, in order."""
    yield path, layer
    if isinstance(layer, Combinator):
        for name, child in layer.layers.items():
            yield from walk(child, join(path, name))


def buffer_paths(layer: Layer, path: str = "") -> set[str]:
    """Return the paths of all buffers of the layer at `path` and of all layers in it."""
    return {join(inner_path, name) for inner_path, inner in walk(layer, path) for name in inner.buffers}


def join(path: str, name: str) -> str:
    """Return the path of the child or parameter `name` of `path`; if one of them is "", return the other."""
    return f"{path}.{name}" if path and name else path or name


def prefix_of(path: str) -> str:
    """Return the prefix of all paths below `path`, which is "" for the root."""
    return f"{path}." if path else ""


def shape_of(x: Any) -> Any:
    """Return the shape of a tensor without its first axis, or the tuple of these shapes for a tuple of tensors."""
    return tuple(map(shape_of, cast("tuple[Any, ...]", x))) if isinstance(x, tuple) else tuple(x.shape[1:])


def first_name(path: str, names: Iterable[str]) -> str:
    """Return the longest of `names` that begins the path; if none does, the part of the path before its first dot.

    The names may contain dots.
    """
    matches = [name for name in names if path == name or path.startswith(f"{name}.")]
    return max(matches, key=len, default=path.partition(".")[0])
