"""Assembly of the graph of an opened network: nodes, names, parameters and constants."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from pellucid.base.errors import PellucidError
from pellucid.base.limits import LIMITS_HINT, MAX_PROGRAM_CONSTANT_WORK, MAX_PROGRAM_CONSTANTS, scaled_limit
from pellucid.combine import Graph
from pellucid.layers.base import Params
from pellucid.network.bounds import Tally
from pellucid.opening import choice_calls, function_calls, layer_calls, pooling_calls, tensor_calls
from pellucid.opening.exported import (
    Call,
    ExportedNetwork,
    Multiple,
    Ref,
    ref_names,
    unshared_keys,
    used_calls,
    without_tied_names,
)
from pellucid.opening.missing import REGISTERED, missing_error
from pellucid.opening.model import memory_key
from pellucid.opening.output_parts import has_several_outputs, output_part_layer
from pellucid.opening.recurrent_calls import RECURRENT_LAYERS, recurrent_output
from pellucid.opening.values import CallLayer, Context, Unsupported, unused_name
from pellucid.operators import Expand, Fixed, Learned, ToShape

TRANSLATIONS = {
    **layer_calls.TRANSLATIONS,
    **pooling_calls.TRANSLATIONS,
    **tensor_calls.TRANSLATIONS,
    **function_calls.TRANSLATIONS,
    **choice_calls.TRANSLATIONS,
}
OUTPUTS = {**pooling_calls.OUTPUTS, **choice_calls.OUTPUTS}  # of operators with several, by operator
INPUT = "input"
INTEGERS = (torch.int64, torch.int32)
FOLDING_COUNTS = (2, 3)  # numbers of examples for which constants that depend on it are computed
# Operators that read only the shape of their first input.
SHAPE_ONLY_OPS = ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "zero")


def graph_of(exported: ExportedNetwork, module: nn.Module, from_file: bool = False) -> tuple[Graph, Params]:
    """Return the graph and the parameters of an exported module.

    from_file: whether constants are computed only within MAX_PROGRAM_CONSTANTS and MAX_PROGRAM_CONSTANT_WORK. Raises
    PellucidError, which lists every operator that has no layer, with its number of calls and the path of the first
    call; a note of the error contains the class to write.
    """
    return _GraphBuilder(exported, module, from_file).build()


class _GraphBuilder:
    """Builder of a graph: the nodes and parameters of the calls translated so far."""

    def __init__(self, exported: ExportedNetwork, module: nn.Module, from_file: bool) -> None:
        self.exported = exported
        self.folding_tally = Tally({}) if from_file else None
        # The graph is flat, with dots in the names of nodes: in 35 of 155 networks, modules are no contiguous runs of
        # operators, and paths and keys are thus those of the state_dict.
        self.parents = {
            path for path, submodule in module.named_modules() if next(submodule.children(), None) is not None
        }
        tied_names = _tied_names(exported)  # the first name of each tied tensor, by its other names
        self.calls = without_tied_names(list(used_calls(exported)), exported, module, tied_names)
        self.calls_by_name = {call.name: call for call in self.calls}
        self.keys = unshared_keys(self.calls, exported)
        self.shapes = dict(exported.shapes)
        self.constants: dict[str, Any] = {
            name: tensor for name, tensor in exported.tensors.items() if name not in exported.parameters
        }
        self.varying_constants: dict[str, tuple[Any, Any]] = {}  # values for both FOLDING_COUNTS
        modules = dict(module.named_modules())
        # by module: in evaluation mode, in which networks are exported, it calls no dropout
        self.attention_dropout = {
            path: submodule.dropout
            for path, submodule in module.named_modules(remove_duplicate=False)
            if isinstance(submodule, nn.MultiheadAttention) and type(submodule).forward is nn.MultiheadAttention.forward
        }
        single_input = next(name for name in (INPUT, f"{INPUT}~2") if name not in modules)
        free_names = tuple(f"{name}~{INPUT}" if name in modules else name for name in exported.inputs)
        input_names = (single_input,) if len(exported.inputs) == 1 else free_names
        self.inputs = input_names
        self.graph_names = dict(zip(exported.inputs, input_names, strict=True))  # by names in the export
        self.nodes: dict[str, tuple[Any, ...]] = {}
        self.params: Params = {}
        self.owners = {key.rpartition(".")[0] for key in exported.keys.values()}
        self.reserved_names = {*input_names, *exported.keys.values(), *self.owners}
        self.constant_names = self._constant_names()
        self.ops_by_module: dict[str, set[str]] = {}  # the operators that each module calls itself
        for call in self.calls:
            if call.name not in self.constant_names:
                self.ops_by_module.setdefault(call.module, set()).add(call.op)
        self.next_suffixes: dict[str, int] = {}
        self.missing_calls: dict[str, list[str]] = {}
        self.masks = {call.name for call in self.calls if call.dtype is torch.bool}
        self.integers = {call.name for call in self.calls if call.dtype in INTEGERS} | exported.integers
        self.missing_targets: set[Any] = set()  # the operators of the calls without a layer
        self.unknown_targets: dict[str, Any] = {}  # operators without a translation, by name

    def build(self) -> tuple[Graph, Params]:
        """Translate all calls; raises PellucidError for calls without a layer."""
        for call in self.calls:
            if call.name in self.constant_names:
                self._fold_constant(call)
            else:
                self._add_call(call)
            self.shapes[call.name] = call.shape
        if self.missing_calls:
            raise missing_error(self.missing_calls, self.unknown_targets, frozenset(self.missing_targets))
        try:
            outputs = tuple(self._node_name(name) for name in self.exported.outputs)
        except Unsupported as error:
            raise PellucidError(f"open: an output of the network: {error}") from error
        return Graph(self.nodes, outputs, self.inputs), self.params

    def _constant_names(self) -> set[str]:
        """Return the names of values that do not depend on an input, a parameter or a random number."""
        constants = set(self.constants)
        for call in self.calls:
            is_random = torch.Tag.nondeterministic_seeded in getattr(call.target, "tags", ())
            if call.op in SHAPE_ONLY_OPS or (
                not is_random and all(name in constants for name in ref_names(call.arguments))
            ):
                constants.add(call.name)
        return constants

    def _fold_constant(self, call: Call) -> None:
        """Compute a constant, for both FOLDING_COUNTS if it depends on the number of examples."""
        if not _has_batch(call) and not any(name in self.varying_constants for name in ref_names(call.arguments)):
            self.constants[call.name] = self._compute(call, self._argument_values(call, 0, 0))
            return
        first, second = (
            self._compute(call, self._argument_values(call, count_index, n_examples), n_examples)
            for count_index, n_examples in enumerate(FOLDING_COUNTS)
        )
        if isinstance(first, Tensor) and first.shape == second.shape and torch.equal(first, second):
            self.constants[call.name] = first
        else:
            self.varying_constants[call.name] = first, second

    def _argument_values(self, call: Call, count_index: int, n_examples: int) -> dict[str, Any]:
        """Return the values that a constant is computed from, by name, for the number of examples at `count_index`.

        An argument that is no constant is an uninitialized tensor, for operators that read its shape.
        """
        values: dict[str, Any] = {}
        for name in ref_names(call.arguments):
            if name in self.varying_constants:
                values[name] = self.varying_constants[name][count_index]
            elif name in self.constants:
                values[name] = self.constants[name]
            else:  # expanded, so that the memory does not grow with the shape
                shape = _concrete_shape(self.shapes[name], n_examples)
                values[name] = torch.empty((), dtype=call.dtype).expand(shape)
        return values

    def _compute(self, call: Call, values: dict[str, Any], n_examples: int = 0) -> Any:
        """Return the value of a constant; raises PellucidError for one that exceeds the limits on files."""
        if self.folding_tally is not None:
            _check_folding(self.folding_tally, call, values, n_examples)
        return _compute(call, values, n_examples)

    def _add_call(self, call: Call) -> None:
        """Add the node for a call, or record in `missing_calls` why no layer exists for it."""
        try:
            translation = self._translation(call)
            if isinstance(translation, CallLayer):
                self.graph_names[call.name] = self._add_node(call, translation)
            elif translation is not None:
                is_node = translation in self.nodes or translation in self.inputs
                self.graph_names[call.name] = translation if is_node else self._node_name(translation)
        except (Unsupported, PellucidError) as error:
            self.missing_targets.add(call.target)
            self.missing_calls.setdefault(f"{call.op} ({error})" if str(error) else call.op, []).append(call.module)

    def _translation(self, call: Call) -> CallLayer | str | None:
        """Return the layer of a call, or the name of the value that it returns unchanged.

        None for a call with several outputs; each output that is read has a layer, see `output_part_layer`.
        """
        context = Context(
            call,
            self.shapes,
            self.keys,
            self.constants,
            self.masks,
            self.integers,
            self.varying_constants,
            self.attention_dropout.get(call.module, 0.0),
        )
        has_outputs = call.op in OUTPUTS and call.dtype is None
        if has_outputs or has_several_outputs(call) or call.op in RECURRENT_LAYERS:
            return None
        if call.op == "getitem":
            producer = self.calls_by_name[call.arguments["0"].name]
            if producer.op in RECURRENT_LAYERS:
                return recurrent_output(replace(context, call=producer), call.arguments["1"], self.varying_constants)
            if producer.op in OUTPUTS:
                return OUTPUTS[producer.op](replace(context, call=producer), call.arguments["1"])
            return output_part_layer(call, self.calls_by_name, self.shapes)
        translate = TRANSLATIONS.get(call.op, REGISTERED.get(call.op))
        if translate is None:
            self.unknown_targets[call.op] = call.target
            raise Unsupported
        return translate(context)

    def _add_node(self, call: Call, call_layer: CallLayer, path: str = "") -> str:
        """Add the nodes of a layer and of the layers among its sources, and return its name, by default after the call.

        A second call of a module with parameters reuses the layer of the first call; raises Unsupported for other
        options of the layer.
        """
        default_path = self._node_path(call)
        sources = [
            self._add_node(call, source, f"{default_path}.{type(source.layer).__name__.lower()}")
            if isinstance(source, CallLayer)
            else self._node_name(source)
            for source in call_layer.sources
        ]
        if call_layer.with_network_input:
            sources.append(self.inputs[0])
        owner = call.module if call_layer.own_params else None
        if owner is not None and owner in self.nodes:
            if self.nodes[owner][0] != call_layer.layer:
                raise Unsupported("called again with other options")
            name = self._unused_name(owner)
            self.nodes[name] = (owner, *sources)
            self.params[name] = {}
        else:
            name = owner or self._unused_name(path or default_path)
            self.nodes[name] = (call_layer.layer, *sources)
            self.params[name] = {param: self.exported.tensors[value] for param, value in call_layer.own_params.items()}
        return name

    def _node_path(self, call: Call) -> str:
        """Return the path of a module that calls no other operator, else that path with the operator's name.

        The path of a module with parameters is reserved for the layer that owns them.
        """
        is_only_call = call.module not in self.parents and len(self.ops_by_module[call.module]) == 1
        if call.module and is_only_call and call.module not in self.owners:
            return call.module
        return f"{call.module}.{call.op}" if call.module else call.op

    def _unused_name(self, name: str) -> str:
        """Return the name, or if it is in use, the name with the first unused suffix of ~2, ~3 ..."""
        return unused_name(name, lambda path: path in self.nodes or path in self.reserved_names, self.next_suffixes)

    def _node_name(self, name: str) -> str:
        """Return the name in the graph of a value; parameters and constants become nodes when they are first read."""
        if name in self.graph_names:
            return self.graph_names[name]
        if name in self.exported.parameters:
            tensor = self.exported.tensors[name]
            layer = None
        elif name in self.constants:
            tensor = self.constants[name]
            dtype = "float32" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
            layer = Fixed(tuple(tensor.shape), dtype)
        elif name in self.varying_constants:
            return self._repeated_node(name)
        else:  # a call without a layer, which is in missing_calls
            return self.inputs[0]
        key = self.exported.keys.get(name)
        node = key if key is not None else self._unused_name(name)
        self.nodes[node] = (layer or Learned(tuple(tensor.shape)),)
        # without a name of its own, so that its path is the key in the state_dict, also of class tokens and tables
        self.params[node] = {"": tensor}
        self.graph_names[name] = node
        return node

    def _repeated_node(self, name: str) -> str:
        """Return the name of a node that repeats a constant of one example for all examples.

        Raises Unsupported for a constant that is not such a repetition.
        """
        first, second = self.varying_constants[name]
        node = self._unused_name(name)
        rows_per_example = len(first) // FOLDING_COUNTS[0] if isinstance(first, Tensor) and first.dim() else 0
        example = first[:rows_per_example] if rows_per_example else first
        counts = zip((first, second), FOLDING_COUNTS, strict=True)
        if not rows_per_example or not all(
            torch.equal(x, example.repeat(n_examples, *(1,) * (x.dim() - 1))) for x, n_examples in counts
        ):
            raise Unsupported("it reads a constant that depends on the number of examples")
        self.constants[node] = example[None]
        added_nodes = {
            "expand": (Expand((0, *(-1,) * first.dim())), self._node_name(node), self.inputs[0]),
            "rows": (ToShape((-1, *example.shape[1:])), self._unused_name(f"{name}.expand")),
        }
        for suffix, added_node in added_nodes.items():
            self.graph_names[name] = self._unused_name(f"{name}.{suffix}")
            self.nodes[self.graph_names[name]] = added_node
            self.params[self.graph_names[name]] = {}
        return self.graph_names[name]


def _has_batch(call: Call) -> bool:
    """Return whether an argument depends on the number of examples."""
    return "Multiple(" in repr((call.arguments, call.shape))


def _concrete_shape(shape: tuple[Any, ...], n_examples: int) -> list[int]:
    """Return a shape for a number of examples."""
    return [size.times * n_examples if isinstance(size, Multiple) else size for size in shape]


def _compute(call: Call, constants: dict[str, Any], n_examples: int = 0) -> Any:
    """Return the result of a call on constants, for `n_examples`; raises PellucidError if the call fails."""

    def substitute(value: Any) -> Any:
        if isinstance(value, Ref):
            return constants[value.name]
        if isinstance(value, Multiple):
            return value.times * n_examples
        return [substitute(item) for item in value] if isinstance(value, tuple) else value

    arguments = {name: substitute(value) for name, value in call.arguments.items()}
    schema = call.target._schema.arguments if isinstance(call.target, torch._ops.OpOverload) else ()
    keyword_arguments = {argument.name: arguments[argument.name] for argument in schema if argument.kwarg_only}
    try:
        with torch.no_grad():
            return call.target(
                *(value for name, value in arguments.items() if name not in keyword_arguments), **keyword_arguments
            )
    except (RuntimeError, IndexError, ValueError) as error:  # sizes may fit only the exported number of examples
        raise PellucidError(
            f"open: {call.module or 'the network itself'}: {call.op} of constants fails for another number of "
            f"examples: {' '.join(str(error).split()):.200}"
        ) from error


def _check_folding(tally: Tally, call: Call, values: dict[str, Any], n_examples: int) -> None:
    """Add a call on constants to a tally, by running it without values; raises PellucidError above the limits.

    Operators whose shape depends on values, such as nonzero, cannot run without values and are refused.
    """
    meta_values = tree_map(_on_meta, values)
    arguments = dict(call.arguments)
    if "device" in arguments:
        arguments["device"] = torch.device("meta")
    with torch.device("meta"), tally:
        _compute(replace(call, arguments=arguments), meta_values, n_examples)
    has_cost = call.op in choice_calls.COSTLY or call.op not in TRANSLATIONS
    if torch.Tag.pointwise not in getattr(call.target, "tags", ()) and has_cost:
        n_values = sum(value.numel() for value in tree_leaves(meta_values) if isinstance(value, Tensor))
        tally.n_multiply_adds += round(n_values**1.5)  # of operators on matrices, such as a decomposition
    if tally.n_output_values > scaled_limit(MAX_PROGRAM_CONSTANTS) or tally.n_multiply_adds > scaled_limit(
        MAX_PROGRAM_CONSTANT_WORK
    ):
        raise PellucidError(
            f"open: {call.module or 'the network itself'}: {call.op} computes constants of more than "
            f"{scaled_limit(MAX_PROGRAM_CONSTANTS):,} values or {scaled_limit(MAX_PROGRAM_CONSTANT_WORK):,} "
            f"multiply-adds together with the calls before it; {LIMITS_HINT}"
        )


def _on_meta(value: Any) -> Any:
    """Return a tensor on "meta" with the strides of `value`, which show whether it is expanded; others unchanged."""
    if not isinstance(value, Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def _tied_names(exported: ExportedNetwork) -> dict[str, str]:
    """Return the name of the first parameter or buffer with the same memory, by the names of the later ones."""
    first_names: dict[tuple[Any, ...], str] = {}
    tied_names: dict[str, str] = {}
    for name in exported.keys:
        tensor = exported.tensors.get(name)
        if isinstance(tensor, Tensor) and tensor.numel():
            original = first_names.setdefault(memory_key(tensor), name)
            if original != name:
                tied_names[name] = original
    return tied_names
