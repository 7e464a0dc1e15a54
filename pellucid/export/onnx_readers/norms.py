"""Normalizations of ONNX as layers."""

from pellucid.export.onnx_readers.reading import Found, Reading, Unreadable, plain
from pellucid.layers import BatchNorm, GroupNorm, InstanceNorm2d, LayerNorm, LocalResponseNorm


def batch_normalization(it: Reading) -> Found:
    """Read BatchNormalization that does not train."""
    it.only(training_mode=0)
    momentum = round(1 - plain(it.take("momentum", 0.9)), 7)
    names = ("weight", "bias", "running_mean", "running_var")
    params = {name: it.param(place) for place, name in enumerate(names, start=1)}
    return it.found(BatchNorm(momentum, plain(it.take("epsilon", 1e-5))), **params)


def instance_normalization(it: Reading) -> Found:
    """Read InstanceNormalization."""
    layer = InstanceNorm2d(plain(it.take("epsilon", 1e-5)), affine=True)
    return it.found(layer, weight=it.param(1), bias=it.param(2))


def group_normalization(it: Reading) -> Found:
    """Read GroupNormalization that scales each channel, as it does from version 21 on."""
    it.only(stash_type=1)
    layer = GroupNorm(it.take("num_groups", 0), plain(it.take("epsilon", 1e-5)))
    return it.found(layer, weight=it.param(1), bias=it.param(2))


def layer_normalization(it: Reading) -> Found:
    """Read LayerNormalization over all or some of the last axes."""
    it.only(stash_type=1)
    axis, axes = it.take("axis", -1), len(it.shape) + 1
    axis += axes if axis < 0 else 0
    if not 1 <= axis < axes:
        raise Unreadable("normalizes the batch")
    shape = it.shape[axis - 1 :]
    layer = LayerNorm(None if axis == 1 else shape, plain(it.take("epsilon", 1e-5)))
    return it.found(layer, weight=it.param(1), bias=it.param(2))


def lrn(it: Reading) -> Found:
    """Read LRN over an odd number of channels; over an even one its window lies otherwise."""
    size = it.take("size", 0)
    if size % 2 == 0:
        raise Unreadable(f"has size={size}, which is even")
    alpha, beta, k = (plain(it.take(name, value)) for name, value in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    return it.found(LocalResponseNorm(size, alpha, beta, k))
