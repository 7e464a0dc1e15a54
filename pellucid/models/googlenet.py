"""GoogLeNet, the first Inception network."""

from pellucid.base.settings.arguments import checked
from pellucid.combine import Parallel, Sequential
from pellucid.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    Concat,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
)
from pellucid.layers.base import Layer
from pellucid.models.parts import (
    LOGITS_INITIALIZER,
    average_head,
    conv_norm_relu,
    name_after,
    network,
    network_with_auxiliaries,
)

EPSILON = 1e-3  # of the batch normalization

# Filters of table 1: 1x1, reduction before 3x3, 3x3, reduction before 5x5, 5x5, and 1x1 after pooling.
BLOCK_FILTERS = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}


@checked
def googlenet(classes: int = 1000, auxiliary: bool = False, original: bool = False) -> Sequential:
    """Return GoogLeNet as in torchvision, with batch normalization; it outputs logits.

    For 224 x 224 images: 6,624,904 parameters with three channels and 1000 classes; the child `features`
    outputs (1024, 7, 7). The branches 5x5 have kernels of 3 x 3, as in the TensorFlow network that torchvision's
    weights were converted from.
    auxiliary: whether to add auxiliary classifiers after inception4a and inception4d; the output is then the tuple
    (logits, logits of auxiliary1, logits of auxiliary2), the paths of the parameters are unchanged, and there are
    13,004,888 parameters.
    original: whether to return the network of the paper, as in the weights of Caffe and ONNX. It has local response
    normalization and biases instead of batch normalization, and 5 x 5 kernels; 6,998,552 parameters, or 13,378,280 with
    auxiliary classifiers.
    Source: Szegedy et al. 2015, table 1 and section 5.
    """
    features = _stem(original)
    for name, filters in BLOCK_FILTERS.items():
        features[name] = _inception(*filters, original)
        if name == "inception3b":
            features["pool3"] = MaxPool2d(3, 2, ceil_mode=True)
        elif name == "inception4e":
            features["pool4"] = MaxPool2d(3 if original else 2, 2, ceil_mode=True)
    head = average_head(classes, dropout=0.4 if original else 0.2)
    if not auxiliary:
        return network(features, head)
    classifiers = {
        "auxiliary1": ("inception4a", _auxiliary(classes, original)),
        "auxiliary2": ("inception4d", _auxiliary(classes, original)),
    }
    return network_with_auxiliaries(features, head, classifiers)


def _stem(original: bool) -> dict[str, Layer]:
    local_norm1: dict[str, Layer] = {"local_norm1": LocalResponseNorm(5)} if original else {}
    local_norm2: dict[str, Layer] = {"local_norm2": LocalResponseNorm(5)} if original else {}
    return {
        **_conv("conv1", 64, 7, original, stride=2, padding=3),
        "pool1": MaxPool2d(3, 2, ceil_mode=True),
        **local_norm1,
        **_conv("conv2", 64, 1, original),
        **_conv("conv3", 192, 3, original, padding=1),
        **local_norm2,
        "pool2": MaxPool2d(3, 2, ceil_mode=True),
    }


def _inception(
    conv1: int, reduce3: int, conv3: int, reduce5: int, conv5: int, pool_filters: int, original: bool
) -> Parallel:
    branches: dict[str, Layer] = {
        "branch1x1": Sequential(**_conv("conv", conv1, 1, original)),
        "branch3x3": Sequential(
            **_conv("reduce", reduce3, 1, original), **_conv("conv", conv3, 3, original, padding=1)
        ),
        "branch5x5": Sequential(
            **_conv("reduce", reduce5, 1, original),
            **_conv("conv", conv5, 5 if original else 3, original, padding=2 if original else 1),
        ),
        "branch_pool": Sequential(pool=MaxPool2d(3, 1, padding=1), **_conv("conv", pool_filters, 1, original)),
    }
    return Parallel(branches, Concat())


def _auxiliary(classes: int, original: bool) -> Sequential:
    return Sequential(
        pool=AvgPool2d(5, 3) if original else AdaptiveAvgPool2d(4),  # both reduce 14 x 14 maps to 4 x 4
        **_conv("conv", 128, 1, original),
        flatten=Flatten(),
        dense=Dense(1024),
        relu_dense=ReLU(),
        dropout=Dropout(0.7),
        scores=Dense(classes, init_weight=LOGITS_INITIALIZER),
    )


def _conv(name: str, filters: int, kernel: int, original: bool, stride: int = 1, padding: int = 0) -> dict[str, Layer]:
    if not original:
        return conv_norm_relu(name, filters, kernel, stride, padding, EPSILON)
    return {name: Conv2d(filters, kernel, stride=stride, padding=padding), name_after(name, "relu"): ReLU()}
