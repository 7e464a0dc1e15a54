"""MobileNetV2."""

from typing import Literal

from pellucid.base.settings.arguments import checked
from pellucid.base.settings.checks import check
from pellucid.combine import Sequential
from pellucid.layers import Pad2d, ReLU6
from pellucid.layers.base import Layer
from pellucid.models.parts import average_head, conv_norm, name_after, network, residual

# The stages of table 2: expansion factor, channels, number of blocks, stride of the first block.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM_CHANNELS = 32  # channels before the first stage
LAST_CHANNELS = 1280  # channels after the last stage


@checked
def mobilenet_v2(
    classes: int = 1000,
    width: float = 1.0,
    epsilon: float = 1e-5,
    pad: Literal["both", "same"] = "both",
    dropout: float = 0.2,
) -> Sequential:
    """Return MobileNetV2 for 224 x 224 images, 3,504,872 parameters for 1000 classes; it outputs logits.

    width: the factor by which the numbers of channels are multiplied before they are rounded to multiples of 8; the
    last 1280 are only multiplied if it is above 1. epsilon: of the batch normalization, 1e-3 in Keras' weights. pad:
    where convolutions with stride 2 pad a row and a column: on every side for "both", as torchvision's weights need; at
    the bottom and on the right for "same", as Keras' weights need for images whose sides are multiples of 32. dropout:
    the probability before the scores, 0 for none. For a width of 1, the child `features` outputs (1280, 7, 7).
    Source: Sandler, Howard, Zhu, Zhmoginov and Chen 2018, tables 1 and 2; width is their section 6.1.
    Raises PellucidError for another `pad` and for a width outside 0 to 100.
    """
    check(pad in ("both", "same"), "mobilenet_v2: pad", "'both' or 'same'", pad)
    check(0 < width < 100, "mobilenet_v2: width", "a number above 0, such as 0.5 or 1.4", width)
    has_same_padding = pad == "same"
    channels = round_to_eight(STEM_CHANNELS * width)
    features: dict[str, Layer] = {"stem": Sequential(**_padded_conv("conv", channels, 2, 1, epsilon, has_same_padding))}
    for index, (expansion, base_channels, n_blocks, stride) in enumerate(STAGES, start=1):
        blocks: dict[str, Layer] = {}
        out_channels = round_to_eight(base_channels * width)
        for number in range(1, n_blocks + 1):
            block_stride = stride if number == 1 else 1
            body = _inverted_residual(channels, out_channels, expansion, block_stride, epsilon, has_same_padding)
            has_shortcut = block_stride == 1 and channels == out_channels
            blocks[f"block{number}"] = residual(body) if has_shortcut else Sequential(body=body)
            channels = out_channels
        features[f"stage{index}"] = Sequential(**blocks)
    features["last"] = Sequential(**_conv("conv", round_to_eight(LAST_CHANNELS * max(width, 1.0)), epsilon))
    return network(features, average_head(classes, dropout))


def round_to_eight(channels: float) -> int:
    """Return the multiple of 8 nearest to `channels`, or the next larger one if it is below 90 % of `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _inverted_residual(
    in_channels: int, out_channels: int, expansion: int, stride: int, epsilon: float, has_same_padding: bool
) -> Sequential:
    """Return an inverted residual: 1 x 1 expansion, depthwise 3 x 3 convolution, 1 x 1 projection."""
    inner_channels = in_channels * expansion
    return Sequential(
        **(_conv("expand", inner_channels, epsilon) if expansion > 1 else {}),
        **_padded_conv("depthwise", inner_channels, stride, inner_channels, epsilon, has_same_padding),
        **conv_norm("project", out_channels, 1, epsilon=epsilon),  # without ReLU6: linear bottlenecks, section 3.2
    )


def _conv(name: str, filters: int, epsilon: float) -> dict[str, Layer]:
    return {**conv_norm(name, filters, 1, epsilon=epsilon), name_after(name, "relu"): ReLU6()}


def _padded_conv(
    name: str, filters: int, stride: int, groups: int, epsilon: float, has_same_padding: bool
) -> dict[str, Layer]:
    is_asymmetric = has_same_padding and stride > 1
    return {
        **({name_after(name, "pad"): Pad2d((0, 1, 0, 1))} if is_asymmetric else {}),
        **conv_norm(name, filters, 3, stride, padding=0 if is_asymmetric else 1, groups=groups, epsilon=epsilon),
        name_after(name, "relu"): ReLU6(),
    }
