"""One library's names for one family of networks, and how a file's tensors get ours by them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.models.parts import beside
from pellucid.weights.inputs import Input
from pellucid.weights.names.dialect import Dialect

# (our name of the network, the names of a file's layers) -> our path of each layer that is known
Paths = Callable[[str, Collection[str]], dict[str, str]]


@dataclass(frozen=True)
class Naming:
    """How the files of `library` name the tensors of `models`.

    `options` are those that our functions need so that the network computes what the weights were trained for;
    `inputs` is what it was trained on, None where that is not published. `maps` is how many maps the first dense
    layer of a head reads, 0 where the head has only one. The norms of an `unscaled` network have no weight.
    """

    library: str
    models: tuple[str, ...]
    dialect: Dialect
    paths: Paths
    inputs: Input | None
    options: Mapping[str, Any] = field(default_factory=dict)
    maps: int = 0
    unscaled: bool = False


def each(path: Callable[[str], str | None]) -> Paths:
    """Return the paths that follow from each name alone, whichever network of the family it is."""
    return lambda model, layers: {layer: ours for layer in layers if (ours := path(layer)) is not None}


def table(paths: Callable[[str], Mapping[str, str]]) -> Paths:
    """Return the paths that stand in a table, made for each network of the family."""

    def known(model: str, layers: Collection[str]) -> dict[str, str]:
        held = paths(model)
        return {layer: held[layer] for layer in layers if layer in held}

    return known


def translate(naming: Naming, model: str, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors that `naming` knows, by our paths and in our layout, and those it does not, by their names.

    What is no weight, as `num_batches_tracked`, is in neither. Layouts are views: what is a gradient or a statistic
    can be translated as well.
    """
    parts = {name: naming.dialect.split(name) for name in tensors}
    paths = naming.paths(model, {part[0] for part in parts.values() if part is not None})
    known: dict[str, Tensor] = {}
    unknown: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        part = parts[name]
        if part is None or part[0] not in paths:
            if part is None or part[1]:
                unknown[name] = tensor
            continue
        path, leaf = paths[part[0]], part[1]
        target = f"{path}.{leaf}"
        if not leaf:
            continue
        if target in known:  # two names for one of ours: the second is surplus
            unknown[name] = tensor
        else:
            known[target] = naming.dialect.layout(path, tensor, naming.maps) if leaf == "weight" else tensor
    return known, unknown


def settle(naming: Naming, expected: Collection[str], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with what another form of the same network holds made ours, where `expected` says so.

    A bias before a batch norm, where ours has none: y = ((x + b) - μ) = x - (μ - b), so the running mean takes it.
    Norms that do not scale: their weight is 1. Auxiliary classifiers, which serve training only, are left out
    where the network has none.
    """
    result = dict(found)
    for path, bias in found.items():
        mean = _norm_behind(path)
        if path not in expected and mean in expected and mean in found and found[mean].shape == bias.shape:
            result[mean] = found[mean] - bias
            del result[path]
    for path, mean in found.items() if naming.unscaled else ():
        if path.endswith(".running_mean"):
            result.setdefault(f"{path.removesuffix('running_mean')}weight", torch.ones_like(mean))
    if not any(path.startswith("head.auxiliary") for path in expected):
        result = {path: tensor for path, tensor in result.items() if not path.startswith("head.auxiliary")}
    return result


def _norm_behind(path: str) -> str:
    """Return the running mean of the norm behind a convolution's bias; "" for another tensor."""
    layer, _, leaf = path.rpartition(".")
    return f"{of_kind(layer, 'bn')}.running_mean" if leaf == "bias" else ""


def of_kind(path: str, kind: str) -> str:
    """Return the path of a convolution (`kind` "conv"), or of the norm behind it ("bn")."""
    block, dot, name = path.rpartition(".")
    return f"{block}{dot}{beside(name, 'norm') if kind == 'bn' else name}"
