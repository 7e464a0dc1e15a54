"""Translation of poolings and batch normalization of sequences, images and volumes to the layers for images.

The windows of a volume are those of its images, then those along its depth, since means and maxima of windows can be
computed one axis after another.
"""

from collections.abc import Callable
from typing import Any

from pellucid import layers, operators
from pellucid.layers.base import Layer
from pellucid.opening.exported import Multiple
from pellucid.opening.values import CallLayer, Context, Unsupported, pair, per_axis

AxisSettings = Callable[[str], tuple[int, int]]  # from the name of a setting to its values for height and width
MakePool = Callable[[Context, AxisSettings], Layer]


def pooling(make_pool: MakePool, n_axes: int) -> Callable[[Context], CallLayer]:
    """Return the translation of a pooling over `n_axes` axes to layers for images that `make_pool` returns."""

    def translate(c: Context) -> CallLayer:
        shape = c.shape()  # of the input; `c.call.shape` is that of the output
        if len(shape) != n_axes + 2 or any(isinstance(size, Multiple) for size in shape[1:]):
            raise Unsupported("its input has no batch axis")
        if n_axes == 2:
            return CallLayer(make_pool(c, _pair_settings(c)), (c.source("self"),))
        if n_axes == 1:
            image = CallLayer(operators.ToShape((1,), 2, 1), (c.source("self"),))
            pooled = CallLayer(make_pool(c, _line_settings(c, horizontal=True)), (image,))
            return CallLayer(operators.ToShape((), 2, 1), (pooled,))
        # the maximum or mean over a box is that over its slices, and then over these
        images = CallLayer(operators.ToShape((-1,), 1, 2), (c.source("self"),))  # each slice as a channel
        pooled = CallLayer(make_pool(c, _pair_settings(c, first_axis=1)), (images,))
        volume = CallLayer(operators.ToShape((shape[1], -1), 1, 2), (pooled,))
        lines = CallLayer(operators.ToShape((-1,), 3, 0), (volume,))
        pooled_lines = CallLayer(make_pool(c, _line_settings(c, horizontal=False)), (lines,))
        return CallLayer(operators.ToShape(c.call.shape[3:], 3, 0), (pooled_lines,))

    return translate


def _setting(c: Context, name: str) -> tuple[int, ...]:
    """Return a setting of each axis; a stride that is not given is the kernel's size."""
    value = c.fixed_value(name)
    if name == "stride" and not value:
        return _setting(c, "kernel_size")
    return per_axis(value, len(c.shape()) - 2)


def _pair_settings(c: Context, first_axis: int = 0) -> AxisSettings:
    """Return the settings of two axes from `first_axis`."""

    def setting(name: str) -> tuple[int, int]:
        values = _setting(c, name)
        return values[first_axis], values[first_axis + 1]

    return setting


def _line_settings(c: Context, horizontal: bool) -> AxisSettings:
    """Return the settings for windows along the first axis of the input, as a row or a column of an image."""

    def setting(name: str) -> tuple[int, int]:
        size = _setting(c, name)[0]
        if name == "output_size":
            other_value = 1 if horizontal else c.call.shape[3] * c.call.shape[4]
        else:
            other_value = 0 if name == "padding" else 1
        return (other_value, size) if horizontal else (size, other_value)

    return setting


def max_pool(c: Context, setting: AxisSettings) -> Layer:
    """Return MaxPool2d."""
    windows = (setting(name) for name in ("kernel_size", "stride", "padding", "dilation"))
    return layers.MaxPool2d(*windows, ceil_mode=bool(c["ceil_mode"]))


def avg_pool(c: Context, setting: AxisSettings) -> Layer:
    """Return AvgPool2d."""
    if c.call.arguments.get("divisor_override") is not None:
        raise Unsupported(f"divisor_override={c['divisor_override']}")
    return layers.AvgPool2d(
        setting("kernel_size"),
        stride=setting("stride"),
        padding=setting("padding"),
        ceil_mode=bool(c["ceil_mode"]),
        count_include_pad=bool(c["count_include_pad"]),
    )


def adaptive_avg_pool(c: Context, setting: AxisSettings) -> Layer:
    """Return AdaptiveAvgPool2d."""
    return layers.AdaptiveAvgPool2d(setting("output_size"))


def adaptive_max_pool(c: Context, index: int) -> CallLayer:
    """Return AdaptiveMaxPool for the maxima; raises Unsupported for their indices."""
    n_axes = int(c.call.op[-2])
    if index or len(c.shape()) != n_axes + 2:
        raise Unsupported(f"output {index} of {c.call.op} of an input with {len(c.shape())} axes")
    return CallLayer(operators.AdaptiveMaxPool(per_axis(c.fixed_value("output_size"), n_axes)), (c.source("self"),))


def max_pool_output(c: Context, index: int) -> CallLayer:
    """Return MaxPool2d for the first output of max_pool2d_with_indices, MaxPositions for the second."""
    pool = pooling(max_pool, 2)(c)
    if index == 0:
        return pool
    setting = _pair_settings(c)
    windows = (setting(name) for name in ("kernel_size", "stride", "padding", "dilation"))
    return CallLayer(operators.MaxPositions(*windows, ceil_mode=bool(c["ceil_mode"])), pool.sources)


def max_unpool(c: Context) -> CallLayer:
    """Return MaxUnpool2d."""
    layer = layers.MaxUnpool2d(1, size=pair(c.fixed_value("output_size")))
    return CallLayer(layer, c.sources("self", "indices"))


def batch_norm(c: Context) -> CallLayer:
    """Return BatchNorm, or NormalizeChannels if the statistics of the input are used in evaluation mode too."""
    own_names = {name: name for name in ("weight", "bias", "running_mean", "running_var")}
    own_params = c.own_params(**own_names)
    is_training = c.call.arguments.get("training", False)
    if is_training and c["running_mean"] is None:
        return CallLayer(operators.NormalizeChannels(c.number("eps")), affine_sources(c))
    if is_training:
        raise Unsupported("it uses the statistics of the batch in evaluation mode")
    statistics = [name for name in own_params or () if name.startswith("running")]
    if own_params is None or len(statistics) < 2 or len(own_params) == 3:
        raise Unsupported("it has no weight, bias or running statistics of its own")
    kind = layers.BatchNorm if len(own_params) == len(own_names) else operators.UnscaledBatchNorm
    layer = kind(c.number("momentum"), c.number("eps"))
    sizes = c.shape("input")[2:]
    if len(sizes) in (0, 2):
        return CallLayer(layer, (c.source("input"),), own_params)
    merged_sizes = (1, *sizes) if len(sizes) == 1 else (-1,)  # one row, or all slices of a volume below each other
    image = CallLayer(operators.ToShape(merged_sizes, 2, 0 if len(sizes) == 1 else 1), (c.source("input"),))
    return CallLayer(operators.ToShape(sizes, 2, 0), (CallLayer(layer, (image,), own_params),))


def affine_sources(c: Context) -> tuple[str, ...]:
    """Return the names of the input, the weight and the bias; raises Unsupported for a bias without a weight."""
    if c["weight"] is None and c["bias"] is not None:
        raise Unsupported("it has a bias without a weight")
    return c.sources("input", "weight", "bias")


TRANSLATIONS: dict[str, Callable[[Context], Any]] = {
    **{f"max_pool{n}d": pooling(max_pool, n) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": pooling(avg_pool, n) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": pooling(adaptive_avg_pool, n) for n in (1, 2, 3)},
    "batch_norm": batch_norm,
    "max_unpool2d": max_unpool,
}
# Operators with several outputs; the layer of one of them is that of its index.
OUTPUTS: dict[str, Callable[[Context, int], CallLayer]] = {
    "max_pool2d_with_indices": max_pool_output,
    **{f"adaptive_max_pool{n}d": adaptive_max_pool for n in (1, 2, 3)},
    "_native_batch_norm_legit_no_training": lambda c, index: batch_norm(c),  # as PyTorch decomposes batch_norm
}
