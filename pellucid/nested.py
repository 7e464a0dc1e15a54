"""Conversion of nested dicts of tensors to flat dicts by path and to lists, and back; entries of nested JSON values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pellucid.layers.base import Params


def flatten(params: Params) -> dict[str, Tensor]:
    """Return the tensors of `params` by dotted path (`block1.conv.weight`), in the order of the nested dicts.

    A parameter with the name "" has the path of its layer.
    """
    flat: dict[str, Tensor] = {}
    for name, value in params.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{path}" if path else name: leaf for path, leaf in flatten(value).items()})
        else:
            flat[name] = value
    return flat


def nest(template: Params, flat: Mapping[str, Tensor], prefix: str = "") -> Params:
    """Return the tensors of `flat`, by dotted path, as dicts nested like `template`, including its empty dicts."""
    return {
        name: nest(value, flat, f"{prefix}{name}.")
        if isinstance(value, dict)
        else flat[f"{prefix}{name}" if name else prefix.removesuffix(".")]
        for name, value in template.items()
    }


def params_at(params: Params, path: str) -> Params:
    """Return the parameters of the layer at a path; {} if it has none.

    Names of layers may contain dots, as those of opened networks do.
    """
    if not path:
        return params
    for name, value in params.items():
        is_on_the_way = isinstance(value, dict) and f"{path}.".startswith(f"{name}.")
        if is_on_the_way and (found := params_at(value, path[len(name) + 1 :])):
            return found
    return {}


def map_tree(f: Callable[[Tensor], Tensor], params: Params) -> Params:
    """Return nested dicts like `params` with `f` applied to each tensor."""
    return {name: map_tree(f, value) if isinstance(value, dict) else f(value) for name, value in params.items()}


def leaves(tree: Params, into: list[Tensor] | None = None) -> list[Tensor]:
    """Return the tensors of nested dicts in order; if `into` is given, append them to it."""
    into = [] if into is None else into
    for value in tree.values():
        if type(value) is dict:
            leaves(value, into)
        else:
            into.append(value)
    return into


def shared_paths(first: Params, second: Params) -> list[str]:
    """Return the paths of the tensors that two nested dicts have with the same shape, in the order of the second."""
    shapes = {path: tensor.shape for path, tensor in flatten(first).items()}
    return [path for path, tensor in flatten(second).items() if shapes.get(path) == tensor.shape]


def dtype_of(params: Params) -> torch.dtype:
    """Return the dtype for a network's inputs: float64 if one of its parameters is, otherwise float32."""
    return torch.float64 if any(tensor.dtype is torch.float64 for tensor in leaves(params)) else torch.float32


def entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of all entries of dicts and lists, at any depth; entries of lists have the name ""."""
    for name, entry in value.items() if isinstance(value, dict) else (("", item) for item in value):
        yield name, entry
        if isinstance(entry, (dict, list)):
            yield from entries(entry)
