"""Translation of poolings and batch normalization of sequences, images and volumes to the layers for images.

The windows of a volume are those of its images, then those along its depth, since means and maxima of windows can be
computed one axis after another.
"""

from collections.abc import Callable
from typing import Any

from pellucid import layers, operators
from pellucid.layers.base import Layer
from pellucid.opening.exported import Multiple
from pellucid.opening.values import CallLayer, Context, Unsupported

MakePool = Callable[[Callable[[str], tuple[int, int]]], Layer]  # from the settings of two axes, by name


def pooling(make: MakePool, n_axes: int) -> Callable[[Context], CallLayer]:
    """Return the translation of a pooling over `n_axes` axes to layers for images that `make` returns."""

    def translate(c: Context) -> CallLayer:
        shape = c.shape()
        if len(shape) != n_axes + 2 or any(isinstance(size, Multiple) for size in shape[1:]):
            raise Unsupported("its input has no batch axis")
        if n_axes == 2:
            return CallLayer(make(_pair_setting(c)), (c.source("self"),))
        if n_axes == 1:
            image = CallLayer(operators.ToShape((1,), 2, 1), (c.source("self"),))
            pooled = CallLayer(make(_line_setting(c, horizontal=True)), (image,))
            return CallLayer(operators.ToShape((), 2, 1), (pooled,))
        images = CallLayer(operators.ToShape((-1,), 1, 2), (c.source("self"),))  # each slice as a channel
        pooled = CallLayer(make(_pair_setting(c, first=1)), (images,))
        volume = CallLayer(operators.ToShape((shape[1], -1), 1, 2), (pooled,))
        lines = CallLayer(operators.ToShape((-1,), 3, 0), (volume,))
        pooled_lines = CallLayer(make(_line_setting(c, horizontal=False)), (lines,))
        return CallLayer(operators.ToShape(c.call.shape[3:], 3, 0), (pooled_lines,))

    return translate


def _per_axis(c: Context, name: str) -> tuple[int, ...]:
    """Return a setting of each axis; a stride that is not given is the kernel's size."""
    value = c.fixed_value(name)
    if name == "stride" and not value:
        return _per_axis(c, "kernel_size")
    value = (value,) if isinstance(value, int) else tuple(value)
    n_axes = len(c.shape()) - 2
    return value * n_axes if len(value) == 1 else value


def _pair_setting(c: Context, first: int = 0) -> Callable[[str], tuple[int, int]]:
    """Return the function that returns the settings, by name, of two axes from `first`."""

    def setting(name: str) -> tuple[int, int]:
        values = _per_axis(c, name)
        return values[first], values[first + 1]

    return setting


def _line_setting(c: Context, horizontal: bool) -> Callable[[str], tuple[int, int]]:
    """Return the settings for windows along the first axis of the input, as a row or a column of an image."""

    def setting(name: str) -> tuple[int, int]:
        size = _per_axis(c, name)[0]
        if name == "output_size":
            other = 1 if horizontal else c.call.shape[3] * c.call.shape[4]
        else:
            other = 0 if name == "padding" else 1
        return (other, size) if horizontal else (size, other)

    return setting


def max_pool(n_axes: int) -> Callable[[Context], CallLayer]:
    """Return the translation of a maximum pooling."""

    def translate(c: Context) -> CallLayer:
        def make(setting: Callable[[str], tuple[int, int]]) -> Layer:
            windows = (setting(name) for name in ("kernel_size", "stride", "padding", "dilation"))
            return layers.MaxPool2d(*windows, ceil_mode=bool(c["ceil_mode"]))

        return pooling(make, n_axes)(c)

    return translate


def avg_pool(n_axes: int) -> Callable[[Context], CallLayer]:
    """Return the translation of an average pooling."""

    def translate(c: Context) -> CallLayer:
        if c.call.arguments.get("divisor_override") is not None:
            raise Unsupported(f"divisor_override={c['divisor_override']}")

        def make(setting: Callable[[str], tuple[int, int]]) -> Layer:
            kernel, stride, padding = (setting(name) for name in ("kernel_size", "stride", "padding"))
            return layers.AvgPool2d(
                kernel,
                stride=stride,
                padding=padding,
                ceil_mode=bool(c["ceil_mode"]),
                count_include_pad=bool(c["count_include_pad"]),
            )

        return pooling(make, n_axes)(c)

    return translate


def adaptive_avg_pool(n_axes: int) -> Callable[[Context], CallLayer]:
    """Return the translation of an average pooling to a given size."""
    return pooling(lambda setting: layers.AdaptiveAvgPool2d(setting("output_size")), n_axes)


def batch_norm(c: Context) -> CallLayer:
    """Return BatchNorm, or NormalizeChannels if the statistics of the input are used in evaluation mode too."""
    own_names = {name: name for name in ("weight", "bias", "running_mean", "running_var")}
    own_params = c.own_params(**own_names)
    if c["training"] and c["running_mean"] is None:
        return CallLayer(operators.NormalizeChannels(c.number("eps")), affine_sources(c))
    if c["training"]:
        raise Unsupported("it uses the statistics of the batch in evaluation mode")
    if own_params is None or len(own_params) < len(own_names):
        raise Unsupported("it has no weight, bias or running statistics of its own")
    layer = layers.BatchNorm(c.number("momentum"), c.number("eps"))
    sizes = c.shape("input")[2:]
    if len(sizes) in (0, 2):
        return CallLayer(layer, (c.source("input"),), own_params)
    merge = (1, *sizes) if len(sizes) == 1 else (-1,)  # one row, or all slices of a volume below each other
    image = CallLayer(operators.ToShape(merge, 2, 0 if len(sizes) == 1 else 1), (c.source("input"),))
    return CallLayer(operators.ToShape(sizes, 2, 0), (CallLayer(layer, (image,), own_params),))


def affine_sources(c: Context) -> tuple[str, ...]:
    """Return the names of the input, the weight and the bias; raises Unsupported for a bias without a weight."""
    if c["weight"] is None and c["bias"] is not None:
        raise Unsupported("it has a bias without a weight")
    return c.sources("input", "weight", "bias")


TRANSLATIONS: dict[str, Callable[[Context], Any]] = {
    **{f"max_pool{n}d": max_pool(n) for n in (1, 2, 3)},
    **{f"avg_pool{n}d": avg_pool(n) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": adaptive_avg_pool(n) for n in (1, 2, 3)},
    "batch_norm": batch_norm,
}
