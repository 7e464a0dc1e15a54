"""Opening of programs exported by PyTorch as models for any number of examples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument

from pellucid.base.errors import PellucidError
from pellucid.base.text import note, plural
from pellucid.combine import Graph
from pellucid.combine.base import shape_of
from pellucid.nested import flatten, map_tree
from pellucid.network.bounds import Tally, init_within_bounds
from pellucid.opening.exported import ExportedNetwork, call_of, example_count, input_shapes
from pellucid.opening.graph import graph_of
from pellucid.opening.in_place import writes_a_view
from pellucid.opening.model import OpenedModel
from pellucid.opening.outputs import batch_rows, check_equal, loss_for, outputs_of
from pellucid.opening.programfile import DAMAGE_ERRORS
from pellucid.weights.fault import naming_file

EXPORT_HINT = "export it with dynamic_shapes, such as ({0: torch.export.Dim.AUTO},), and two examples or more"


def open_program(
    program: ExportedProgram,
    examples: tuple[Tensor, ...] | None,
    options: dict[str, Any],
    path: Path | None = None,
) -> OpenedModel:
    """Return the model of an exported program; see pellucid.open.

    path: the program's file, None for a program in memory; `pellucid.network.bounds` limits a program from a file.
    """
    with naming_file(path, "exported program", DAMAGE_ERRORS):
        # only then: decomposed layers, such as norms, are no longer recognized
        if writes_a_view(program.graph_module.graph):
            program = program.run_decompositions({})
        batch = fixed_batch(program)
        exported = _exported_network(program, examples, batch)
        modules = _empty_modules({call.module for call in exported.calls})
        net, params = graph_of(exported, modules, from_file=path is not None)
        if path is not None:  # before any input of the declared size exists
            _check_bounds(net, exported, examples, batch)
        params = map_tree(torch.detach, params)  # shares the program's memory, by which tied weights are found
        xs = _random_inputs(exported, (batch or 1) + 1) if examples is None else examples
        x: Any = xs if len(exported.inputs) > 1 else xs[0]
        if path is not None:
            _check_program_bounds(program, xs, batch or 2)
        y = outputs_of(net, params, x)
        _check_outputs(program, xs, y if isinstance(y, tuple) else (y,), batch or len(xs[0]))
    is_double = any(tensor.dtype is torch.float64 for tensor in (*flatten(params).values(), *xs))
    defaults: dict[str, Any] = {"precision": "float64" if is_double else "float32"}
    if "loss" not in options:
        defaults["loss"] = loss_for(net, y)
    model = OpenedModel(net, **{**defaults, **options})
    if batch is not None:
        note(
            f"open: the program was exported for exactly {plural(batch, 'example')}; it is opened for any number, as "
            "no operator in it contains that number"
        )
    model._set_params(map_tree(torch.clone, params), shape_of(x), shape_of(y))
    model._keep_state(program.state_dict, flatten(params))
    return model


def _check_bounds(
    net: Graph, exported: ExportedNetwork, examples: tuple[Tensor, ...] | None, batch: int | None
) -> None:
    """Raise LayerError for a network that exceeds the limits for one input, or for a batch of the declared size."""
    shapes = [exported.shapes[name][1:] for name in exported.inputs]
    if examples is not None:
        shapes = [shape_of(example) for example in examples]
    shape = shapes[0] if len(shapes) == 1 else tuple(shapes)
    init_within_bounds(net, shape)
    if examples is None and batch is not None and batch > 1:
        init_within_bounds(net, shape, examples=batch + 1)


def _exported_network(
    program: ExportedProgram, examples: Sequence[Tensor] | None, batch: int | None
) -> ExportedNetwork:
    """Return the calls of a program, with sizes for the number of examples that `example_count` returns.

    batch: the number of examples for which the program was exported, None for any number.
    """
    signature = program.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise PellucidError("open: the program changes its input or a buffer; export it in evaluation mode")
    constant_inputs = [spec.arg.name for spec in signature.input_specs if isinstance(spec.arg, ConstantArgument)]
    if constant_inputs:
        raise PellucidError(
            f"open: the program's input {constant_inputs[0]} is no tensor; export it without that input"
        )
    nodes = {node.name: node for node in program.graph_module.graph.nodes}
    inputs = tuple(name for name in signature.user_inputs if isinstance(name, str))
    stored_tensors = _stored_tensors(program)
    values = (*filter(torch.is_tensor, stored_tensors.values()), *(nodes[name].meta["val"] for name in inputs))
    n_examples = example_count([*(x.shape[1:] for x in examples or ()), *(value.shape for value in values)])
    if batch is None:
        sizes = _symbol_sizes([nodes[name].meta["val"] for name in inputs], examples, n_examples)
        resized_nodes = [_with_sizes(node, sizes, n_examples) for node in nodes.values()]
    else:
        resized_nodes = _resized_nodes(program, nodes, inputs, n_examples, batch)
    keys = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    calls = (
        node for node in resized_nodes if node.op == "call_function" and isinstance(node.meta["val"], (Tensor, tuple))
    )
    return ExportedNetwork(
        calls=tuple(call_of(node, n_examples) for node in calls),
        keys=keys,
        parameters=frozenset(signature.inputs_to_parameters),
        inputs=inputs,
        outputs=tuple(name for name in signature.user_outputs if isinstance(name, str)),
        tensors={name: stored_tensors[key] for name, key in _keys_by_node(program).items()},
        shapes=input_shapes(resized_nodes, n_examples),
    )


def fixed_batch(program: ExportedProgram) -> int | None:
    """Return the number of examples for which a program was exported, None for any number."""
    names = set(program.graph_signature.user_inputs)
    batches = [node.meta["val"].shape[0] for node in program.graph_module.graph.nodes if node.name in names]
    return batches[0] if batches and all(isinstance(n, int) and n == batches[0] for n in batches) else None


def _resized_nodes(
    program: ExportedProgram, nodes: Mapping[str, Any], inputs: Sequence[str], n_examples: int, batch: int
) -> list[SimpleNamespace]:
    """Return the nodes of a program exported for `batch` examples, with the shapes for `n_examples`."""
    stored_tensors = _stored_tensors(program)
    keys = _keys_by_node(program)
    shapes = {name: nodes[name].meta["val"] for name in inputs}
    if any(not isinstance(length, int) for value in shapes.values() for length in value.shape):
        raise PellucidError(
            f"open: the program takes exactly {plural(batch, 'example')} but leaves other axes free; {EXPORT_HINT}"
        )
    meta_inputs = [
        torch.empty(n_examples, *shapes[name].shape[1:], dtype=shapes[name].dtype, device="meta")
        if name in shapes
        else stored_tensors[keys[name]].to("meta")
        for name, node in nodes.items()
        if node.op == "placeholder"
    ]
    recorder = _ValueRecorder(program.graph_module)
    try:
        with torch.no_grad():
            recorder.run(*meta_inputs)
    except Exception as error:  # operators may raise any error for another number of examples
        failed_name = recorder.latest_node.name if recorder.latest_node is not None else ""
        raise PellucidError(
            f"open: the program takes exactly {plural(batch, 'example')}, and {failed_name} contains that number; "
            f"{EXPORT_HINT}"
        ) from error
    return [_with_sizes(node, {}, n_examples, recorder.values.get(name)) for name, node in nodes.items()]


class _OutputInterpreter(torch.fx.Interpreter):
    """Interpreter that runs only the nodes on which the outputs depend; no limit was checked for the others."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.needed_nodes: set[torch.fx.Node] = set()
        for node in reversed(module.graph.nodes):
            if node.op == "output" or node in self.needed_nodes:
                self.needed_nodes.update(node.all_input_nodes)

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run a node if an output depends on it, an input of the graph, or the output."""
        is_run = n in self.needed_nodes or n.op in ("placeholder", "output")
        return super().run_node(n) if is_run else None


class _MetaInterpreter(_OutputInterpreter):
    """Interpreter on the device "meta", whose tensors have a shape but no values."""

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator, with the argument device="meta" if it has a device."""
        return super().call_function(target, args, {**kwargs, "device": "meta"} if "device" in kwargs else kwargs)


class _ValueRecorder(_MetaInterpreter):
    """Interpreter on "meta" that records the values of nodes; latest_node: the last to run."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, Any] = {}
        self.latest_node: torch.fx.Node | None = None

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run a node, and record its value."""
        self.latest_node = n
        self.values[n.name] = super().run_node(n)
        return self.values[n.name]


def _stored_tensors(program: ExportedProgram) -> dict[str, Any]:
    """Return parameters, buffers and constants, by key."""
    return {**program.constants, **program.state_dict}


def _keys_by_node(program: ExportedProgram) -> dict[str, str]:
    """Return the keys of parameters, buffers and constants, by the names of their nodes."""
    signature = program.graph_signature
    return {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }


def _symbol_sizes(inputs: Sequence[Tensor], examples: Sequence[Tensor] | None, new_n_examples: int) -> dict[Any, int]:
    """Return the value of each symbolic size of the program for `new_n_examples`."""
    if examples is not None and [x.dim() for x in examples] != [x.dim() for x in inputs]:
        raise PellucidError("open: the examples do not have the program's numbers of inputs and axes")
    batch_symbols: set[Any] = set()
    other_sizes: dict[Any, int] = {}
    for index, x in enumerate(inputs):
        n_examples: Any = x.shape[0]
        if isinstance(n_examples, int):
            raise PellucidError(
                f"open: the program takes exactly {plural(n_examples, 'example')} for one of its inputs; {EXPORT_HINT}"
            )
        batch_symbols.update(n_examples.node.expr.free_symbols)
        for axis, size in enumerate(x.shape[1:], start=1):
            symbols = () if isinstance(size, int) else tuple(size.node.expr.free_symbols)
            if symbols and examples is None:
                raise PellucidError(
                    f"open: the program leaves axis {axis} of its input free; give an example (--input)"
                )
            other_sizes.update((symbol, examples[index].shape[axis]) for symbol in symbols if examples is not None)
    if not batch_symbols:
        raise PellucidError(f"open: the program's number of examples is not free; {EXPORT_HINT}")
    if len(batch_symbols) != 1:
        raise PellucidError(f"open: the program's inputs have {len(batch_symbols)} different numbers of examples")
    return {**other_sizes, next(iter(batch_symbols)): new_n_examples}


def _with_sizes(node: Any, sizes: Mapping[Any, int], n_examples: int, value: Any = None) -> SimpleNamespace:
    """Return the node with numbers instead of symbolic sizes.

    value: the node's value; None for its value in the export. Raises PellucidError for a size that depends on the
    number of examples, `n_examples`, and is not a multiple of it.
    """

    def substitute(value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            node_value = value.meta.get("val")
            return substitute(node_value) if isinstance(node_value, (torch.SymInt, int)) else value
        if isinstance(value, torch.SymInt):
            size = int(value.node.expr.subs(sizes))
            symbols = value.node.expr.free_symbols
            # a size that depends on the examples is written as a Multiple of their number
            if size % n_examples and any(sizes[symbol] == n_examples for symbol in symbols):
                raise PellucidError(f"open: {node.name}: a size is {value}, no multiple of the number of examples")
            return size
        if isinstance(value, Tensor):
            return torch.empty([substitute(size) for size in value.shape], dtype=value.dtype, device="meta")
        return type(value)(map(substitute, value)) if isinstance(value, (list, tuple)) else value

    value = node.meta.get("val") if value is None else value
    meta = {
        **node.meta,
        "val": tuple(map(substitute, value)) if isinstance(value, (list, tuple)) else substitute(value),
    }
    return SimpleNamespace(
        name=node.name, op=node.op, target=node.target, meta=meta, args=tuple(map(substitute, node.args)),
        kwargs={name: substitute(argument) for name, argument in node.kwargs.items()},
    )  # fmt: skip


def _empty_modules(paths: set[str]) -> nn.Module:
    """Return a module with empty submodules at these paths, from which `graph_of` reads which modules have children."""
    root = nn.Module()
    for path in paths:
        module = root
        for word in filter(None, path.split(".")):
            if word not in module._modules:
                module.add_module(word, nn.Module())
            module = module.get_submodule(word)
    return root


def _random_inputs(exported: ExportedNetwork, n_examples: int) -> tuple[Tensor, ...]:
    """Return `n_examples` random examples of each input."""
    rng = torch.Generator().manual_seed(0)
    first_tensor = next(iter(exported.tensors.values()), torch.zeros(1))
    dtype = first_tensor.dtype if first_tensor.dtype is torch.float64 else torch.float32
    shapes = [exported.shapes[name][1:] for name in exported.inputs]
    return tuple(torch.rand(n_examples, *shape, generator=rng, dtype=dtype) for shape in shapes)


def _check_program_bounds(program: ExportedProgram, xs: Sequence[Tensor], batch: int) -> None:
    """Raise PellucidError if the program exceeds a limit for the first `batch` examples.

    The limits of the opened network are not enough, as the program's operators may compute more than it declares.
    """
    values = [value.to("meta") for value in _placeholder_values(program, [x[:batch] for x in xs])]
    tally = Tally({}, examples=min(batch, len(xs[0])))
    with torch.no_grad(), tally:
        _MetaInterpreter(program.graph_module).run(*values)
    tally.check()


def _check_outputs(program: ExportedProgram, xs: Sequence[Tensor], outputs: Sequence[Tensor], batch: int) -> None:
    """Raise PellucidError unless outputs equal the program's for `batch` examples at a time, up to rounding errors."""
    n_examples = len(xs[0])
    batch_outputs: list[Any] = []
    for row_indices in batch_rows(n_examples, batch):
        with torch.no_grad():
            values = _placeholder_values(program, [x[row_indices] for x in xs])
            batch_outputs.append(_OutputInterpreter(program.graph_module).run(*values))
    expected = [
        torch.cat(file_outputs)[:n_examples] if batch < n_examples else file_outputs[0]
        for file_outputs in zip(*batch_outputs, strict=True)
    ]
    check_equal("open", outputs, expected, "the program's")


def _placeholder_values(program: ExportedProgram, xs: Sequence[Tensor]) -> list[Any]:
    """Return the stored tensors and the inputs in the order in which the program's graph takes them."""
    stored_tensors = _stored_tensors(program)
    keys = _keys_by_node(program)
    inputs = iter(xs)
    names = [node.name for node in program.graph_module.graph.nodes if node.op == "placeholder"]
    return [stored_tensors[keys[name]] if name in keys else next(inputs) for name in names]
