"""Which explainer belongs to which layer; all others have the fallback."""

from pellucid import layers
from pellucid.layers.base import Layer
from pellucid.trace.columns import activations as act
from pellucid.trace.columns.base import Explainer
from pellucid.trace.columns.conv2d import conv2d
from pellucid.trace.columns.convtranspose2d import conv_transpose2d
from pellucid.trace.columns.dense import dense
from pellucid.trace.columns.fallback import fallback
from pellucid.trace.columns.linear import linear
from pellucid.trace.columns.localnorms import local_contrast_norm, local_response_norm
from pellucid.trace.columns.merges import add, concat, crop, multiply
from pellucid.trace.columns.norms import norm
from pellucid.trace.columns.pools import lp_pool2d, max_pool2d, max_unpool2d
from pellucid.trace.columns.softmax import softmax

MEAN = "it counts in the mean of each window that holds it: the delta times its share"
MOVED = "it is only moved: the delta passes as it is"

EXPLAINERS: dict[type[Layer], Explainer] = {
    layers.Dense: dense,
    layers.Conv2d: conv2d,
    layers.ConvTranspose2d: conv_transpose2d,
    layers.BatchNorm: norm,
    layers.InstanceNorm2d: norm,
    layers.GroupNorm: norm,
    layers.LayerNorm: norm,
    layers.LocalResponseNorm: local_response_norm,
    layers.LocalContrastNorm: local_contrast_norm,
    layers.Sigmoid: act.elementwise(act.sigmoid),
    layers.Tanh: act.elementwise(act.tanh),
    layers.ReLU: act.elementwise(act.relu),
    layers.ReLU6: act.elementwise(act.relu6),
    layers.LeakyReLU: act.elementwise(act.leaky_relu),
    layers.ELU: act.elementwise(act.elu),
    layers.GELU: act.elementwise(act.gelu),
    layers.Dropout: act.elementwise(act.dropout),
    layers.Softmax: softmax,
    layers.LogSoftmax: softmax,
    layers.MaxPool2d: max_pool2d,
    layers.MaxUnpool2d: max_unpool2d,
    layers.LpPool2d: lp_pool2d,
    layers.AvgPool2d: linear(MEAN),
    layers.AdaptiveAvgPool2d: linear(MEAN),
    layers.Flatten: linear(MOVED),
    layers.Reshape: linear(MOVED),
    layers.Identity: linear("it is handed on as it is, and so is the delta"),
    layers.Pad2d: linear("it is moved, and repeated where padding shows it again: those deltas add up"),
    layers.PadChannels: linear(MOVED),
    layers.Upsample: linear("it counts in each pixel of the resized image by its share"),
    layers.Add: add,
    layers.Concat: concat,
    layers.Crop: crop,
    layers.Multiply: multiply,
}

# Layers whose output is a weighted sum of their input, the weights being what backward of a one-hot delta returns.
WEIGHTED_SUMS: dict[type[Layer], str] = {
    layers.Dense: "the weighted sum of its inputs and the bias",
    layers.Conv2d: "the window's values, each times the filter's weight, and the bias",
    layers.ConvTranspose2d: "the stamps that reach this place, and the bias",
    layers.AvgPool2d: "the mean of its window",
    layers.AdaptiveAvgPool2d: "the mean of its window",
    layers.MaxPool2d: "the largest value of its window",
    layers.MaxUnpool2d: "the value whose maximum stood here, 0 where none did",
    layers.Flatten: "the same value in another shape",
    layers.Reshape: "the same value in another shape",
    layers.Identity: "the same value",
    layers.Pad2d: "the pixel that padding shows here, or padding's own number",
    layers.PadChannels: "the same value, or a zero of padding",
    layers.Upsample: "the weighted sum of the pixels near it",
    layers.Dropout: "the value, scaled if it was kept, 0 if it was dropped",
    layers.Add: "the sum of its inputs",
    layers.Crop: "the same value, of the first input",
    layers.Concat: "the same value in its place among others",
}

__all__ = ["EXPLAINERS", "WEIGHTED_SUMS", "fallback"]
