"""ZFNet."""

from pellucid.combine import Sequential
from pellucid.layers import Conv2d, LocalResponseNorm, MaxPool2d, ReLU
from pellucid.models.parts import dense_head, network


def zfnet(classes: int = 1000) -> Sequential:
    """Return ZFNet, AlexNet with smaller and denser first filters; it ends in logits.

    For 224 x 224 images: the layers leave 96 maps of 110 x 110, pooled to 55 x 55, 256 of 26 x 26, pooled to
    13 x 13, 384, 384 and 256 of 13 x 13, pooled to 6 x 6. With three channels and 1000 classes it has 62,357,608
    parameters.
    Source: Zeiler and Fergus 2014, figure 3; the contrast normalization across maps is that of Krizhevsky,
    Sutskever and Hinton 2012, section 3.3, with its constants.
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
    return network(features, dense_head(classes, 6))
