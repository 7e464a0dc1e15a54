"""Tensor names of other libraries, and conversion of names and layouts to ours."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any, Literal

import torch
from torch import Tensor

from pellucid.models.parts import beside

DENSE_OVER_MAPS = "head.dense1"  # reads flattened maps, whose channels lie last in Keras and first here

# From a tensor's name in a file: the layer's name there and our tensor's name, "" for what is not a weight; None for
# names of another form.
Split = Callable[[str], tuple[str, str] | None]


@dataclass(frozen=True)
class Dialect:
    """The tensor names and axis orders of one library: `split(name)`, `layout(path, tensor, maps)` with our axes.

    path: our layer's. maps: number of maps that the layer DENSE_OVER_MAPS reads, 0 in networks without it.
    """

    split: Split
    layout: Callable[[str, Tensor, int], Tensor]


_KERAS = {
    "kernel": "weight", "W": "weight", "bias": "bias", "b": "bias", "gamma": "weight", "beta": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip
# "kernel:0", "depthwise_kernel:0", "block1_conv1_W_1:0": the first versions put the layer before, a number behind.
_KERAS_LEAF = re.compile(rf"(?:.*_)?({'|'.join(_KERAS)})(?:_\d+)?(?::0)?")


def _split_keras(name: str) -> tuple[str, str] | None:
    """Split "LAYER/LAYER/kernel:0", where a layer's name may contain "/"; also of a model in a model."""
    *groups, last = name.split("/")
    leaf = _KERAS_LEAF.fullmatch(last)
    if leaf is None or not groups:
        return None
    half = len(groups) // 2
    if groups[:half] == groups[half:]:
        groups = groups[half:]
    elif len(groups) > 1:
        groups = groups[1:]  # the inner model's name
    return "/".join(groups), _KERAS[leaf[1]]


def _layout_keras(path: str, tensor: Tensor, maps: int) -> Tensor:
    """Return (H, W, in, out) as (out, in, H, W), (H, W, in, 1) of each channel alone as (in, 1, H, W), and (in, out)
    as (out, in), where `in` may count over (H, W, C) and then does so over (C, H, W).
    """
    if tensor.ndim == 4:
        return tensor.permute(2, 3, 0, 1) if path.endswith("depthwise") else tensor.permute(3, 2, 0, 1)
    if tensor.ndim != 2:
        return tensor
    rows, units = tensor.shape
    side = isqrt(rows // maps) if maps and path == DENSE_OVER_MAPS else 0
    if side and side * side * maps == rows:
        return tensor.reshape(side, side, maps, units).permute(3, 2, 0, 1).reshape(units, rows)
    return tensor.T


_TORCH_LEAVES = ("weight", "bias", "running_mean", "running_var")


def _split_torch(name: str) -> tuple[str, str] | None:
    """Split "LAYER.weight"; the prefix "module." comes from training on several devices."""
    layer, _, leaf = name.removeprefix("module.").rpartition(".")
    if leaf == "num_batches_tracked":
        return layer, ""
    return (layer, leaf) if leaf in _TORCH_LEAVES and layer else None


def _layout_torch(path: str, tensor: Tensor, maps: int) -> Tensor:
    """Return the tensor; a convolution in place of a Dense (timm's VGG) as a matrix."""
    dense = path.rpartition(".")[2] in ("dense1", "dense2", "dense", "scores")
    return tensor.flatten(1) if dense and maps and tensor.ndim == 4 else tensor


_ONNX = {
    "w": "weight", "b": "bias", "bn_s": "weight", "bn_b": "bias", "bn_rm": "running_mean", "bn_riv": "running_var",
}  # fmt: skip
_ONNX_NAME = re.compile(r"(?:gpu_0/)?(.+?)_(w|b|bn_s|bn_b|bn_rm|bn_riv)_0")


def _split_onnx(name: str) -> tuple[str, str] | None:
    """Split Caffe2's "LAYER_w_0" and "LAYER_bn_s_0"; the name of a norm keeps its "_bn"."""
    found = _ONNX_NAME.fullmatch(name)
    if found is None:
        return None
    return found[1] + ("_bn" if found[2].startswith("bn") else ""), _ONNX[found[2]]


def _layout_onnx(path: str, tensor: Tensor, maps: int) -> Tensor:
    """Return the tensor; (1, 1, out, in) of Caffe's first versions as (out, in)."""
    return tensor.squeeze((0, 1)) if tensor.ndim == 4 and tensor.shape[:2] == (1, 1) else tensor


KERAS = Dialect(_split_keras, _layout_keras)
TORCH = Dialect(_split_torch, _layout_torch)
ONNX = Dialect(_split_onnx, _layout_onnx)


# (our name of the network, the names of a file's layers) -> our path of each layer that is known
Paths = Callable[[str, Collection[str]], dict[str, str]]


def rules(*rows: tuple[str, str | Callable[..., str | None]]) -> Paths:
    """Return the paths that follow from each layer's name alone, by the first pattern that matches the whole name.

    A row is (pattern, path), where the path is a template for the pattern's groups, or a function of them.
    """
    compiled = [(re.compile(pattern), path) for pattern, path in rows]

    def path_of(layer: str) -> str | None:
        for pattern, path in compiled:
            if found := pattern.fullmatch(layer):
                return found.expand(path) if isinstance(path, str) else path(*found.groups())
        return None

    return lambda model, layers: {layer: ours for layer in layers if (ours := path_of(layer)) is not None}


def table(paths: Callable[[str], Mapping[str, str]]) -> Paths:
    """Return the paths that stand in a table, made for each network of the family."""

    def known(model: str, layers: Collection[str]) -> dict[str, str]:
        held = paths(model)
        return {layer: held[layer] for layer in layers if layer in held}

    return known


def any_of(names: Iterable[str]) -> str:
    """Return the pattern that matches each of the names."""
    return "|".join(map(re.escape, names))


@dataclass(frozen=True)
class Input:
    """The images that published weights were trained on: (image - mean) / std, with channels in `order`.

    mean, std: of each channel of an image in 0..1, in RGB.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: Literal["RGB", "BGR"] = "RGB"


@dataclass(frozen=True)
class Naming:
    """How the files of `library` name the tensors of `models`.

    options: those that our functions need so that the network computes what the weights were trained for. inputs: what
    it was trained on, None where that is not published. maps: how many maps the first dense layer of a head reads, 0
    where the head has only one dense layer. unscaled: whether the norms have no weight.
    """

    library: str
    models: tuple[str, ...]
    dialect: Dialect
    paths: Paths
    inputs: Input | None
    options: Mapping[str, Any] = field(default_factory=dict)
    maps: int = 0
    unscaled: bool = False


def translate(naming: Naming, model: str, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors that `naming` knows, by our paths and in our layout, and those it does not, by their names.

    `num_batches_tracked` and the like are in neither. Layouts are views, so that gradients and statistics can be
    translated as well.
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
    """Convert tensors of another form of the same network into ours, where `expected` lacks them.

    A bias before a batch norm, where ours has none, is subtracted from the running mean: (x + b) - μ = x - (μ - b).
    Norms that do not scale get a weight of 1. Auxiliary classifiers, which are for training only, are left out where
    the network has none.
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
    """Return the path of the running mean of the norm after a convolution, given its bias; "" for another tensor."""
    layer, _, leaf = path.rpartition(".")
    return f"{of_kind(layer, 'bn')}.running_mean" if leaf == "bias" else ""


def of_kind(path: str, kind: str) -> str:
    """Return the path of a convolution (`kind` "conv"), or of the norm after it ("bn")."""
    block, dot, name = path.rpartition(".")
    return f"{block}{dot}{beside(name, 'norm') if kind == 'bn' else name}"
