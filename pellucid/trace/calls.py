"""One forward and one backward pass, written down call by call, with who made each value and who read it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from torch import Tensor

from pellucid.combine.base import Combinator, join
from pellucid.errors import PellucidError
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.probe import tensors
from pellucid.tree import flatten

# What becomes of a tensor that flows: (call's place in forward order, "x" or "y", part, tensor) -> tensor
Change = Callable[[int, str, int, Tensor], Tensor]


@dataclass(eq=False)
class Value:
    """A tensor on its way: which call made it (None for an input of the network), as which part of its output."""

    tensor: Tensor
    maker: "Call | None"
    part: int
    readers: list[tuple["Call", int]] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)  # as which outputs of the network it goes to the loss


@dataclass(eq=False)
class Call:
    """One run of one layer that is no combinator: all that went in, came out, and came back.

    `name` is the layer's path, or path:1, path:2 ... where the layer runs several times; `place` counts all calls in
    forward order. dys and dxs are None where no output of the network depends on the call.
    """

    place: int
    path: str
    layer: Layer
    params: Params
    inputs: list[Value]
    several: bool  # whether the layer takes a tuple
    outputs: list[Value] = field(default_factory=list)
    cache: Cache = None
    name: str = ""
    dys: list[Tensor] | None = None
    dxs: list[Tensor | None] | None = None
    dparams: dict[str, Tensor] = field(default_factory=dict)

    @property
    def x(self) -> Tensor:
        """The only input, or the first."""
        return self.inputs[0].tensor

    @property
    def y(self) -> Tensor:
        """The only output, or the first."""
        return self.outputs[0].tensor

    @property
    def title(self) -> str:
        """The layer as people read it: `Dense(10)`."""
        return title(self.layer)


@dataclass(eq=False)
class Frame:
    """One run of a combinator: what went in and came out, and what came back."""

    path: str
    layer: Combinator
    x: Any
    y: Any = None
    name: str = ""
    dy: Any = None
    dx: Any = None


@dataclass(eq=False)
class Passes:
    """All calls and combinators of one forward pass; `backward` fills in what comes back."""

    net: Layer
    params: Params
    xs: list[Value]
    calls: list[Call]
    frames: list[Frame]
    y: Any
    cache: Cache
    frame_of: dict[int, Frame]
    ys: list[Value] = field(default_factory=list)

    def backward(self, dy: Any) -> tuple[Any, Params]:
        """Propagate `dy` back through the network, each call by its layer's own backward, once."""

        def visit(layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
            if isinstance(cache, Call):
                dx, dparams = layer.backward(params, cache.cache, dy)
                cache.dys, cache.dxs, cache.dparams = tensors(dy), [*tensors(dx)], flatten(dparams)
                return dx, dparams
            assert isinstance(layer, Combinator)
            frame = self.frame_of[id(cache)]
            frame.dx, dparams = layer.sweep(params, cache, dy, lambda name, *rest: visit(*rest))
            frame.dy = dy
            return frame.dx, dparams

        return visit(self.net, self.params, self.cache, dy)


def forward(net: Layer, params: Params, x: Any, mode: Mode, change: Change | None = None) -> Passes:
    """Run the network and write every call down; `change` may put other numbers in a tensor's place on its way.

    Raises PellucidError for a combinator that makes values of its own.
    """
    known: dict[int, Value] = {}
    calls: list[Call] = []
    frames: list[Frame] = []
    frame_of: dict[int, Frame] = {}

    def arrive(tensor: Tensor, maker: Call | None, part: int) -> Value:
        """Give a tensor an identity of its own: Identity returns its input tensor itself."""
        value = Value(tensor.view_as(tensor), maker, part)
        known[id(value.tensor)] = value
        return value

    def find(path: str, tensor: Tensor) -> Value:
        if id(tensor) not in known:
            raise PellucidError(f"trace: {path or 'the network'} reads a value that no layer made; make it by a layer")
        return known[id(tensor)]

    def visit(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        if isinstance(layer, Combinator):
            frame = Frame(path, layer, x)
            frame.y, cache = layer.flow(params, x, mode, lambda name, *rest: visit(join(path, name), *rest))
            frames.append(frame)
            frame_of[id(cache)] = frame
            return frame.y, cache
        place, parts = len(calls), tensors(x)
        call = Call(place, path, layer, flatten(params), [find(path, one) for one in parts], isinstance(x, tuple))
        calls.append(call)
        for part, value in enumerate(call.inputs):
            value.readers.append((call, part))
        if change is not None:
            x = _refill(x, [change(place, "x", part, one) for part, one in enumerate(parts)])
        y, call.cache = layer.forward(params, x, mode)
        made = tensors(y)
        if change is not None:
            made = [change(place, "y", part, one) for part, one in enumerate(made)]
        call.outputs = [arrive(one, call, part) for part, one in enumerate(made)]
        return _refill(y, [value.tensor for value in call.outputs]), call

    xs = [arrive(one, None, part) for part, one in enumerate(tensors(x))]
    y, cache = visit("", net, params, _refill(x, [value.tensor for value in xs]), mode)
    ys = [find("", one) for one in tensors(y)]
    for part, value in enumerate(ys):
        value.outputs.append(part)
    _number(calls)
    _number(frames)
    return Passes(net, params, xs, calls, frames, y, cache, frame_of, ys)


def title(value: Any) -> str:
    """Return a layer or a loss as people write it, without what is as usual: `Conv2d(6, 5)`."""
    if isinstance(value, Combinator):
        return type(value).__name__
    told = []
    for one in fields(value):
        given = getattr(value, one.name)
        if one.default is MISSING:
            told.append(repr(given))
        elif given != one.default and not one.name.startswith("init_"):
            told.append(f"{one.name}={given!r}")
    return f"{type(value).__name__}({', '.join(told)})"


def _refill(x: Any, parts: list[Tensor]) -> Any:
    """Return `parts` in the nesting of x."""
    rest = iter(parts)

    def fill(part: Any) -> Any:
        return tuple(fill(one) for one in part) if isinstance(part, tuple) else next(rest)

    return fill(x)


def _number(runs: "list[Call] | list[Frame]") -> None:
    """Name each run by its path, and by its number where there are several."""
    totals = Counter(run.path for run in runs)
    seen: Counter[str] = Counter()
    for run in runs:
        seen[run.path] += 1
        run.name = f"{run.path}:{seen[run.path]}" if totals[run.path] > 1 else run.path
