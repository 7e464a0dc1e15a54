"""LeNet-5."""

from pellucid.combine import Sequential
from pellucid.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.layers.base import Layer
from pellucid.models.parts import network


def lenet(classes: int = 10) -> Sequential:
    """Return LeNet-5 with ReLU and max pooling; it outputs logits.

    For 28 x 28 images; the first convolution pads them by 2 to the 32 x 32 of the paper. The layers output 6 x 28 x 28,
    6 x 14 x 14, 16 x 10 x 10, 16 x 5 x 5, 120, 84 and `classes` values. With one channel and 10 classes it has 61,706
    parameters.
    Source: LeCun, Bottou, Bengio and Haffner 1998, figure 2, with three changes: max pooling replaces the trained
    subsampling, each filter of conv2 uses all six maps (only some in table I), and a Dense layer replaces the radial
    units.
    """
    features: dict[str, Layer] = {
        "conv1": Conv2d(6, 5, padding=2),
        "relu1": ReLU(),
        "pool1": MaxPool2d(2),
        "conv2": Conv2d(16, 5),
        "relu2": ReLU(),
        "pool2": MaxPool2d(2),
    }
    head: dict[str, Layer] = {
        "flatten": Flatten(),
        "dense1": Dense(120),
        "relu1": ReLU(),
        "dense2": Dense(84),
        "relu2": ReLU(),
        "scores": Dense(classes),
    }
    return network(features, head)
