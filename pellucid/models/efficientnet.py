"""EfficientNet-B0."""

from pellucid.base.settings.arguments import checked
from pellucid.combine import Parallel, Sequential
from pellucid.layers import AdaptiveAvgPool2d, Conv2d, Identity, Multiply, Sigmoid, SiLU
from pellucid.layers.base import Layer
from pellucid.models.parts import average_head, conv_norm, name_after, network, residual

# The stages of table 1: expansion factor, kernel, stride of the first block, channels, number of blocks.
STAGES = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
)  # fmt: skip
STEM_CHANNELS = 32  # channels before the first stage
LAST_CHANNELS = 1280  # channels after the last stage
SQUEEZE_FACTOR = 4  # a block's input channels for each unit of its gate


@checked
def efficientnet_b0(classes: int = 1000, epsilon: float = 1e-5) -> Sequential:
    """Return EfficientNet-B0 for 224 x 224 images, 5,288,548 parameters for 1000 classes; it outputs logits.

    epsilon: of the batch normalization, 1e-3 in Keras' weights. The child `features` outputs (1280, 7, 7).
    Source: Tan and Le 2019, table 1; its gates: Hu, Shen and Sun 2018, equations 2 to 4.
    """
    features: dict[str, Layer] = {"stem": Sequential(**_conv("conv", STEM_CHANNELS, 3, 2, epsilon=epsilon))}
    channels = STEM_CHANNELS
    for index, (expansion, kernel, stride, out_channels, n_blocks) in enumerate(STAGES, start=1):
        blocks: dict[str, Layer] = {}
        for number in range(1, n_blocks + 1):
            block_stride = stride if number == 1 else 1
            body = _inverted_residual(channels, out_channels, expansion, kernel, block_stride, epsilon)
            has_shortcut = block_stride == 1 and channels == out_channels
            blocks[f"block{number}"] = residual(body) if has_shortcut else Sequential(body=body)
            channels = out_channels
        features[f"stage{index}"] = Sequential(**blocks)
    features["last"] = Sequential(**_conv("conv", LAST_CHANNELS, 1, epsilon=epsilon))
    return network(features, average_head(classes, dropout=0.2))


def channel_gate(channels: int, units: int) -> Parallel:
    """Return a layer that scales each channel by a number from 0 to 1, computed from the means of all channels."""
    gate = Sequential(
        pool=AdaptiveAvgPool2d(1),
        squeeze=Conv2d(units, 1),
        silu=SiLU(),
        excite=Conv2d(channels, 1),
        sigmoid=Sigmoid(),
    )
    return Parallel({"maps": Identity(), "gate": gate}, Multiply())


def _inverted_residual(
    in_channels: int, out_channels: int, expansion: int, kernel: int, stride: int, epsilon: float
) -> Sequential:
    """Return an inverted residual: 1 x 1 expansion, depthwise convolution, channel gate, 1 x 1 projection."""
    inner_channels = in_channels * expansion
    return Sequential(
        **(_conv("expand", inner_channels, 1, epsilon=epsilon) if expansion > 1 else {}),
        **_conv("depthwise", inner_channels, kernel, stride, inner_channels, epsilon),
        scale=channel_gate(inner_channels, in_channels // SQUEEZE_FACTOR),
        **conv_norm("project", out_channels, 1, epsilon=epsilon),
    )


def _conv(
    name: str, filters: int, kernel: int, stride: int = 1, groups: int = 1, epsilon: float = 1e-5
) -> dict[str, Layer]:
    return {
        **conv_norm(name, filters, kernel, stride, padding=kernel // 2, groups=groups, epsilon=epsilon),
        name_after(name, "silu"): SiLU(),
    }
