"""Residual networks for ImageNet and CIFAR-10."""

from pellucid.base.settings.arguments import checked
from pellucid.combine import Parallel, Sequential
from pellucid.layers import Add, AvgPool2d, Identity, MaxPool2d, PadChannels, ReLU
from pellucid.layers.base import Layer
from pellucid.models.parts import average_head, conv_norm, conv_norm_relu, network

WIDTHS = (64, 128, 256, 512)  # filters of the 3 x 3 convolutions in the four stages


@checked
def resnet18(classes: int = 1000, epsilon: float = 1e-5) -> Sequential:
    """Return ResNet-18 for 224 x 224 images, 11,689,512 parameters for 1000 classes; it outputs logits.

    epsilon: of the batch normalization, 1e-5 in torchvision's weights. The child `features` outputs (512, 7, 7).
    Source: He, Zhang, Ren and Sun 2016, table 1, with projections if the shape changes (option B).
    """
    return _resnet((2, 2, 2, 2), classes, epsilon)


@checked
def resnet34(classes: int = 1000, epsilon: float = 1e-5) -> Sequential:
    """Return ResNet-34 for 224 x 224 images, 21,797,672 parameters for 1000 classes; it outputs logits.

    epsilon: of the batch normalization, 1e-5 in torchvision's weights. The child `features` outputs (512, 7, 7).
    Source: He, Zhang, Ren and Sun 2016, table 1, with projections if the shape changes (option B).
    """
    return _resnet((3, 4, 6, 3), classes, epsilon)


@checked
def resnet50(classes: int = 1000, epsilon: float = 1e-5, stride_first: bool = False) -> Sequential:
    """Return ResNet-50 for 224 x 224 images, 25,557,032 parameters for 1000 classes; it outputs logits.

    epsilon: of the batch normalization, 1e-5 in torchvision's weights and 1.001e-5 in Keras'. stride_first: whether the
    stride of blocks that halve the maps is in their first convolution, as in the paper and in Keras' weights; by
    default it is in the second (3 x 3) convolution, as in torchvision's weights. The child `features` outputs
    (2048, 7, 7).
    Source: He, Zhang, Ren and Sun 2016, table 1 and figure 5.
    """
    return _resnet((3, 4, 6, 3), classes, epsilon, bottleneck=True, stride_first=stride_first)


@checked
def resnet101(classes: int = 1000, epsilon: float = 1e-5, stride_first: bool = False) -> Sequential:
    """Return ResNet-101 for 224 x 224 images, 44,549,160 parameters for 1000 classes; it outputs logits.

    epsilon and stride_first: see resnet50. The child `features` outputs (2048, 7, 7).
    Source: He, Zhang, Ren and Sun 2016, table 1 and figure 5.
    """
    return _resnet((3, 4, 23, 3), classes, epsilon, bottleneck=True, stride_first=stride_first)


@checked
def resnet152(classes: int = 1000, epsilon: float = 1e-5, stride_first: bool = False) -> Sequential:
    """Return ResNet-152 for 224 x 224 images, 60,192,808 parameters for 1000 classes; it outputs logits.

    epsilon and stride_first: see resnet50. The child `features` outputs (2048, 7, 7).
    Source: He, Zhang, Ren and Sun 2016, table 1 and figure 5.
    """
    return _resnet((3, 8, 36, 3), classes, epsilon, bottleneck=True, stride_first=stride_first)


def residual_block(shortcut: Layer, body: Layer) -> Sequential:
    """Return a residual block: the ReLU of the sum of `shortcut` and `body` (He et al. 2016, figure 2)."""
    return Sequential(residual=Parallel({"shortcut": shortcut, "body": body}, Add()), relu=ReLU())


def basic_body(filters: int, stride: int, epsilon: float = 1e-5) -> Sequential:
    """Return two 3 x 3 convolutions (He et al. 2016, figure 5, left)."""
    return Sequential(
        **conv_norm_relu("conv1", filters, 3, stride, padding=1, epsilon=epsilon),
        **conv_norm("conv2", filters, 3, padding=1, epsilon=epsilon),
    )


def bottleneck_body(filters: int, stride: int, epsilon: float, stride_first: bool) -> Sequential:
    """Return 1 x 1, 3 x 3 and 1 x 1 convolutions, the last with 4 * filters (He et al. 2016, figure 5, right)."""
    first_stride, second_stride = (stride, 1) if stride_first else (1, stride)
    return Sequential(
        **conv_norm_relu("conv1", filters, 1, first_stride, epsilon=epsilon),
        **conv_norm_relu("conv2", filters, 3, second_stride, padding=1, epsilon=epsilon),
        **conv_norm("conv3", 4 * filters, 1, epsilon=epsilon),
    )


def _resnet(
    blocks_per_stage: tuple[int, ...],
    classes: int,
    epsilon: float,
    bottleneck: bool = False,
    stride_first: bool = False,
) -> Sequential:
    stem = Sequential(
        **conv_norm_relu("conv", 64, 7, stride=2, padding=3, epsilon=epsilon), pool=MaxPool2d(3, 2, padding=1)
    )
    features: dict[str, Layer] = {"stem": stem}
    channels = 64
    for index, (n_blocks, filters) in enumerate(zip(blocks_per_stage, WIDTHS, strict=True), start=1):
        blocks: dict[str, Layer] = {}
        out_channels = 4 * filters if bottleneck else filters
        for number in range(1, n_blocks + 1):
            stride = 2 if number == 1 and index > 1 else 1
            if bottleneck:
                body = bottleneck_body(filters, stride, epsilon, stride_first)
            else:
                body = basic_body(filters, stride, epsilon)
            is_identity = stride == 1 and channels == out_channels
            shortcut = (
                Identity() if is_identity else Sequential(**conv_norm("conv", out_channels, 1, stride, epsilon=epsilon))
            )
            blocks[f"block{number}"] = residual_block(shortcut, body)
            channels = out_channels
        features[f"stage{index}"] = Sequential(**blocks)
    return network(features, average_head(classes))


def resnet20(classes: int = 10, width: int = 16) -> Sequential:
    """Return ResNet-20 for 32 x 32 images, 269,722 parameters for three channels and 10 classes; it outputs logits.

    width: the filters of the first of three stages; the second has twice and the third four times as many.
    Source: He, Zhang, Ren and Sun 2016, section 4.2 and table 6 (0.27 M), shortcuts without parameters (option A).
    """
    return _cifar_resnet(3, classes, width)


def resnet32(classes: int = 10, width: int = 16) -> Sequential:
    """Return ResNet-32 for 32 x 32 images, 464,154 parameters for three channels and 10 classes; it outputs logits.

    width: see resnet20.
    Source: He, Zhang, Ren and Sun 2016, section 4.2 and table 6 (0.46 M), shortcuts without parameters (option A).
    """
    return _cifar_resnet(5, classes, width)


def resnet56(classes: int = 10, width: int = 16) -> Sequential:
    """Return ResNet-56 for 32 x 32 images, 853,018 parameters for three channels and 10 classes; it outputs logits.

    width: see resnet20.
    Source: He, Zhang, Ren and Sun 2016, section 4.2 and table 6 (0.85 M), shortcuts without parameters (option A).
    """
    return _cifar_resnet(9, classes, width)


def _cifar_resnet(blocks_per_stage: int, classes: int, width: int) -> Sequential:
    features: dict[str, Layer] = {"stem": Sequential(**conv_norm_relu("conv", width, 3, padding=1))}
    for index in (1, 2, 3):
        blocks: dict[str, Layer] = {}
        for number in range(1, blocks_per_stage + 1):
            is_halving = number == 1 and index > 1
            filters = width * 2 ** (index - 1)
            shortcut = _halving_shortcut(filters // 2) if is_halving else Identity()
            blocks[f"block{number}"] = residual_block(shortcut, basic_body(filters, 2 if is_halving else 1))
        features[f"stage{index}"] = Sequential(**blocks)
    return network(features, average_head(classes))


def _halving_shortcut(channels: int) -> Sequential:
    """Return a shortcut that selects every second row and column, and appends `channels` channels of zeros."""
    return Sequential(every_second=AvgPool2d(1, 2), zeros=PadChannels(0, channels))
