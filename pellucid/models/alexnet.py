"""AlexNet and ZFNet."""

from pellucid.base.settings.arguments import checked
from pellucid.combine import Sequential
from pellucid.layers import AdaptiveAvgPool2d, Conv2d, LocalResponseNorm, MaxPool2d, ReLU
from pellucid.layers.base import Layer
from pellucid.models.parts import dense_head, network, vgg_head


@checked
def alexnet(classes: int = 1000, original: bool = False) -> Sequential:
    """Return AlexNet as in torchvision; it outputs logits.

    For 224 x 224 images: 61,100,840 parameters with three channels and 1000 classes; the child `features`
    outputs (256, 6, 6).
    original: whether to return the network of 2012 as in Caffe and the ONNX model zoo, with two groups of filters and
    local response normalization, for 227 x 227 images: 60,965,224 parameters.
    Source: Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks, section 5;
    Krizhevsky, Sutskever and Hinton 2012, section 3.5.
    """
    if original:
        return network(_original_features(), vgg_head(classes, 6))
    # Dropout precedes each dense layer; in the network of 2012, it follows each hidden dense layer.
    head = {"pool": AdaptiveAvgPool2d(6), **dense_head(classes, (4096, 4096), 0.5)}
    return network(_features(Conv2d(64, 11, stride=4, padding=2), 64), head)


def alexnet_small(classes: int = 10, width: int = 24, dropout: float = 0.5) -> Sequential:
    """Return a small AlexNet for images of 28 x 28 or 32 x 32; it outputs logits.

    width: the filters of the first of five convolutions, 64 in AlexNet; as in AlexNet, the others have 3, 6, 4 and 4
    times as many. The first convolution has a kernel of 5 x 5 and a stride of 1; the hidden dense layers have 256
    units. dropout: the probability before each dense layer. For 28 x 28 images with one channel: 511,826 parameters;
    the child `features` outputs (96, 2, 2).
    Source: adapted from Krizhevsky 2014, section 5.
    """
    return network(_features(Conv2d(width, 5, padding=2), width), dense_head(classes, (256, 256), dropout))


def _features(first_conv: Conv2d, width: int) -> dict[str, Layer]:
    """Return five convolutions with ReLUs and three max poolings; first_conv: the first of them, of `width` filters."""
    return {
        "conv1": first_conv,
        "relu1": ReLU(),
        "pool1": MaxPool2d(3, 2),
        "conv2": Conv2d(3 * width, 5, padding=2),
        "relu2": ReLU(),
        "pool2": MaxPool2d(3, 2),
        "conv3": Conv2d(6 * width, 3, padding=1),
        "relu3": ReLU(),
        "conv4": Conv2d(4 * width, 3, padding=1),
        "relu4": ReLU(),
        "conv5": Conv2d(4 * width, 3, padding=1),
        "relu5": ReLU(),
        "pool5": MaxPool2d(3, 2),
    }


def _original_features() -> dict[str, Layer]:
    return {
        "conv1": Conv2d(96, 11, stride=4),
        "relu1": ReLU(),
        "norm1": LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0),
        "pool1": MaxPool2d(3, 2),
        "conv2": Conv2d(256, 5, padding=2, groups=2),
        "relu2": ReLU(),
        "norm2": LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0),
        "pool2": MaxPool2d(3, 2),
        "conv3": Conv2d(384, 3, padding=1),
        "relu3": ReLU(),
        "conv4": Conv2d(384, 3, padding=1, groups=2),
        "relu4": ReLU(),
        "conv5": Conv2d(256, 3, padding=1, groups=2),
        "relu5": ReLU(),
        "pool5": MaxPool2d(3, 2, ceil_mode=True),  # so images of 224 x 224 also result in 6 x 6 maps
    }


def zfnet(classes: int = 1000) -> Sequential:
    """Return ZFNet, AlexNet with smaller filters and strides in the first layers; it outputs logits.

    For 224 x 224 images, the convolutions output 96 maps of 110 x 110, pooled to 55 x 55; 256 maps of 26 x 26, pooled
    to 13 x 13; and 384, 384 and 256 maps of 13 x 13, pooled to 6 x 6. With three channels and 1000 classes it has
    62,357,608 parameters.
    Source: Zeiler and Fergus 2014, figure 3; normalization across maps as in Krizhevsky, Sutskever
    and Hinton 2012, section 3.3, with the same constants.
    """
    features = {
        "conv1": Conv2d(96, 7, stride=2, padding=1),
        "relu1": ReLU(),
        "pool1": MaxPool2d(3, 2, ceil_mode=True),
        "norm1": LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
        "conv2": Conv2d(256, 5, stride=2),
        "relu2": ReLU(),
        "pool2": MaxPool2d(3, 2, ceil_mode=True),
        "norm2": LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
        "conv3": Conv2d(384, 3, padding=1),
        "relu3": ReLU(),
        "conv4": Conv2d(384, 3, padding=1),
        "relu4": ReLU(),
        "conv5": Conv2d(256, 3, padding=1),
        "relu5": ReLU(),
        "pool5": MaxPool2d(3, 2),
    }
    return network(features, vgg_head(classes, 6))
