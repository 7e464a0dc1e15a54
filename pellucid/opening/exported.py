"""Export of a PyTorch network as a list of operator calls, with the sizes marked that depend on the batch size."""

import contextlib
import io
import linecache
import logging
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.base.errors import PellucidError
from pellucid.base.text import first_line
from pellucid.opening.in_place import writes_a_view
from pellucid.opening.wrapped_regions import inline_regions

# One export with a prime number instead of symbolic sizes, with which more networks fail, or two exports, which take
# twice the time. Each argument is then a number.
EXAMPLE_COUNTS = (211, 223, 227, 229, 233, 239, 241, 251)  # prime numbers of examples for the export


@dataclass(frozen=True)
class Multiple:
    """A size or an index that is `times` the number of examples."""

    times: int


@dataclass(frozen=True)
class Ref:
    """The value of a call, an input, a parameter or a buffer, by its name in the export."""

    name: str


@dataclass(frozen=True)
class Call:
    """One call of an operator."""

    name: str
    op: str  # the operator's name, such as "conv2d", without the final underscore of operators that write in place
    target: Any
    arguments: dict[str, Any]  # the arguments by name, with Ref for values
    module: str  # the path of the module whose forward calls the operator
    shape: tuple[Any, ...] = ()  # of the output, () if it is not one tensor
    dtype: torch.dtype | None = None  # of the output, None if it is not one tensor


@dataclass(frozen=True)
class ExportedNetwork:
    """An exported network, whose values have names."""

    calls: tuple[Call, ...]  # the calls in order
    keys: dict[str, str]  # the keys in the state_dict of parameters and buffers, by name
    parameters: frozenset[str]  # names of parameters and buffers
    inputs: tuple[str, ...]  # names of the inputs
    outputs: tuple[str, ...]  # names of the outputs
    tensors: dict[str, Tensor] = field(repr=False)  # parameters, buffers and other constants, by name
    # the shapes of the inputs and the tensors, by name
    shapes: dict[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])
    integers: frozenset[str] = frozenset()  # the inputs that are whole numbers


def export(
    module: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    count_index: int = 0,
    decomposed: frozenset[Any] = frozenset(),
) -> ExportedNetwork:
    """Export a module in evaluation mode; the module is unchanged.

    count_index: see `example_count`. decomposed: operators that are replaced by those of which they consist. The layers
    leave inputs as they are that the module changes in place. Raises PellucidError for a module that torch.export
    cannot trace, and for one that changes a buffer.
    """
    examples = example if isinstance(example, tuple) else (example,)
    state_tensors = (*module.parameters(), *module.buffers())
    n_examples = example_count(
        [*(x.shape[1:] for x in examples), *(tensor.shape for tensor in state_tensors)], count_index
    )
    # the values are never read
    inputs = tuple(torch.empty(n_examples, *x.shape[1:], dtype=x.dtype, device=x.device) for x in examples)
    program = _export_program(module, inputs, decomposed)
    nodes = program.graph_module.graph.nodes
    signature = program.graph_signature
    keys = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    state = program.state_dict
    constants = {name: program.constants[key] for name, key in signature.inputs_to_lifted_tensor_constants.items()}
    unsaved_tensors = {name: program.constants[key] for name, key in keys.items() if key not in state}
    # a layer has no state that its forward pass changes in evaluation mode
    if signature.buffers_to_mutate:
        raise PellucidError("open: the network changes a buffer in evaluation mode; this is not supported")
    tensors = {name: state[key] for name, key in keys.items() if key in state} | constants | unsaved_tensors
    integers = [name for name, x in zip(signature.user_inputs, inputs, strict=True) if not x.is_floating_point()]
    return ExportedNetwork(
        calls=tuple(call_of(node, n_examples) for node in nodes if node.op == "call_function"),
        keys=keys,
        parameters=frozenset(signature.inputs_to_parameters),
        inputs=tuple(name for name in signature.user_inputs if isinstance(name, str)),
        outputs=tuple(name for name in signature.user_outputs if isinstance(name, str)),
        tensors=tensors,
        shapes=input_shapes(nodes, n_examples),
        integers=frozenset(integers),
    )


def used_calls(exported: ExportedNetwork) -> Iterator[Call]:
    """Yield the calls on which the outputs depend, in order."""
    needed_names = set(exported.outputs)
    calls = list[Call]()
    for call in reversed(exported.calls):
        if call.name in needed_names:
            needed_names.update(ref_names(call.arguments))
            calls.append(call)
    return reversed(calls)


def ref_names(value: Any) -> Iterator[str]:
    """Yield the names of all values in arguments."""
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, (dict, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from ref_names(item)


def example_count(shapes: Iterable[Sequence[Any]], count_index: int = 0) -> int:
    """Return a number of examples for an export: its multiples are read as sizes that depend on the number of examples.

    It is a prime number that divides no size of an example, a parameter or a buffer: the first of these primes for
    `count_index` 0, the second for 1. Another number in the network may be a multiple of one of these primes by chance,
    but hardly of both. Raises PellucidError if there are not enough such primes.
    """
    sizes = {size for shape in shapes for size in shape if isinstance(size, int) and size}
    # a prime that divides no other size marks the sizes that depend on the number of examples
    candidates = [count for count in EXAMPLE_COUNTS if all(size % count for size in sizes)]
    if count_index >= len(candidates):
        raise PellucidError(f"open: the network has sizes that are multiples of {', '.join(map(str, EXAMPLE_COUNTS))}")
    return candidates[count_index]


def input_shapes(nodes: Iterable[Any], n_examples: int) -> dict[str, tuple[Any, ...]]:
    """Return the shapes of inputs, parameters, buffers and constants by name."""
    tensors = ((node.name, node.meta.get("val")) for node in nodes if node.op == "placeholder")
    return {
        name: _with_multiples(tuple(value.shape), n_examples) for name, value in tensors if isinstance(value, Tensor)
    }


def compositions_of(targets: Iterable[Any]) -> dict[Any, Any]:
    """Return the functions by which PyTorch composes operators of others, by operator, for those that have one."""
    compositions = torch.export.default_decompositions()
    return {target: compositions[target] for target in targets if target in compositions}


def _export_program(module: nn.Module, examples: Sequence[Tensor], decomposed: frozenset[Any]) -> Any:
    """Return an exported program in evaluation mode, without operators that write into views."""
    try:
        with evaluating(module):
            with contextlib.redirect_stderr(io.StringIO()) as text:  # torch prints the graph before it raises an error
                program = torch.export.export(module, tuple(examples), strict=False)
            sys.stderr.write(text.getvalue())
            inline_regions(program.graph_module)
            # only then: decomposed, a program has twice as many nodes, and layers such as norms are not recognized
            if decomposed or writes_a_view(program.graph_module.graph):
                return program.run_decompositions(compositions_of(decomposed))
            return program
    except PellucidError:
        raise
    except Exception as error:  # the module's own code may raise any error under torch.export
        # The message has the error's text and its line in the network; the rest is hundreds of lines of PyTorch.
        raise PellucidError(_export_message(error, module)) from None


def _export_message(error: Exception, module: nn.Module) -> str:
    """Return what is wrong with a module that torch.export cannot trace, what to do, and where."""
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode  # imported by the export already

    name, location = type(module).__name__, _error_location(error, module)
    if isinstance(error, GuardOnDataDependentSymNode):
        return (
            f"open: the forward of {name} branches on a tensor's value; choose between two results with "
            f"torch.where(condition, a, b), or branch (an assert, too) outside of the network{location}"
        )
    if "fake tensor in the exported program constant's list" in str(error):
        return (
            f"open: the forward of {name} replaces a weight or an attribute by a computed tensor, as in "
            "self.conv.weight.data = ...; do that after each step of the optimizer, or compute the weight and use it "
            "by a function such as F.conv2d"
        )
    return f"open: torch.export cannot trace {name}: {type(error).__name__}: {first_line(error):.300}{location}"


CALL_CODE = (nn.Module.__call__.__code__, nn.Module._call_impl.__code__)  # with which PyTorch calls a forward


def _error_location(error: Exception, module: nn.Module) -> str:
    """Return the module and line that raised an error, and a module separate from it, as text; "" if unknown."""
    paths = {id(submodule): path for path, submodule in module.named_modules()}
    frames = [
        (paths[id(owner)], frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code not in CALL_CODE
        and id(owner := frame.f_locals.get(next(iter(frame.f_code.co_varnames), ""))) in paths
    ]
    if not frames:
        return ""
    path, frame, line = frames[-1]
    file_name = frame.f_code.co_filename
    code = linecache.getline(file_name, line).strip()
    text = f"; in {path or 'its forward'}, {Path(file_name).name} line {line}: {code:.100}"

    def is_separate(name: str) -> bool:
        """Return whether a module neither contains the failed one nor is in it; True if the network itself failed."""
        return bool(name) and (not path or not (f"{path}.".startswith(f"{name}.") or name.startswith(f"{path}.")))

    separate_path = next(filter(is_separate, paths.values()), None)
    return (
        text
        if separate_path is None
        else f"{text}; a module without it can be opened, network.get_submodule({separate_path!r})"
    )


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Set a module to evaluation mode, and switch off PyTorch's fast path for attention; restore both at the end.

    Attributes of the modules, and the lists, dictionaries and sets in them, are restored as well if a forward pass
    writes into them, for example windows for the size of the image.
    """
    saved_attributes = [(vars(submodule), dict(vars(submodule))) for submodule in module.modules()]
    was_training = module.training
    saved_containers: dict[int, tuple[Any, Any]] = {}  # (container, its contents) by identity
    for _, values in saved_attributes:
        for value in values.values():
            if isinstance(value, dict | list | set | deque):
                saved_containers[id(value)] = (value, copy(value))
    fastpath_enabled = torch.backends.mha.get_fastpath_enabled()
    disabled_level = logging.root.manager.disable
    try:
        module.train(False)
        torch.backends.mha.set_fastpath_enabled(False)
        logging.disable(logging.CRITICAL)  # torch.export also logs the errors that it raises
        with torch.inference_mode(False), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.export calls functions that PyTorch deprecates
            warnings.filterwarnings("ignore", "The tensor attribute", UserWarning)  # the attribute is restored
            yield
    finally:
        logging.disable(disabled_level)
        torch.backends.mha.set_fastpath_enabled(fastpath_enabled)
        if was_training:  # some modules change their weights with the mode
            module.train()
        for attributes, values in saved_attributes:
            attributes.clear()
            attributes.update(values)
        for container, entries in saved_containers.values():
            container.clear()
            container.extend(entries) if isinstance(container, list | deque) else container.update(entries)


def without_tied_names(
    calls: list[Call], exported: ExportedNetwork, module: nn.Module, tied_names: dict[str, str]
) -> list[Call]:
    """Return the calls with one name for each parameter, and with one path for each module that has parameters.

    A module with several paths has the path in the keys of its parameters.
    """
    unique_keys = [exported.keys[name] for name in exported.keys if name not in tied_names]
    owners = {key.rpartition(".")[0] for key in unique_keys}
    modules = dict(module.named_modules(remove_duplicate=False))
    paths = {id(submodule): path for path, submodule in modules.items() if path in owners}

    def renamed(value: Any) -> Any:
        if isinstance(value, Ref):
            return Ref(tied_names.get(value.name, value.name))
        return tuple(map(renamed, value)) if isinstance(value, tuple) else value

    return [
        replace(
            call,
            module=paths.get(id(modules.get(call.module)), call.module),
            arguments={name: renamed(value) for name, value in call.arguments.items()},
        )
        for call in calls
    ]


def unshared_keys(calls: list[Call], exported: ExportedNetwork) -> dict[str, str]:
    """Return the keys of the parameters and buffers that only one operator of one module reads, by name.

    The network's outputs count as one more operator, so a parameter that is also an output is not among them.
    """
    readers: dict[str, set[tuple[str, str]]] = {name: {("", "output")} for name in exported.outputs}
    for call in calls:
        for name in ref_names(call.arguments):
            if name in exported.keys:
                readers.setdefault(name, set()).add((call.module, call.op))
    shared = {name for name, operators in readers.items() if len(operators) > 1}
    return {name: key for name, key in exported.keys.items() if name not in shared}


def call_of(node: Any, n_examples: int) -> Call:
    """Return the Call for a node of an export with `n_examples`."""
    target = node.target
    module_stack = list((node.meta.get("nn_module_stack") or {}).values())  # (path, type) of each calling module
    module_path = ".".join(name.partition("@")[0] for name in module_stack[-1][0].split(".")) if module_stack else ""
    value = node.meta.get("val")
    shape = _with_multiples(tuple(value.shape), n_examples) if isinstance(value, Tensor) else ()
    dtype = value.dtype if isinstance(value, Tensor) else None
    if not isinstance(target, torch._ops.OpOverload):
        arguments = {str(index): _with_multiples(argument, n_examples) for index, argument in enumerate(node.args)}
        return Call(node.name, target.__name__, target, arguments, module=module_path, shape=shape, dtype=dtype)
    op = target._schema.name.partition("::")[2].removesuffix("_")
    arguments = _arguments_by_name(node, n_examples)
    return Call(node.name, op, target, arguments, module=module_path, shape=shape, dtype=dtype)


def _arguments_by_name(node: Any, n_examples: int) -> dict[str, Any]:
    """Return all arguments by the names in the operator's schema, defaults included."""
    arguments: dict[str, Any] = {}
    for index, argument in enumerate(node.target._schema.arguments):
        if index < len(node.args):
            arguments[argument.name] = _with_multiples(node.args[index], n_examples)
        elif argument.name in node.kwargs:
            arguments[argument.name] = _with_multiples(node.kwargs[argument.name], n_examples)
        else:
            arguments[argument.name] = argument.default_value
    return arguments


def _with_multiples(value: Any, n_examples: int) -> Any:
    """Return an argument or a shape, with Multiple for integers that are multiples of the number of examples."""
    if isinstance(value, torch.fx.Node):
        return Ref(value.name)
    if isinstance(value, (list, tuple)):
        return tuple(_with_multiples(item, n_examples) for item in value)
    if type(value) is int and value and value % n_examples == 0:
        return Multiple(value // n_examples)
    return value
