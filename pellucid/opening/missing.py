"""The error for operators without a layer, with the class to write, and the layers that users registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural

if TYPE_CHECKING:
    from pellucid.opening.values import CallLayer, Context


class MissingLayersError(PellucidError):
    """The error for operators without a layer. targets: these operators of PyTorch, also those with other options."""

    targets: frozenset[Any] = frozenset()


REGISTERED: dict[str, Callable[[Context], CallLayer]] = {}  # translations of operators, by name; see register_op


def missing_error(
    missing: Mapping[str, list[str]], unknown: Mapping[str, Any], targets: frozenset[Any]
) -> MissingLayersError:
    """Return the error with every operator that has no layer, and with a note: the class to write for one of them.

    missing: the modules of each operator's calls, by operator. unknown: the targets of operators for which a user can
    register a layer, by operator. targets: all operators of the calls.
    """
    descriptions = [
        f"{operator}, {plural(len(modules), 'call')}, first in {modules[0] or 'the network itself'}"
        for operator, modules in sorted(missing.items(), key=lambda item: -len(item[1]))
    ]
    error = MissingLayersError(f"open: no layer for {plural(len(missing), 'operator')}: {'; '.join(descriptions)}")
    error.targets = targets
    aten_ops = [name for name, target in unknown.items() if str(getattr(target, "namespace", "")) == "aten"]
    if aten_ops:
        error.add_note(
            f"The layer to write, for pellucid.register_op:\n\n{layer_text(aten_ops[0], unknown[aten_ops[0]])}"
        )
    return error


def layer_text(op: str, target: Any) -> str:
    """Return the source code of the class to write for an operator, with a gap for the backward pass."""
    arguments = [argument for argument in target._schema.arguments if not argument.has_default_value()]
    field_names = [argument.name for argument in arguments if str(argument.type) != "Tensor"]
    class_name = "".join(word.title() for word in op.split("_"))
    tensor_names = [argument.name for argument in arguments if str(argument.type) == "Tensor"]
    is_tuple = len(tensor_names) != 1
    input_type = "tuple[Tensor, ...]" if is_tuple else "Tensor"
    call = f"torch.ops.aten.{op}({', '.join(['*x' if is_tuple else 'x', *(f'self.{name}' for name in field_names)])})"
    field_lines = "".join(f"    {name}: float\n" for name in field_names)
    return f"""from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

import pellucid
from pellucid.operators import TensorLayer

class {class_name}Cache(NamedTuple):
    x: {input_type}

@dataclass(frozen=True)
class {class_name}(TensorLayer):
{field_lines}    def forward(self, params, x, mode):
        return {call}, {class_name}Cache(x)

    def backward(self, params, cache, dy):
        dx = ...  # the gradient{"s" if is_tuple else ""} with respect to x, from cache.x and dy
        return dx, {{}}

pellucid.register_op("aten.{op}", {class_name})"""
