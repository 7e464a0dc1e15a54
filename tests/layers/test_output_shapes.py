"""Output shapes of convolutions and pooling equal published ones."""

import pytest
import torch

from pellucid.layers import AdaptiveAvgPool2d, Conv2d, ConvTranspose2d, Layer, MaxPool2d


@pytest.mark.parametrize(
    ("layer", "shape", "output_shape"),
    [
        (Conv2d(96, 11, stride=4), (3, 227, 227), (96, 55, 55)),  # Krizhevsky et al. 2012, first layer
        (Conv2d(6, 5), (1, 32, 32), (6, 28, 28)),  # LeNet-5, C1
        (Conv2d(64, 7, stride=2, padding=3), (3, 224, 224), (64, 112, 112)),  # ResNet, conv1
        (MaxPool2d(3, stride=2, padding=1), (64, 112, 112), (64, 56, 56)),  # ResNet, pool1
        (MaxPool2d(3, stride=2), (96, 55, 55), (96, 27, 27)),  # AlexNet, pool1
        (MaxPool2d(3, stride=2, ceil_mode=True), (64, 112, 112), (64, 56, 56)),  # GoogLeNet, pool1
        (Conv2d(8, 3, dilation=2), (4, 7, 7), (8, 3, 3)),  # Dumoulin and Visin 2016, figure 5.1
        (ConvTranspose2d(1, 3, stride=2, padding=1), (1, 3, 3), (1, 5, 5)),  # the same, figure 4.6
        (ConvTranspose2d(1, 3, stride=2, padding=1, output_padding=1), (1, 3, 3), (1, 6, 6)),  # figure 4.7
        (AdaptiveAvgPool2d((7, 7)), (512, 3, 9), (512, 7, 7)),
    ],
)
def test_output_shapes_equal_published_ones(
    layer: Layer, shape: tuple[int, int, int], output_shape: tuple[int, int, int]
) -> None:
    assert layer.init(shape, torch.Generator())[1] == output_shape


def test_the_first_layer_of_alexnet_has_34848_weights() -> None:
    params, _ = Conv2d(96, 11, stride=4).init((3, 227, 227), torch.Generator())
    assert params["weight"].numel() == 34_848
    assert params["bias"].numel() == 96
