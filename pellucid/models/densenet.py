"""DenseNet-121."""

from pellucid.base.settings.arguments import checked
from pellucid.combine import Parallel, Sequential
from pellucid.layers import AvgPool2d, BatchNorm, Concat, Conv2d, Identity, MaxPool2d, ReLU
from pellucid.layers.base import Layer
from pellucid.models.parts import average_head, conv_norm_relu, network

LAYERS_PER_BLOCK = (6, 12, 24, 16)
GROWTH = 32  # maps that each layer adds
STEM_CHANNELS = 64  # maps before the first block


@checked
def densenet121(classes: int = 1000, epsilon: float = 1e-5) -> Sequential:
    """Return DenseNet-121 for 224 x 224 images, 7,978,856 parameters for 1000 classes; it outputs logits.

    epsilon: of the batch normalization, 1e-5 in torchvision's weights and 1.001e-5 in Keras'. The child `features`
    outputs (1024, 7, 7).
    Source: Huang, Liu, van der Maaten and Weinberger 2017, table 1, with bottlenecks and compression 0.5.
    """
    stem = Sequential(
        **conv_norm_relu("conv", STEM_CHANNELS, 7, stride=2, padding=3, epsilon=epsilon),
        pool=MaxPool2d(3, 2, padding=1),
    )
    features: dict[str, Layer] = {"stem": stem}
    channels = STEM_CHANNELS
    for index, n_layers in enumerate(LAYERS_PER_BLOCK, start=1):
        features[f"block{index}"] = dense_block(n_layers, GROWTH, epsilon)
        channels += n_layers * GROWTH
        if index < len(LAYERS_PER_BLOCK):
            channels //= 2
            features[f"transition{index}"] = _transition(channels, epsilon)
    features["norm"] = BatchNorm(epsilon=epsilon)
    features["relu"] = ReLU()
    return network(features, average_head(classes))


def dense_block(n_layers: int, growth: int, epsilon: float = 1e-5) -> Sequential:
    """Return `n_layers` layers, each of which receives all earlier maps of the block and appends `growth` maps.

    Each concatenation is a new tensor, so the memory for the backward pass grows with the square of `n_layers`.
    """
    layers = {f"layer{number}": _dense_layer(growth, epsilon) for number in range(1, n_layers + 1)}
    return Sequential(**layers)


def _dense_layer(growth: int, epsilon: float) -> Parallel:
    added_maps = Sequential(
        norm1=BatchNorm(epsilon=epsilon),
        relu1=ReLU(),
        conv1=Conv2d(4 * growth, 1, bias=False),
        norm2=BatchNorm(epsilon=epsilon),
        relu2=ReLU(),
        conv2=Conv2d(growth, 3, padding=1, bias=False),
    )
    return Parallel({"before": Identity(), "added": added_maps}, Concat())


def _transition(channels: int, epsilon: float) -> Sequential:
    return Sequential(
        norm=BatchNorm(epsilon=epsilon),
        relu=ReLU(),
        conv=Conv2d(channels, 1, bias=False),
        pool=AvgPool2d(2),
    )
