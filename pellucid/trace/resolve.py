"""Resolve a name to one entry of a tensor: the one to explain or to nudge."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.combine.base import buffer_paths, join
from pellucid.errors import PellucidError
from pellucid.trace.calls import Call, Value
from pellucid.trace.names import label, place_of, split, unknown
from pellucid.trace.record import Trace
from pellucid.tree import flatten


@dataclass(frozen=True, eq=False)
class Target:
    """A tensor with respect to which the loss has a gradient.

    Either a value, or what one call reads (an input "x.0", or its own use of a parameter), or, without both, the
    parameter at the path `what`. gradient is None where the loss does not depend on it.
    """

    name: str
    tensor: Tensor
    gradient: Tensor | None
    value: Value | None = None
    call: Call | None = None
    what: str = ""


@dataclass(frozen=True, eq=False)
class Number:
    """One number of a target."""

    target: Target
    place: int

    @property
    def label(self) -> str:
        """Its name with the index."""
        return label(self.target.name, self.place, self.target.tensor.shape)

    @property
    def number(self) -> float:
        """The number itself."""
        return float(self.target.tensor.flatten()[self.place])

    @property
    def gradient(self) -> float:
        """The loss's derivative by it."""
        gradient = self.target.gradient
        return 0.0 if gradient is None else float(gradient.flatten()[self.place])


def resolve(trace: Trace, text: str) -> Number:
    """Return the entry that a text names; for a whole tensor, the entry with the largest gradient."""
    name, index = split(text)
    known = targets(trace)
    if name not in known:
        if name not in trace:
            raise unknown("trace", name, known)
        if name in buffer_paths(trace.settings.net):
            raise PellucidError(f"trace: {name} is a running statistic, which nothing learns; it has no gradient")
        raise PellucidError(
            f"trace: {name} is worked out on the way; name a parameter, an input or an output, such as "
            f"{next(iter(known))!r}"
        )
    target = known[name]
    if not target.tensor.is_floating_point():
        raise PellucidError(f"trace: {name} holds places, no numbers; it has no gradient")
    if index is not None:
        return Number(target, place_of(name, index, target.tensor.shape))
    if not target.tensor.numel():
        raise PellucidError(f"trace: {name} is empty")
    largest = 0 if target.gradient is None else int(target.gradient.abs().argmax())
    return Number(target, largest)


def targets(trace: Trace) -> dict[str, Target]:
    """Return the tensors that can be explained, by name; the name of a gradient means the tensor itself."""
    found: dict[str, Target] = {}
    params = flatten(trace.settings.params)
    buffers = buffer_paths(trace.settings.net)
    passes = trace.passes

    def put(names: list[str], target: Target) -> None:
        for name in names:
            found.setdefault(name, target)

    def put_value(value: Value, *names: str) -> None:
        called = trace.name_of(value)
        put([called, *names], Target(called, value.tensor, trace.gradient_of(value), value))

    for value in passes.xs:
        called = trace.name_of(value)
        put_value(value, f"d{called}")
    for call in trace.calls:
        for part, value in enumerate(call.inputs):
            end = f".{part}" if call.several else ""
            name, gradient = join(call.name, f"x{end}"), None if call.dxs is None else call.dxs[part]
            put([name, join(call.name, f"dx{end}")], Target(name, value.tensor, gradient, call=call, what=f"x.{part}"))
        for name, tensor in call.params.items():
            path = join(call.path, name)
            if path in buffers:
                continue
            target = Target(path, params[path], trace.gradients.get(path), what=path)
            put([path, join(call.path, f"d{name}")], target)
            if call.name != call.path and name in call.dparams:
                own = join(call.name, name)
                use = Target(own, tensor, call.dparams[name], call=call, what=name)
                put([own, join(call.name, f"d{name}")], use)
        for part, value in enumerate(call.outputs):
            end = f".{part}" if len(call.outputs) > 1 else ""
            put_value(value, join(call.name, f"dy{end}"))
    for part, value in enumerate(passes.ys):
        end = f".{part}" if isinstance(passes.y, tuple) else ""
        put_value(value, f"y{end}", f"dy{end}")
    for frame in passes.frames:
        if isinstance(frame.y, Tensor):
            put_value(trace.values[id(frame.y)], join(frame.name, "y"), join(frame.name, "dy"))
    return found
