"""Assembly of the graph of an opened network: names, parameters, constants, and what is missing."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.combine import Graph
from pellucid.errors import PellucidError
from pellucid.layers.base import Params
from pellucid.opening import functions, layers, tensors
from pellucid.opening.exported import Call, Exported, Multiple, Ref
from pellucid.opening.missing import REGISTERED, missing_error
from pellucid.opening.model import place_of
from pellucid.opening.parts import has_parts, part
from pellucid.opening.values import CallLayer, Context, Unsupported
from pellucid.operators import Expand, Fixed, Learned, ToShape

TRANSLATIONS = {**layers.TRANSLATIONS, **tensors.TRANSLATIONS, **functions.TRANSLATIONS}
INPUT = "input"
SIZES = (2, 3)  # numbers of examples for which constants are computed that depend on it
FILLED = (
    "zeros_like",
    "ones_like",
    "full_like",
    "new_zeros",
    "new_ones",
    "new_full",
    "zero",
)  # of the first input, the shape


def graph_of(exported: Exported, module: nn.Module) -> tuple[Graph, Params]:
    """Return the graph and the parameters of an exported module.

    Raises PellucidError, with every operator that has no layer, its number of calls and the path of the first one, and
    with the class to write as a note.
    """
    return _Assembly(exported, module).result()


class _Assembly:
    """The nodes and parameters of the graph, as far as calls have been translated."""

    def __init__(self, exported: Exported, module: nn.Module) -> None:
        self.exported = exported
        self.parents = {path for path, part in module.named_modules() if next(part.children(), None) is not None}
        same = _tied(exported)  # from the name of a tied parameter to the name of the first of its equals
        self.calls = _renamed(list(_used(exported)), exported, module, same)
        self.keys = _own_keys(self.calls, exported)
        self.shapes = dict(exported.shapes)
        self.constants: dict[str, Any] = {
            name: tensor for name, tensor in exported.tensors.items() if name not in exported.parameters
        }
        self.varying: dict[str, tuple[Any, Any]] = {}  # constants for both numbers of examples in SIZES
        modules = dict(module.named_modules())
        single = next(name for name in (INPUT, f"{INPUT}~2") if name not in modules)
        names = (single,) if len(exported.inputs) == 1 else exported.inputs
        self.inputs = names
        self.values = dict(zip(exported.inputs, names, strict=True))  # from names in the export to names in the graph
        self.nodes: dict[str, tuple[Any, ...]] = {}
        self.params: Params = {}
        self.owners = {key.rpartition(".")[0] for key in exported.keys.values()}
        self.reserved = {*names, *exported.keys.values(), *self.owners}
        self.constant = self._constant_names()
        self.ops: dict[str, set[str]] = {}  # by module, the operators that it calls itself
        for call in self.calls:
            if call.name not in self.constant:
                self.ops.setdefault(call.module, set()).add(call.op)
        self.missing: dict[str, list[str]] = {}
        self.unknown: dict[str, Any] = {}  # by name, operators that have no translation

    def result(self) -> tuple[Graph, Params]:
        """Translate all calls."""
        for call in self.calls:
            if call.name in self.constant:
                self._fold(call)
            else:
                self._translate(call)
            self.shapes[call.name] = call.shape
        if self.missing:
            raise missing_error(self.missing, self.unknown)
        try:
            outputs = tuple(self._value(name) for name in self.exported.outputs)
        except Unsupported as error:
            raise PellucidError(f"open: an output of the network: {error}") from error
        return Graph(self.nodes, outputs, self.inputs), self.params

    def _constant_names(self) -> set[str]:
        """Return the names of values that depend on no input, no parameter and no random number."""
        found = set(self.constants)
        for call in self.calls:
            random = torch.Tag.nondeterministic_seeded in getattr(call.target, "tags", ())
            if call.op in FILLED or (not random and all(name in found for name in _refs(call.arguments))):
                found.add(call.name)
        return found

    def _fold(self, call: Call) -> None:
        """Compute a constant; for both numbers of examples if it depends on it."""
        if not _has_batch(call) and not any(name in self.varying for name in _refs(call.arguments)):
            self.constants[call.name] = _computed(call, self.constants | self._shaped(call, 0))
            return
        by_size = [
            {**self.constants, **{name: both[index] for name, both in self.varying.items()}, **self._shaped(call, size)}
            for index, size in enumerate(SIZES)
        ]
        one, other = (_computed(call, values, size) for values, size in zip(by_size, SIZES, strict=True))
        if isinstance(one, Tensor) and one.shape == other.shape and torch.equal(one, other):
            self.constants[call.name] = one
        else:
            self.varying[call.name] = one, other

    def _shaped(self, call: Call, examples: int) -> dict[str, Tensor]:
        """Return a tensor of the shape of each value that is no constant, for operators that read only the shape."""
        names = [name for name in _refs(call.arguments) if name not in self.constants and name not in self.varying]
        sizes = {name: _filled_sizes(self.shapes[name], examples) for name in names}
        return {name: torch.empty(shape, dtype=call.dtype) for name, shape in sizes.items()}

    def _translate(self, call: Call) -> None:
        """Add the node for a call, or record why there is no layer for it."""
        try:
            found = self._made(call)
            if isinstance(found, CallLayer):
                self._add(call, found, self._sources(call, found))
            elif found is not None:
                self.values[call.name] = found if found in self.nodes or found in self.inputs else self._value(found)
        except (Unsupported, PellucidError) as error:
            self.missing.setdefault(f"{call.op} ({error})" if str(error) else call.op, []).append(call.module)

    def _sources(self, call: Call, made: CallLayer) -> list[str]:
        """Return the names of the nodes that a layer reads; layers among its sources become nodes first."""
        found: list[str] = []
        for source in made.sources:
            if isinstance(source, CallLayer):
                inputs = self._sources(call, source)
                name = self._free(f"{self._place(call)}.{type(source.layer).__name__.lower()}")
                self.nodes[name] = (source.layer, *inputs)
                self.params[name] = {}
                found.append(name)
            else:
                found.append(self._value(source))
        return [*found, *(self.inputs[:1] if made.batch else ())]

    def _made(self, call: Call) -> CallLayer | str | None:
        """Return the layer of a call; None for one with several outputs, whose parts have a layer each."""
        context = Context(call, self.shapes, self.keys, self.constants)
        if has_parts(call):
            return None
        if call.op == "getitem":
            return part(call, self.calls, self.shapes)
        translate = TRANSLATIONS.get(call.op, REGISTERED.get(call.op))
        if translate is None:
            self.unknown[call.op] = call.target
            raise Unsupported
        return translate(context)

    def _add(self, call: Call, made: CallLayer, sources: list[str]) -> None:
        """Add a node; a second call of a module with parameters repeats the node of the first."""
        owner = call.module if made.owned else None
        if owner is not None and owner in self.nodes:
            if self.nodes[owner][0] != made.layer:
                self.missing.setdefault(f"{call.op} (called again with other options)", []).append(call.module)
                return
            name = self._free(owner)
            self.nodes[name] = (owner, *sources)
            self.params[name] = {}
        else:
            name = owner or self._free(self._place(call))
            self.nodes[name] = (made.layer, *sources)
            self.params[name] = {own: self.exported.tensors[value] for own, value in made.owned.items()}
        self.values[call.name] = name

    def _place(self, call: Call) -> str:
        """Return the path of a module that calls no other operator, else that path with the operator's name.

        The path of a module with parameters is for the layer that owns them.
        """
        alone = call.module not in self.parents and len(self.ops[call.module]) == 1
        if call.module and alone and call.module not in self.owners:
            return call.module
        return f"{call.module}.{call.op}" if call.module else call.op

    def _free(self, name: str) -> str:
        """Return a name, or it with the first number from ~2 that is not in use."""
        names = (name, *(f"{name}~{count}" for count in range(2, len(self.nodes) + 3)))
        return next(one for one in names if one not in self.nodes and one not in self.reserved)

    def _value(self, name: str) -> str:
        """Return the name in the graph of a value; parameters and constants become nodes when they are first read."""
        if name in self.values:
            return self.values[name]
        if name in self.exported.parameters:
            tensor, layer = self.exported.tensors[name], None
        elif name in self.constants:
            tensor = self.constants[name]
            dtype = "float32" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
            layer = Fixed(tuple(tensor.shape), dtype)
        elif name in self.varying:
            return self._repeated(name)
        else:  # a call without a layer, which is already among the missing ones
            return self.inputs[0]
        key = self.exported.keys.get(name)
        node = key if key is not None else self._free(name)
        self.nodes[node] = (layer or Learned(tuple(tensor.shape)),)
        self.params[node] = {"": tensor}
        self.values[name] = node
        return node

    def _repeated(self, name: str) -> str:
        """Return the name of a node that repeats a constant of one example for all of them."""
        (one, other), node = self.varying[name], self._free(name)
        times = len(one) // SIZES[0] if isinstance(one, Tensor) and one.dim() else 0  # rows of one example
        single = one[:times] if times else one
        counts = zip((one, other), SIZES, strict=True)
        if not times or not all(torch.equal(x, single.repeat(size, *(1,) * (x.dim() - 1))) for x, size in counts):
            raise Unsupported("it reads a constant that depends on the number of examples")
        self.constants[node] = single[None]
        added = {
            "expand": (Expand((0, *(-1,) * one.dim())), self._value(node), self.inputs[0]),
            "rows": (ToShape((-1, *single.shape[1:])), self._free(f"{name}.expand")),
        }
        for what, made in added.items():
            self.values[name] = self._free(f"{name}.{what}")
            self.nodes[self.values[name]] = made
            self.params[self.values[name]] = {}
        return self.values[name]


def _used(exported: Exported) -> Iterator[Call]:
    """Yield the calls on which the outputs depend, in order."""
    needed, kept = set(exported.outputs), list[Call]()
    for call in reversed(exported.calls):
        if call.name in needed:
            needed.update(_refs(call.arguments))
            kept.append(call)
    return reversed(kept)


def _renamed(calls: list[Call], exported: Exported, module: nn.Module, same: dict[str, str]) -> list[Call]:
    """Return the calls with one name for each parameter, and with one path for each module that has parameters.

    A module that several paths reach has the path of the keys of its parameters.
    """
    keys = [exported.keys[name] for name in exported.keys if name not in same]
    owners = {key.rpartition(".")[0] for key in keys}
    modules = dict(module.named_modules(remove_duplicate=False))
    paths = {id(part): path for path, part in modules.items() if path in owners}

    def named(value: Any) -> Any:
        if isinstance(value, Ref):
            return Ref(same.get(value.name, value.name))
        return tuple(map(named, value)) if isinstance(value, tuple) else value

    return [
        replace(
            call,
            module=paths.get(id(modules.get(call.module)), call.module),
            arguments={name: named(value) for name, value in call.arguments.items()},
        )
        for call in calls
    ]


def _refs(value: Any) -> Iterator[str]:
    """Yield the names of all values in arguments."""
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, (dict, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _refs(part)


def _has_batch(call: Call) -> bool:
    """Return whether an argument depends on the number of examples."""
    return "Multiple(" in repr((call.arguments, call.shape))


def _filled_sizes(shape: tuple[Any, ...], examples: int) -> list[int]:
    """Return a shape for a number of examples."""
    return [size.times * examples if isinstance(size, Multiple) else size for size in shape]


def _computed(call: Call, constants: dict[str, Any], examples: int = 0) -> Any:
    """Return the result of a call whose inputs are constants, for a number of examples; PellucidError if it fails."""

    def filled(value: Any) -> Any:
        if isinstance(value, Ref):
            return constants[value.name]
        if isinstance(value, Multiple):
            return value.times * examples
        return [filled(part) for part in value] if isinstance(value, tuple) else value

    arguments = {name: filled(value) for name, value in call.arguments.items()}
    schema = call.target._schema.arguments if isinstance(call.target, torch._ops.OpOverload) else ()
    named = {one.name: arguments[one.name] for one in schema if one.kwarg_only}
    try:
        with torch.no_grad():
            return call.target(*(value for name, value in arguments.items() if name not in named), **named)
    except (RuntimeError, IndexError, ValueError) as error:  # of sizes that fit only the number of examples exported
        raise PellucidError(
            f"open: {call.module or 'the network itself'}: {call.op} of constants fails for another number of "
            f"examples: {' '.join(str(error).split()):.200}"
        ) from error


def _tied(exported: Exported) -> dict[str, str]:
    """Return, for parameters and buffers that share their memory with an earlier one, the name of that one."""
    first: dict[tuple[Any, ...], str] = {}
    found: dict[str, str] = {}
    for name in exported.keys:
        tensor = exported.tensors.get(name)
        if isinstance(tensor, Tensor) and tensor.numel():
            original = first.setdefault(place_of(tensor), name)
            if original != name:
                found[name] = original
    return found


def _own_keys(calls: list[Call], exported: Exported) -> dict[str, str]:
    """Return the keys of the parameters and buffers that the calls of only one module, of one operator, read.

    Those that are outputs of the network have a node of their own as well.
    """
    readers: dict[str, set[tuple[str, str]]] = {name: {("", "output")} for name in exported.outputs}
    for call in calls:
        for name in _refs(call.arguments):
            if name in exported.keys:
                readers.setdefault(name, set()).add((call.module, call.op))
    shared = {name for name, found in readers.items() if len(found) > 1}
    return {name: key for name, key in exported.keys.items() if name not in shared}
