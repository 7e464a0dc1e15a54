"""How a library's files write the name of a tensor, and in which order they lay its axes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

from torch import Tensor

DENSE_OVER_MAPS = "head.dense1"  # reads flattened maps, whose channels lie last in Keras and first here

# Returns the layer's name in the file and the tensor's name in ours, which is "" for what is no weight; None for a
# name of another form.
Split = Callable[[str], tuple[str, str] | None]


@dataclass(frozen=True)
class Dialect:
    """`split` takes a name apart; `layout(path, tensor, maps)` gives a weight our order of axes.

    `path` is our layer's, `maps` how many maps the layer DENSE_OVER_MAPS reads, 0 where the network has none such.
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
    """Take "LAYER/LAYER/kernel:0" apart, where a layer's name may hold "/" itself; also of a model in a model."""
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
    """Take "LAYER.weight" apart; "module." before it comes from training on several devices."""
    layer, _, leaf = name.removeprefix("module.").rpartition(".")
    if leaf == "num_batches_tracked":
        return layer, ""
    return (layer, leaf) if leaf in _TORCH_LEAVES and layer else None


def _layout_torch(path: str, tensor: Tensor, maps: int) -> Tensor:
    """Return it as it is, but a convolution in the place of a Dense (timm's VGG) as the matrix that it is."""
    dense = path.rpartition(".")[2] in ("dense1", "dense2", "dense", "scores")
    return tensor.flatten(1) if dense and maps and tensor.ndim == 4 else tensor


_ONNX = {
    "w": "weight", "b": "bias", "bn_s": "weight", "bn_b": "bias", "bn_rm": "running_mean", "bn_riv": "running_var",
}  # fmt: skip
_ONNX_NAME = re.compile(r"(?:gpu_0/)?(.+?)_(w|b|bn_s|bn_b|bn_rm|bn_riv)_0")


def _split_onnx(name: str) -> tuple[str, str] | None:
    """Take Caffe2's "LAYER_w_0" and "LAYER_bn_s_0" apart; the name of a norm keeps its "_bn"."""
    found = _ONNX_NAME.fullmatch(name)
    if found is None:
        return None
    return found[1] + ("_bn" if found[2].startswith("bn") else ""), _ONNX[found[2]]


def _layout_onnx(path: str, tensor: Tensor, maps: int) -> Tensor:
    """Return it as it is, but (1, 1, out, in) of Caffe's first versions as (out, in)."""
    return tensor.squeeze((0, 1)) if tensor.ndim == 4 and tensor.shape[:2] == (1, 1) else tensor


KERAS = Dialect(_split_keras, _layout_keras)
TORCH = Dialect(_split_torch, _layout_torch)
ONNX = Dialect(_split_onnx, _layout_onnx)
