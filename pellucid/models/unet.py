"""U-Net."""

from pellucid.combine import Graph, Sequential
from pellucid.layers import Concat, Conv2d, ConvTranspose2d, Crop, MaxPool2d
from pellucid.layers.base import Layer
from pellucid.models.parts import LOGITS_INITIALIZER, convolutions

LEVELS = 4  # levels below the first; each has half the height and width and twice the channels of the previous one


def unet(classes: int = 2, width: int = 64, norm: bool = False) -> Graph:
    """Return U-Net for images of any size, 31,031,810 parameters for RGB and 2 classes.

    It outputs logits (classes, H, W). width: the channels of the first level. norm: whether batch normalization
    follows each 3 x 3 convolution. Unlike in the paper, convolutions are padded to keep the size. An odd last row or
    column is pooled separately; after upsampling, the maps are cropped to the previous size.
    Source: Ronneberger, Fischer and Brox 2015, figure 1.
    """
    down_nodes: dict[str, tuple[Layer, str]] = {"level1": (_two_convolutions(width, norm), "input")}
    for level in range(2, LEVELS + 2):
        down_nodes[f"pool{level}"] = (MaxPool2d(2, ceil_mode=True), f"level{level - 1}")
        down_nodes[f"level{level}"] = (_two_convolutions(width * 2 ** (level - 1), norm), f"pool{level}")
    skips = tuple(f"level{level}" for level in range(LEVELS, 0, -1))
    up_nodes: dict[str, tuple[Layer | str, ...]] = {}
    previous = "maps"
    for skip, level in zip(skips, range(LEVELS, 0, -1), strict=True):
        filters = width * 2 ** (level - 1)
        up_nodes |= {
            f"up{level}": (ConvTranspose2d(filters, 2, stride=2), previous),
            f"crop{level}": (Crop(), f"up{level}", skip),
            f"concat{level}": (Concat(), skip, f"crop{level}"),
            f"merged{level}": (_two_convolutions(filters, norm), f"concat{level}"),
        }
        previous = f"merged{level}"
    up_nodes["scores"] = (Conv2d(classes, 1, init_weight=LOGITS_INITIALIZER), previous)
    bottom = f"level{LEVELS + 1}"
    nets = {
        "features": (Graph(down_nodes, (bottom, *skips)), "input"),
        "head": (Graph(up_nodes, ("scores",), ("maps", *skips)), "features"),
    }
    return Graph(nets, ("head",))


def _two_convolutions(filters: int, norm: bool) -> Sequential:
    return Sequential(**convolutions(2, filters, norm, bias=not norm))
