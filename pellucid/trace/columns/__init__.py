"""Columns of Jacobians: the function that computes them for each type of layer, or by traits for other types."""

from pellucid import layers, operators
from pellucid.layers.base import Layer, Trait, declares
from pellucid.trace.columns.activations import dropout, elu, gelu, leaky_relu, own_slope, relu, relu6, sigmoid, tanh
from pellucid.trace.columns.base import Explainer, fallback, input_index
from pellucid.trace.columns.linear import attention, convolution, dense
from pellucid.trace.columns.moves import (
    add,
    concat,
    crop,
    linear_map,
    lp_pool2d,
    max_pool2d,
    max_unpool2d,
    multiply,
    roi_align,
    roi_pool,
)
from pellucid.trace.columns.norms import local_contrast_norm, local_response_norm, norm, softmax

MEAN_WORDS = "it is part of the mean of each window that contains it: the output gradient δ times its weight"
LINEAR_WORDS = "it is a term of weighted sums: each output gradient δ times its weight"
UNCHANGED_WORDS = "it only changes its position: the output gradient δ passes unchanged"

EXPLAINERS: dict[type[Layer], Explainer] = {
    layers.Dense: dense,
    layers.Conv2d: convolution,
    layers.ConvTranspose2d: convolution,
    layers.BatchNorm: norm,
    layers.InstanceNorm2d: norm,
    layers.GroupNorm: norm,
    layers.LayerNorm: norm,
    layers.LocalResponseNorm: local_response_norm,
    layers.LocalContrastNorm: local_contrast_norm,
    layers.Sigmoid: sigmoid,
    layers.Tanh: tanh,
    layers.ReLU: relu,
    layers.ReLU6: relu6,
    layers.LeakyReLU: leaky_relu,
    layers.ELU: elu,
    layers.GELU: gelu,
    layers.Dropout: dropout,
    layers.Softmax: softmax,
    layers.LogSoftmax: softmax,
    layers.MaxPool2d: max_pool2d,
    layers.MaxUnpool2d: max_unpool2d,
    layers.LpPool2d: lp_pool2d,
    layers.RoIAlign: roi_align,
    layers.RoIPool: roi_pool,
    layers.AvgPool2d: linear_map(MEAN_WORDS),
    layers.AdaptiveAvgPool2d: linear_map(MEAN_WORDS),
    layers.Identity: linear_map("it passes unchanged, and so does the output gradient δ"),
    layers.Pad2d: linear_map("it is copied to the output, and to padding that repeats it: the gradients δ add up"),
    layers.PadChannels: linear_map(UNCHANGED_WORDS),
    layers.Upsample: linear_map("pixels are interpolated from it: each output gradient δ times its weight"),
    layers.Add: add,
    layers.Concat: concat,
    layers.Crop: crop,
    layers.Multiply: multiply,
    operators.Attention: attention,
}

# Layers whose output is a weighted sum of their input, in words. The weights are the dx of a one-hot dy.
WEIGHTED_SUMS: dict[type[Layer], str] = {
    layers.Dense: "the weighted sum of its inputs and the bias",
    layers.Conv2d: "the window's values, each times the filter's weight, and the bias",
    layers.ConvTranspose2d: "the values whose kernels cover this position, each times its weight, and the bias",
    layers.AvgPool2d: "the mean of its window",
    layers.AdaptiveAvgPool2d: "the mean of its window",
    layers.MaxPool2d: "the largest value of its window",
    layers.MaxUnpool2d: "the value whose maximum was at this position, 0 if there was none",
    layers.RoIAlign: "the mean of the samples in its bin, each interpolated between four pixels",
    layers.RoIPool: "the largest value of its bin, 0 if it is empty",
    layers.Identity: "the same value",
    layers.Pad2d: "the pixel that the padding repeats here, or the padding value",
    layers.PadChannels: "the same value, or a zero of padding",
    layers.Upsample: "the weighted sum of the pixels near it",
    layers.Dropout: "the value, scaled if it was kept, 0 if it was dropped",
    layers.Add: "the sum of its inputs",
    layers.Crop: "the same value of the first input",
    layers.Concat: "the same value of one of the inputs",
}

# Traits of layers that are no linear map of a single input with the batch axis first, or that have parameters.
NOT_ONE_MAP = Trait.MULTIPLE_INPUTS | Trait.ANY_AXES | Trait.LEARNS | Trait.WEIGHTED


def explainer(layer: Layer, argument: str = "x.0") -> Explainer:
    """Return the function that computes columns for `argument`: an input such as "x.0", or a parameter's name."""
    if type(layer) in EXPLAINERS:
        return EXPLAINERS[type(layer)]
    if input_index(argument) is not None and declares(layer, Trait.ELEMENTWISE):
        return own_slope
    if declares(layer, Trait.RESHAPE):
        return linear_map(UNCHANGED_WORDS)
    if declares(layer, Trait.LINEAR) and not layer.traits & NOT_ONE_MAP:
        return linear_map(LINEAR_WORDS)
    return fallback


def weighted_sum_words(layer: Layer) -> str | None:
    """Return a layer's output in words if it is a weighted sum of inputs plus a constant, else None."""
    if type(layer) in WEIGHTED_SUMS:
        return WEIGHTED_SUMS[type(layer)]
    if declares(layer, Trait.RESHAPE):
        return "the same value in another shape"
    return "the weighted sum of its inputs" if declares(layer, Trait.LINEAR) else None
