"""ConvNeXt-T."""

from pellucid.base.settings.arguments import checked
from pellucid.combine import Graph, Parallel, Sequential
from pellucid.layers import GELU, AdaptiveAvgPool2d, Conv2d, Dense, Flatten, LayerNorm
from pellucid.layers.base import Layer
from pellucid.models.parts import LOGITS_INITIALIZER, network, residual
from pellucid.operators import Learned, Permute, Times

BLOCKS_PER_STAGE, WIDTHS = (3, 3, 9, 3), (96, 192, 384, 768)  # blocks and channels of the four stages
EPSILON = 1e-6  # of the layer normalization
INITIAL_SCALE = 1e-6  # initial factors of the output of a block's body (layer scale)
CHANNELS_LAST = {"last": Permute((0, 2, 3, 1))}  # LayerNorm and Dense apply to the last axis
CHANNELS_FIRST = {"first": Permute((0, 3, 1, 2))}


@checked
def convnext_tiny(classes: int = 1000) -> Sequential:
    """Return ConvNeXt-T for 224 x 224 images, 28,589,128 parameters for 1000 classes; it outputs logits.

    Stochastic depth is left out. The child `features` outputs (768, 7, 7).
    Source: Liu, Mao, Wu, Feichtenhofer, Darrell and Xie 2022, section 3; layer scale: Touvron et al. 2021, equation 3.
    """
    features: dict[str, Layer] = {
        "stem": Sequential(
            conv=Conv2d(WIDTHS[0], 4, stride=4), **CHANNELS_LAST, norm=LayerNorm(WIDTHS[:1], EPSILON), **CHANNELS_FIRST
        )
    }
    for index, (n_blocks, width) in enumerate(zip(BLOCKS_PER_STAGE, WIDTHS, strict=True), start=1):
        if index > 1:
            norm = LayerNorm((WIDTHS[index - 2],), EPSILON)
            features[f"halve{index}"] = Sequential(
                **CHANNELS_LAST, norm=norm, **CHANNELS_FIRST, conv=Conv2d(width, 2, stride=2)
            )
        blocks = {f"block{number}": _block(width) for number in range(1, n_blocks + 1)}
        features[f"stage{index}"] = Sequential(**blocks)
    head: dict[str, Layer] = {
        "pool": AdaptiveAvgPool2d(1),
        "flatten": Flatten(),
        "norm": LayerNorm((WIDTHS[-1],), EPSILON),
        "scores": Dense(classes, init_weight=LOGITS_INITIALIZER),
    }
    return network(features, head)


def _block(width: int) -> Parallel:
    """Return a residual block: a depthwise 7 x 7 convolution, two dense layers at each pixel, scale by channel."""
    layer_scale = {"factors": (Learned((1, 1, 1, width), INITIAL_SCALE),), "scaled": (Times(), "input", "factors")}
    body = Sequential(
        depthwise=Conv2d(width, 7, padding=3, groups=width),
        **CHANNELS_LAST,
        norm=LayerNorm((width,), EPSILON),
        expand=Dense(4 * width, pixels=True),
        gelu=GELU(),
        project=Dense(width, pixels=True),
        scale=Graph(layer_scale, ("scaled",)),
        **CHANNELS_FIRST,
    )
    return residual(body)
