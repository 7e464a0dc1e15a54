"""Exported programs of PyTorch, for any number of examples."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument

from pellucid.combine.base import shape_of
from pellucid.errors import PellucidError
from pellucid.nested import flatten, map_tree
from pellucid.network.bounds import within_bounds
from pellucid.opening.exported import Exported, call_of, example_count, input_shapes
from pellucid.opening.graph import graph_of
from pellucid.opening.model import OpenedModel
from pellucid.opening.outputs import check_equal, loss_for, outputs_of
from pellucid.opening.writes import writes_a_view
from pellucid.text import note, plural

FREE = "export it with dynamic_shapes, such as ({0: torch.export.Dim.AUTO},), and two examples or more"


def open_program(
    program: ExportedProgram,
    example: Tensor | tuple[Tensor, ...] | None,
    options: dict[str, Any],
    bounded: bool = False,
) -> OpenedModel:
    """Return the model of an exported program; see pellucid.open.

    bounded: whether it is from a file, and must be within the bounds of `pellucid.network.bounds`.
    """
    if writes_a_view(program.graph_module.graph):
        program = program.run_decompositions({})
    examples = example if isinstance(example, tuple) else None if example is None else (example,)
    batch = fixed_batch(program)
    exported = _exported(program, examples, batch)
    net, params = graph_of(exported, _tree({call.module for call in exported.calls}))
    params = map_tree(lambda tensor: tensor.detach().clone(), params)
    xs = _random(exported, 2 * (batch or 1)) if examples is None else tuple(examples)
    doubles = any(tensor.dtype is torch.float64 for tensor in (*flatten(params).values(), *xs))
    model = OpenedModel(net, **{"precision": "float64" if doubles else "float32", **loss_for(net), **options})
    x: Any = xs if len(exported.inputs) > 1 else next(iter(xs))
    if bounded and len(exported.inputs) == 1:
        within_bounds(net, shape_of(x))
    y = outputs_of(net, params, x)
    _check_outputs(program, xs, y if isinstance(y, tuple) else (y,), batch or len(xs[0]))
    if batch is not None:
        note(f"open: the program was exported for exactly {plural(batch, 'example')}; it is opened for any number, as "
             "no operator in it contains that number")  # fmt: skip
    model._take(params, shape_of(x), shape_of(y))
    model._keep_state(program.state_dict)
    return model


def _exported(program: ExportedProgram, examples: Sequence[Tensor] | None, batch: int | None) -> Exported:
    """Return the calls of a program, whose sizes are computed for another number of examples.

    batch: the number of examples for which the program was exported, None if it takes any.
    """
    signature = program.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise PellucidError("open: the program changes its input or a buffer; export it in evaluation mode")
    others = [spec.arg.name for spec in signature.input_specs if isinstance(spec.arg, ConstantArgument)]
    if others:
        raise PellucidError(f"open: the program's input {others[0]} is no tensor; export it without that input")
    nodes = {node.name: node for node in program.graph_module.graph.nodes}
    inputs = tuple(name for name in signature.user_inputs if isinstance(name, str))
    stored = _stored(program)
    values = (*filter(torch.is_tensor, stored.values()), *(nodes[name].meta["val"] for name in inputs))
    count = example_count([*(x.shape[1:] for x in examples or ()), *(value.shape for value in values)])
    if batch is None:
        sizes = _sizes([nodes[name].meta["val"] for name in inputs], examples, count)
        resized = [_at(node, sizes, count) for node in nodes.values()]
    else:
        resized = _resized(program, nodes, inputs, count, batch)
    keys = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    calls = (one for one in resized if one.op == "call_function" and isinstance(one.meta["val"], (Tensor, tuple)))
    return Exported(
        tuple(call_of(one, count) for one in calls),
        keys,
        frozenset(signature.inputs_to_parameters),
        inputs,
        tuple(name for name in signature.user_outputs if isinstance(name, str)),
        {name: stored[key] for name, key in _keys(program).items()},
        input_shapes(resized, count),
    )


def fixed_batch(program: ExportedProgram) -> int | None:
    """Return the number of examples that a program takes, None if it takes any."""
    names = set(program.graph_signature.user_inputs)
    found = [node.meta["val"].shape[0] for node in program.graph_module.graph.nodes if node.name in names]
    return found[0] if found and all(isinstance(count, int) and count == found[0] for count in found) else None


def _resized(
    program: ExportedProgram, nodes: Mapping[str, Any], inputs: Sequence[str], size: int, batch: int
) -> list[SimpleNamespace]:
    """Return the nodes of a program that takes `batch` examples, with the shapes that `size` examples give."""
    stored, keys = _stored(program), _keys(program)
    shapes = {name: nodes[name].meta["val"] for name in inputs}
    if any(not isinstance(length, int) for value in shapes.values() for length in value.shape):
        raise PellucidError(
            f"open: the program takes exactly {plural(batch, 'example')} but leaves other axes free; {FREE}"
        )
    given = [
        torch.empty(size, *shapes[name].shape[1:], dtype=shapes[name].dtype, device="meta")
        if name in shapes
        else stored[keys[name]].to("meta")
        for name, node in nodes.items()
        if node.op == "placeholder"
    ]
    run = _Values(program.graph_module)
    try:
        with torch.no_grad():
            run.run(*given)
    except Exception as error:  # whatever an operator raises for another number of examples
        where = run.latest.name if run.latest is not None else ""
        raise PellucidError(
            f"open: the program takes exactly {plural(batch, 'example')}, and {where} contains that number; {FREE}"
        ) from error
    return [_at(node, {}, size, run.values.get(name)) for name, node in nodes.items()]


class _Values(torch.fx.Interpreter):
    """Runs a graph on the device "meta", and keeps the value of each node; latest: the node that runs."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.values: dict[str, Any] = {}
        self.latest: torch.fx.Node | None = None

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run a node."""
        self.latest = n
        self.values[n.name] = super().run_node(n)
        return self.values[n.name]

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator; those that create tensors create them on the device "meta"."""
        return super().call_function(target, args, {**kwargs, "device": "meta"} if "device" in kwargs else kwargs)


def _stored(program: ExportedProgram) -> dict[str, Any]:
    """Return parameters, buffers and constants, by key."""
    return {**program.constants, **program.state_dict}


def _keys(program: ExportedProgram) -> dict[str, str]:
    """Return the keys of parameters, buffers and constants, by the names of their nodes."""
    signature = program.graph_signature
    return {
        **signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants
    }  # fmt: skip


def _sizes(inputs: Sequence[Tensor], examples: Sequence[Tensor] | None, many: int) -> dict[Any, int]:
    """Return the values of the program's symbols for that many examples."""
    if examples is not None and [x.dim() for x in examples] != [x.dim() for x in inputs]:
        raise PellucidError("open: the examples do not have the program's numbers of inputs and axes")
    batch: set[Any] = set()
    others: dict[Any, int] = {}
    for index, x in enumerate(inputs):
        count: Any = x.shape[0]
        if isinstance(count, int):
            raise PellucidError(f"open: the program takes exactly {count} examples for one of its inputs; {FREE}")
        batch.update(count.node.expr.free_symbols)
        for axis, size in enumerate(x.shape[1:], start=1):
            symbols = () if isinstance(size, int) else tuple(size.node.expr.free_symbols)
            if symbols and examples is None:
                raise PellucidError(
                    f"open: the program leaves axis {axis} of its input free; give an example (--input)"
                )
            others.update((symbol, examples[index].shape[axis]) for symbol in symbols if examples is not None)
    if not batch:
        raise PellucidError(f"open: the program's number of examples is not free; {FREE}")
    if len(batch) != 1:
        raise PellucidError(f"open: the program's inputs have {len(batch)} different numbers of examples")
    return {**others, next(iter(batch)): many}


def _at(node: Any, sizes: Mapping[Any, int], count: int, value: Any = None) -> SimpleNamespace:
    """Return the node with numbers for the program's symbols; value: its own, by default that of the export.

    Raises PellucidError for a size that depends on the number of examples, `count`, and is no multiple of it.
    """

    def filled(value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            known = value.meta.get("val")
            return filled(known) if isinstance(known, (torch.SymInt, int)) else value
        if isinstance(value, torch.SymInt):
            size, symbols = int(value.node.expr.subs(sizes)), value.node.expr.free_symbols
            if size % count and any(sizes[symbol] == count for symbol in symbols):
                raise PellucidError(f"open: {node.name}: a size is {value}, no multiple of the number of examples")
            return size
        if isinstance(value, Tensor):
            return torch.empty([filled(size) for size in value.shape], dtype=value.dtype, device="meta")
        return type(value)(map(filled, value)) if isinstance(value, (list, tuple)) else value

    value = node.meta.get("val") if value is None else value
    meta = {**node.meta, "val": tuple(map(filled, value)) if isinstance(value, (list, tuple)) else filled(value)}
    return SimpleNamespace(
        name=node.name, op=node.op, target=node.target, meta=meta, args=tuple(map(filled, node.args)),
        kwargs={name: filled(argument) for name, argument in node.kwargs.items()},
    )  # fmt: skip


def _tree(paths: set[str]) -> nn.Module:
    """Return empty modules with these paths: those that have children are no leaves."""
    root = nn.Module()
    for path in paths:
        module = root
        for word in filter(None, path.split(".")):
            if word not in module._modules:
                module.add_module(word, nn.Module())
            module = module.get_submodule(word)
    return root


def _random(exported: Exported, count: int) -> tuple[Tensor, ...]:
    """Return random examples of each input."""
    rng, known = torch.Generator().manual_seed(0), next(iter(exported.tensors.values()), torch.zeros(1))
    dtype = known.dtype if known.dtype is torch.float64 else torch.float32
    shapes = [exported.shapes[name][1:] for name in exported.inputs]
    return tuple(torch.rand(count, *shape, generator=rng, dtype=dtype) for shape in shapes)


def _check_outputs(program: ExportedProgram, xs: Sequence[Tensor], found: Sequence[Tensor], size: int) -> None:
    """Raise PellucidError unless the outputs are the program's for `size` examples at a time, up to rounding errors."""
    stored, keys, count = _stored(program), _keys(program), len(xs[0])
    names = [node.name for node in program.graph_module.graph.nodes if node.op == "placeholder"]
    parts: list[Any] = []
    for start in range(0, count, size):
        rows = torch.arange(start, start + size) % count
        given = (x[rows] for x in xs)
        values = [stored[keys[name]] if name in keys else next(given) for name in names]
        with torch.no_grad():
            parts.append(torch.fx.Interpreter(program.graph_module).run(*values))
    expected = [pieces[0] if size == count else torch.cat(pieces)[:count] for pieces in zip(*parts, strict=True)]
    check_equal("open", found, expected, "the program's")
