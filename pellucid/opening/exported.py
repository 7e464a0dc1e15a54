"""A network of PyTorch as a list of calls of operators, from an export in which sizes show the number of examples."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError
from pellucid.opening.regions import inline_regions
from pellucid.opening.writes import writes_a_view

COUNTS = (211, 223, 227, 229, 233, 239, 241, 251)  # primes: numbers of examples for the export


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
    """One call of an operator.

    op: such as "conv2d", without the underscore of operators that write in place. arguments: by name, with Ref for
    values. module: the path of the module whose forward calls it. shape: of the output, () if that is not one
    tensor; dtype: its dtype.
    """

    name: str
    op: str
    target: Any
    arguments: dict[str, Any]
    module: str
    shape: tuple[Any, ...] = ()
    dtype: torch.dtype | None = None


@dataclass(frozen=True)
class Exported:
    """A network: calls in order, the keys of the parameters and buffers by name, inputs and outputs by name.

    tensors: parameters, buffers and other constants, by name. shapes: of the inputs and of these.
    """

    calls: tuple[Call, ...]
    keys: dict[str, str]
    parameters: frozenset[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, Tensor] = field(repr=False)
    shapes: dict[str, tuple[Any, ...]] = field(default_factory=dict[str, tuple[Any, ...]])


def export(module: nn.Module, example: Tensor | tuple[Tensor, ...], which: int = 0) -> Exported:
    """Export a module in evaluation mode; the module is unchanged.

    which: of the numbers of examples that `example_count` has. Raises PellucidError for a module that torch.export
    cannot trace.
    """
    examples = example if isinstance(example, tuple) else (example,)
    own = (*module.parameters(), *module.buffers())
    count = example_count([*(x.shape[1:] for x in examples), *(one.shape for one in own)], which)
    inputs = tuple(torch.empty(count, *x.shape[1:], dtype=x.dtype, device=x.device) for x in examples)  # never read
    program = _program(module, inputs)
    nodes = program.graph_module.graph.nodes
    signature = program.graph_signature
    keys = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    state = program.state_dict
    constants = {name: program.constants[key] for name, key in signature.inputs_to_lifted_tensor_constants.items()}
    unsaved = {name: program.constants[key] for name, key in keys.items() if key not in state}
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise PellucidError("open: the network changes its input or a buffer in evaluation mode; this is not supported")
    tensors = {name: state[key] for name, key in keys.items() if key in state} | constants | unsaved
    return Exported(
        tuple(call_of(node, count) for node in nodes if node.op == "call_function"),
        keys,
        frozenset(signature.inputs_to_parameters),
        tuple(name for name in signature.user_inputs if isinstance(name, str)),
        tuple(name for name in signature.user_outputs if isinstance(name, str)),
        tensors,
        input_shapes(nodes, count),
    )


def example_count(shapes: Iterable[Sequence[Any]], which: int = 0) -> int:
    """Return the number of examples for an export, whose multiples are taken for sizes that depend on that number.

    It is a prime that divides no size in the shapes of one example, of parameters and of buffers. A number that the
    network computes with may still be a multiple, but hardly of the first and of the second (`which`) of these primes.
    """
    sizes = {size for shape in shapes for size in shape if isinstance(size, int) and size}
    known = [one for one in COUNTS if all(size % one for size in sizes)]
    if which >= len(known):
        raise PellucidError(f"open: the network has sizes that are multiples of {', '.join(map(str, COUNTS))}")
    return known[which]


def input_shapes(nodes: Iterable[Any], count: int) -> dict[str, tuple[Any, ...]]:
    """Return the shapes of inputs, parameters, buffers and constants by name."""
    tensors = ((node.name, node.meta.get("val")) for node in nodes if node.op == "placeholder")
    return {name: _scaled(tuple(one.shape), count) for name, one in tensors if isinstance(one, Tensor)}


def _program(module: nn.Module, examples: Sequence[Tensor]) -> Any:
    """Return an exported program in evaluation mode, without operators that write into views."""
    try:
        with evaluating(module):
            with contextlib.redirect_stderr(io.StringIO()) as said:  # torch prints the graph before it raises an error
                program = torch.export.export(module, tuple(examples), strict=False)
            sys.stderr.write(said.getvalue())
            inline_regions(program.graph_module)
            return program.run_decompositions({}) if writes_a_view(program.graph_module.graph) else program
    except PellucidError:
        raise
    except Exception as error:  # whatever the module's own code raises under torch.export
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise PellucidError(
            f"open: torch.export cannot trace {type(module).__name__}: {type(error).__name__}: {why:.300}"
            f"{_place_text(error, module)}"
        ) from error


CALLS = (nn.Module.__call__.__code__, nn.Module._call_impl.__code__)  # from which torch calls a forward


def _place_text(error: Exception, module: nn.Module) -> str:
    """Return in which module and line an error arose, and the name of a module beside it; "" if that is unknown."""
    paths = {id(part): path for path, part in module.named_modules()}
    found = [
        (paths[id(own)], frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code not in CALLS
        and id(own := frame.f_locals.get(next(iter(frame.f_code.co_varnames), ""))) in paths
    ]
    if not found:
        return ""
    path, frame, line = found[-1]
    file = frame.f_code.co_filename
    text = f"; in {path or 'its forward'}, {Path(file).name} line {line}: {linecache.getline(file, line).strip():.100}"

    def is_apart(name: str) -> bool:
        """Return whether a module neither contains that one nor is in it; of the network itself, all are."""
        return bool(name) and (not path or not (f"{path}.".startswith(f"{name}.") or name.startswith(f"{path}.")))

    beside = next(filter(is_apart, paths.values()), None)
    return text if beside is None else f"{text}; a module without it can be opened, network.get_submodule({beside!r})"


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Set a module to evaluation mode, and attention to the path that has operators; restore both at the end.

    What a forward pass writes into attributes of the modules, and into their lists, dictionaries and sets, is undone as
    well, such as windows that fit the size of the image.
    """
    before = [(vars(part), dict(vars(part))) for part in module.modules()]
    was_training = module.training
    tables = {
        id(one): (one, copy(one))
        for _, own in before
        for one in own.values()
        if isinstance(one, dict | list | set | deque)
    }
    fast, logged = torch.backends.mha.get_fastpath_enabled(), logging.root.manager.disable
    try:
        module.train(False)
        torch.backends.mha.set_fastpath_enabled(False)
        logging.disable(logging.CRITICAL)  # of torch.export, which logs what it raises
        with torch.inference_mode(False), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.export calls functions that PyTorch deprecates
            warnings.filterwarnings("ignore", "The tensor attribute", UserWarning)  # assigned to, which is undone
            yield
    finally:
        logging.disable(logged)
        torch.backends.mha.set_fastpath_enabled(fast)
        if was_training:  # some modules change their weights with the mode
            module.train()
        for attributes, own in before:
            attributes.clear()
            attributes.update(own)
        for table, entries in tables.values():
            table.clear()
            table.extend(entries) if isinstance(table, list | deque) else table.update(entries)


def call_of(node: Any, count: int) -> Call:
    """Return the call of a node of an export with `count` examples."""
    target = node.target
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    module = ".".join(part.partition("@")[0] for part in stack[-1][0].split(".")) if stack else ""
    value = node.meta.get("val")
    shape = _scaled(tuple(value.shape), count) if isinstance(value, Tensor) else ()
    dtype = value.dtype if isinstance(value, Tensor) else None
    if not isinstance(target, torch._ops.OpOverload):
        arguments = {str(index): _scaled(argument, count) for index, argument in enumerate(node.args)}
        return Call(node.name, target.__name__, target, arguments, module, shape, dtype)
    op = target._schema.name.partition("::")[2].removesuffix("_")
    return Call(node.name, op, target, _arguments(node, count), module, shape, dtype)


def _arguments(node: Any, count: int) -> dict[str, Any]:
    """Return all arguments by the names in the operator's schema, defaults included."""
    found: dict[str, Any] = {}
    for index, argument in enumerate(node.target._schema.arguments):
        if index < len(node.args):
            found[argument.name] = _scaled(node.args[index], count)
        elif argument.name in node.kwargs:
            found[argument.name] = _scaled(node.kwargs[argument.name], count)
        else:
            found[argument.name] = argument.default_value
    return found


def _scaled(value: Any, count: int) -> Any:
    """Return an argument or a shape, with Multiple for integers that are multiples of the number of examples."""
    if isinstance(value, torch.fx.Node):
        return Ref(value.name)
    if isinstance(value, (list, tuple)):
        return tuple(_scaled(one, count) for one in value)
    if type(value) is int and value and value % count == 0:
        return Multiple(value // count)
    return value
