"""Operators without a layer: what is missing, the class to write, and the layers that users registered."""

from collections.abc import Callable, Mapping
from typing import Any

from pellucid.errors import PellucidError
from pellucid.opening.values import CallLayer, Context
from pellucid.text import plural

REGISTERED: dict[str, Callable[[Context], CallLayer]] = {}  # translations of operators, by name; see register_op


def missing_error(missing: Mapping[str, list[str]], unknown: Mapping[str, Any]) -> PellucidError:
    """Return the error with every operator that has no layer, and with a note: the class to write for one of them.

    missing: by operator, the modules of its calls. unknown: operators that a registered layer can translate.
    """
    listed = [
        f"{what}, {plural(len(where), 'call')}, first in {where[0] or 'the network itself'}"
        for what, where in sorted(missing.items(), key=lambda item: -len(item[1]))
    ]
    error = PellucidError(f"open: no layer for {plural(len(missing), 'operator')}: {'; '.join(listed)}")
    ours = [op for op, target in unknown.items() if str(getattr(target, "namespace", "")) == "aten"]
    if ours:
        error.add_note(f"The layer to write, for pellucid.register_op:\n\n{layer_text(ours[0], unknown[ours[0]])}")
    return error


def layer_text(op: str, target: Any) -> str:
    """Return the class to write for an operator, as text."""
    arguments = [one for one in target._schema.arguments if not one.has_default_value()]
    fields = [one.name for one in arguments if str(one.type) != "Tensor"]
    title = "".join(part.title() for part in op.split("_"))
    names = [one.name for one in arguments if str(one.type) == "Tensor"]
    many = len(names) != 1
    kind = "tuple[Tensor, ...]" if many else "Tensor"
    call = f"torch.ops.aten.{op}({', '.join(['*x' if many else 'x', *(f'self.{name}' for name in fields)])})"
    declared = "".join(f"    {name}: float\n" for name in fields)
    return f"""from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

import pellucid
from pellucid.operators import TensorLayer

class {title}Cache(NamedTuple):
    x: {kind}

@dataclass(frozen=True)
class {title}(TensorLayer):
{declared}    def forward(self, params, x, mode):
        return {call}, {title}Cache(x)

    def backward(self, params, cache, dy):
        dx = ...  # the gradient{"s" if many else ""} with respect to x, from cache.x and dy
        return dx, {{}}

pellucid.register_op("aten.{op}", {title})"""
