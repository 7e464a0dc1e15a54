"""A network of PyTorch as a list of calls of operators, from two exports with different batch sizes."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError
from pellucid.opening.regions import inline_regions
from pellucid.opening.writes import writes_a_view

SIZES = (2, 3)  # batch sizes of the exports: what is equal in both does not depend on the batch size


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


def export(module: nn.Module, example: Tensor | tuple[Tensor, ...]) -> Exported:
    """Export a module in evaluation mode; the module is unchanged.

    Raises PellucidError for a module that torch.export cannot trace, and for a computation that depends on the number
    of examples in another way than by multiples of it.
    """
    examples = example if isinstance(example, tuple) else (example,)
    programs = [_program(module, tuple(torch.cat([x[:1]] * size) for x in examples)) for size in SIZES]
    first, second = (program.graph_module.graph for program in programs)
    nodes = list(zip(first.nodes, second.nodes, strict=False))
    if len(first.nodes) != len(second.nodes) or any(a.target != b.target for a, b in nodes if a.op == "call_function"):
        raise PellucidError("open: the network computes something else for another number of examples")
    signature = programs[0].graph_signature
    keys = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    state = programs[0].state_dict
    constants = {name: programs[0].constants[key] for name, key in signature.inputs_to_lifted_tensor_constants.items()}
    unsaved = {name: programs[0].constants[key] for name, key in keys.items() if key not in state}
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        raise PellucidError("open: the network changes its input or a buffer in evaluation mode; this is not supported")
    tensors = {name: state[key] for name, key in keys.items() if key in state} | constants | unsaved
    return Exported(
        tuple(_call(a, b) for a, b in nodes if a.op == "call_function"),
        keys,
        frozenset(signature.inputs_to_parameters),
        tuple(name for name in signature.user_inputs if isinstance(name, str)),
        tuple(name for name in signature.user_outputs if isinstance(name, str)),
        tensors,
        {a.name: _scaled(tuple(a.meta["val"].shape), tuple(b.meta["val"].shape), a.name)
         for a, b in nodes if a.op == "placeholder" and isinstance(a.meta.get("val"), Tensor)},
    )  # fmt: skip


def _program(module: nn.Module, examples: Sequence[Tensor]) -> Any:
    """Return an exported program in evaluation mode, without operators that write into views."""
    try:
        with evaluating(module):
            program = torch.export.export(module, tuple(examples), strict=False)
            inline_regions(program.graph_module)
            return program.run_decompositions({}) if writes_a_view(program.graph_module.graph) else program
    except PellucidError:
        raise
    except Exception as error:  # whatever the module's own code raises under torch.export
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise PellucidError(
            f"open: torch.export cannot trace {type(module).__name__}: {type(error).__name__}: {why:.300}"
        ) from error


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Set a module to evaluation mode, and attention to the path that has operators; restore both at the end."""
    modes = {part: part.training for part in module.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        module.train(False)
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.inference_mode(False), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch.export calls functions that PyTorch deprecates
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, mode in modes.items():
            part.training = mode


def _call(node: Any, other: Any) -> Call:
    """Return the call of a node; other: the node of the second export."""
    target = node.target
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    module = ".".join(part.partition("@")[0] for part in stack[-1][0].split(".")) if stack else ""
    value, second = node.meta.get("val"), other.meta.get("val")
    is_one = isinstance(value, Tensor) and isinstance(second, Tensor)
    shape = _scaled(tuple(value.shape), tuple(second.shape), node.name) if is_one else ()
    dtype = value.dtype if is_one else None
    if not isinstance(target, torch._ops.OpOverload):
        return Call(node.name, target.__name__, target, _positional(node, other), module, shape, dtype)
    op = target._schema.name.partition("::")[2].removesuffix("_")
    return Call(node.name, op, target, _arguments(node, other), module, shape, dtype)


def _arguments(node: Any, other: Any) -> dict[str, Any]:
    """Return all arguments by the names in the operator's schema, defaults included."""
    found: dict[str, Any] = {}
    for index, argument in enumerate(node.target._schema.arguments):
        if index < len(node.args):
            found[argument.name] = _scaled(node.args[index], other.args[index], node.name)
        elif argument.name in node.kwargs:
            found[argument.name] = _scaled(node.kwargs[argument.name], other.kwargs[argument.name], node.name)
        else:
            found[argument.name] = argument.default_value
    return found


def _positional(node: Any, other: Any) -> dict[str, Any]:
    pairs = zip(node.args, other.args, strict=True)
    return {str(index): _scaled(a, b, node.name) for index, (a, b) in enumerate(pairs)}


def _scaled(a: Any, b: Any, where: str) -> Any:
    """Return the argument of both exports, with Multiple for integers that are multiples of the batch size."""
    if isinstance(a, torch.fx.Node):
        return Ref(a.name)
    if isinstance(a, (list, tuple)) and len(a) == len(b):
        return tuple(_scaled(x, y, where) for x, y in zip(a, b, strict=True))
    if type(a) is int and a != b:
        if a * SIZES[1] == b * SIZES[0] and a % SIZES[0] == 0:
            return Multiple(a // SIZES[0])
    elif a == b:
        return a
    raise PellucidError(
        f"open: {where}: an argument is {a} for {SIZES[0]} examples and {b} for {SIZES[1]}, no multiple of the number"
    )
