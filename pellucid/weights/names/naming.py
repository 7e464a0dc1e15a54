"""Conversion of other libraries' tensor names and axis orders to Pellucid's."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any, Literal

import torch
from torch import Tensor

from pellucid.models.parts import name_after

# The layer whose input is flattened feature maps: (H, W, C) in Keras, (C, H, W) in Pellucid.
DENSE_OVER_MAPS = "head.dense1"

# Splits a tensor's name in a file into the layer's name in the file and Pellucid's name of the tensor, such as
# ("block1_conv1", "weight"). The second is "" for tensors that are not needed; None is for unrecognized names.
SplitRule = Callable[[str], tuple[str, str] | None]


@dataclass(frozen=True)
class Dialect:
    """The tensor names and axis orders of one library."""

    split: SplitRule  # see SplitRule
    # function of (path, tensor, n_flattened_maps) that returns a weight with Pellucid's order of axes. path: of the
    # layer, in Pellucid. n_flattened_maps: the number of channels of the feature maps that the layer DENSE_OVER_MAPS
    # receives, 0 for networks without this layer
    layout: Callable[[str, Tensor, int], Tensor]


_KERAS_LEAVES = {
    "kernel": "weight", "W": "weight", "bias": "bias", "b": "bias", "gamma": "weight", "beta": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip
# "kernel:0", "depthwise_kernel:0", "block1_conv1_W_1:0": early versions add the layer and a number.
_KERAS_LEAF = re.compile(rf"(?:.*_)?({'|'.join(_KERAS_LEAVES)})(?:_\d+)?(?::0)?")


def _split_keras(name: str) -> tuple[str, str] | None:
    """Split "LAYER/LAYER/kernel:0", where LAYER may contain "/"; a prefix "MODEL/" of a nested model is removed."""
    *groups, last = name.split("/")
    leaf = _KERAS_LEAF.fullmatch(last)
    if leaf is None or not groups:
        return None
    half = len(groups) // 2
    if groups[:half] == groups[half:]:
        groups = groups[half:]
    elif len(groups) > 1:
        groups = groups[1:]  # without the nested model's name
    return "/".join(groups), _KERAS_LEAVES[leaf[1]]


def _layout_keras(path: str, tensor: Tensor, n_flattened_maps: int) -> Tensor:
    """Return a Keras weight with the axes in Pellucid's order.

    A convolution (H, W, in, out) becomes (out, in, H, W), a depthwise convolution (H, W, in, 1) becomes (in, 1, H, W),
    and a dense kernel (in, out) becomes (out, in). The inputs of DENSE_OVER_MAPS are reordered from (H, W, C), flat, to
    (C, H, W), flat.
    """
    if tensor.ndim == 4:
        return tensor.permute(2, 3, 0, 1) if path.endswith("depthwise") else tensor.permute(3, 2, 0, 1)
    if tensor.ndim != 2:
        return tensor
    n_inputs, units = tensor.shape
    side = isqrt(n_inputs // n_flattened_maps) if n_flattened_maps and path == DENSE_OVER_MAPS else 0
    if side and side * side * n_flattened_maps == n_inputs:
        return tensor.reshape(side, side, n_flattened_maps, units).permute(3, 2, 0, 1).reshape(units, n_inputs)
    return tensor.T


_TORCH_LEAVES = ("weight", "bias", "running_mean", "running_var")


def _split_torch(name: str) -> tuple[str, str] | None:
    """Split "LAYER.weight"; the prefix "module.", which DataParallel adds, is removed."""
    layer, _, leaf = name.removeprefix("module.").rpartition(".")
    if leaf == "num_batches_tracked":
        return layer, ""
    return (layer, leaf) if leaf in _TORCH_LEAVES and layer else None


def _layout_torch(path: str, tensor: Tensor, n_flattened_maps: int) -> Tensor:
    """Return the tensor unchanged, or as a matrix if timm's VGG has a convolution where Pellucid has a Dense."""
    is_dense = path.rpartition(".")[2] in ("dense1", "dense2", "dense", "scores")
    return tensor.flatten(1) if is_dense and n_flattened_maps and tensor.ndim == 4 else tensor


_ONNX_LEAVES = {
    "w": "weight", "b": "bias", "bn_s": "weight", "bn_b": "bias", "bn_rm": "running_mean", "bn_riv": "running_var",
}  # fmt: skip
_ONNX_NAME = re.compile(r"(?:gpu_0/)?(.+?)_(w|b|bn_s|bn_b|bn_rm|bn_riv)_0")


def _split_onnx(name: str) -> tuple[str, str] | None:
    """Split Caffe2's "LAYER_w_0" and "LAYER_bn_s_0"; the names of norms end in "_bn"."""
    match = _ONNX_NAME.fullmatch(name)
    if match is None:
        return None
    return match[1] + ("_bn" if match[2].startswith("bn") else ""), _ONNX_LEAVES[match[2]]


def _layout_onnx(path: str, tensor: Tensor, n_flattened_maps: int) -> Tensor:
    """Return the tensor unchanged, or (1, 1, out, in), from early versions of Caffe, as (out, in)."""
    return tensor.squeeze((0, 1)) if tensor.ndim == 4 and tensor.shape[:2] == (1, 1) else tensor


KERAS_DIALECT = Dialect(_split_keras, _layout_keras)
TORCH_DIALECT = Dialect(_split_torch, _layout_torch)
ONNX_DIALECT = Dialect(_split_onnx, _layout_onnx)


# (name of the network in `MODELS`, names of the layers in a file) -> {name in the file: path in Pellucid}, without the
# names that are not recognized
Paths = Callable[[str, Collection[str]], dict[str, str]]


def path_rules(*rows: tuple[str, str | Callable[..., str | None]]) -> Paths:
    """Return a function that finds the path of each layer by the first pattern that matches its whole name.

    rows: pairs (pattern, path), where path is a template such as r"features.conv\1", or a function of the pattern's
    groups that returns the path, or None if there is no such layer.
    """
    compiled_rules = [(re.compile(pattern), path) for pattern, path in rows]

    def path_of(layer: str) -> str | None:
        for pattern, path in compiled_rules:
            if match := pattern.fullmatch(layer):
                return match.expand(path) if isinstance(path, str) else path(*match.groups())
        return None

    return lambda model, layers: {layer: path for layer in layers if (path := path_of(layer)) is not None}


def path_table(paths: Callable[[str], Mapping[str, str]]) -> Paths:
    """Return a function that finds the path of each layer in the dict `paths(model)`."""

    def find_paths(model: str, layers: Collection[str]) -> dict[str, str]:
        path_by_name = paths(model)
        return {layer: path_by_name[layer] for layer in layers if layer in path_by_name}

    return find_paths


def any_of(names: Iterable[str]) -> str:
    """Return a regular expression that matches any of the names."""
    return "|".join(map(re.escape, names))


@dataclass(frozen=True)
class InputScaling:
    """The preprocessing for published weights: (image - mean) / std, with the channels in `order`."""

    mean: tuple[float, float, float]  # of red, green and blue, for images with values in 0..1
    std: tuple[float, float, float]  # of red, green and blue, for images with values in 0..1
    order: Literal["RGB", "BGR"] = "RGB"


@dataclass(frozen=True)
class Naming:
    """The names that `library` uses for the tensors of `models` in its weights files."""

    library: str
    models: tuple[str, ...]
    dialect: Dialect  # the library's tensor names and axis orders
    paths: Paths  # function that returns the paths of a file's layers
    inputs: InputScaling | None  # the preprocessing, None if it is not published
    # the arguments of the functions in `MODELS` with which the network computes the same as the library's
    model_arguments: Mapping[str, Any] = field(default_factory=dict)
    # number of channels of the feature maps that the first dense layer of the head receives, 0 for heads with a single
    # dense layer
    n_flattened_maps: int = 0
    norms_without_weight: bool = False  # whether the norms have no weight


def translate(naming: Naming, model: str, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the recognized tensors, by path and with Pellucid's axis order, and the others, by name in the file.

    Counters such as `num_batches_tracked` are in neither dict. The axes are reordered by views where possible.
    """
    splits = {name: naming.dialect.split(name) for name in tensors}
    paths = naming.paths(model, {layer for layer, _ in filter(None, splits.values())})
    translated: dict[str, Tensor] = {}
    unknown: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        split = splits[name]
        if split is None:
            unknown[name] = tensor
            continue
        layer, leaf = split
        if not leaf:
            continue
        path = paths.get(layer)
        if path is None or f"{path}.{leaf}" in translated:  # a second name for the same tensor is reported as surplus
            unknown[name] = tensor
        else:
            translated[f"{path}.{leaf}"] = (
                naming.dialect.layout(path, tensor, naming.n_flattened_maps) if leaf == "weight" else tensor
            )
    return translated, unknown


def fit_architecture(naming: Naming, expected: Collection[str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors` with the tensors of a slightly different architecture converted to the paths in `expected`.

    If `expected` lacks the bias b of a convolution before a batch norm, b is subtracted from the running mean μ:
    (x + b) - μ = x - (μ - b). Norms without a weight get a weight of 1. Auxiliary classifiers, which are for training
    only, are left out if the network has none.
    """
    result = dict(tensors)
    for path, bias in tensors.items():
        mean = _norm_mean_path(path)
        if path not in expected and mean in expected and mean in tensors and tensors[mean].shape == bias.shape:
            result[mean] = tensors[mean] - bias
            del result[path]
    for path, mean in tensors.items() if naming.norms_without_weight else ():
        if path.endswith(".running_mean"):
            result.setdefault(f"{path.removesuffix('running_mean')}weight", torch.ones_like(mean))
    if not any(path.startswith("head.auxiliary") for path in expected):
        result = {path: tensor for path, tensor in result.items() if not path.startswith("head.auxiliary")}
    return result


def _norm_mean_path(path: str) -> str:
    """Return the path of the running mean of the norm after a convolution, given the path of its bias; otherwise ""."""
    layer, _, leaf = path.rpartition(".")
    return f"{conv_or_norm_path(layer, 'bn')}.running_mean" if leaf == "bias" else ""


def conv_or_norm_path(path: str, kind: str) -> str:
    """Return a convolution's path for the kind "conv", and the path of the norm after it for "bn"."""
    block, dot, name = path.rpartition(".")
    return f"{block}{dot}{name_after(name, 'norm') if kind == 'bn' else name}"
