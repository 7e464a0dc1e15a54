"""Vision transformers."""

from typing import Any, Literal

from pellucid.base.settings.arguments import checked
from pellucid.base.settings.checks import check
from pellucid.combine import Graph, Sequential
from pellucid.layers import GELU, Conv2d, Dense, LayerNorm
from pellucid.layers.base import Layer
from pellucid.models.parts import LOGITS_INITIALIZER, conv_norm_relu, network, residual
from pellucid.operators import Attention, Expand, Join, Learned, Mean, Permute, Plus, Select, Slice, ToShape

EPSILON = 1e-6  # of the layer normalization
POSITION_STD = 0.02  # standard deviation of initial position embeddings


@checked
def vit(
    classes: int = 1000,
    side: int = 224,
    patch: int = 16,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    pool: Literal["token", "mean"] = "token",
    stem: Literal["patch", "conv"] = "patch",
) -> Sequential:
    """Return a vision transformer, by default ViT-B/16: 86,567,656 parameters for 1000 classes; it outputs logits.

    side: of the images, in pixels. patch: side in pixels of the squares that become tokens. width: length of a token.
    depth: number of blocks. heads: number of attention heads in each block. pool: the input of the scores, a class
    "token" or the "mean" of all tokens. stem: how tokens are computed. With "patch", each is a linear map of its patch.
    With "conv", each is a pixel of the output of convolutions: two 3 x 3 convolutions for each halving of the image,
    whose filters double up to `width`, and a 1 x 1 convolution; this is trained faster, and with fewer images.
    The child `features` outputs (tokens, width). Raises PellucidError unless `side` is a multiple of `patch` and
    `width` of `heads`, and for "conv" with a patch that is no power of 2.
    Source: Dosovitskiy et al. 2021, section 3.1 and table 1; the mean of tokens: Beyer, Zhai and Kolesnikov 2022; the
    convolutional stem: Xiao et al. 2021, Early convolutions help transformers see better, section 4, with two
    convolutions for each size of maps, as in its larger networks.
    """
    check(side % patch == 0, "vit: patch", f"a divisor of side={side}", patch)
    check(width % heads == 0, "vit: heads", f"a divisor of width={width}", heads)
    check(pool in ("token", "mean"), "vit: pool", "'token' or 'mean'", pool)
    check(stem in ("patch", "conv"), "vit: stem", "'patch' or 'conv'", stem)
    tokens = (side // patch) ** 2
    stem_layers = _conv_stem(patch, width) if stem == "conv" else {"conv": Conv2d(width, patch, stride=patch)}
    patches = Sequential(**stem_layers, flat=ToShape((-1, width, tokens)), last=Permute((0, 2, 1)))
    features: dict[str, Layer] = {"patches": patches}
    features["embed"] = _embedding(tokens, width, pool == "token")
    tokens += pool == "token"
    for number in range(1, depth + 1):
        features[f"block{number}"] = _block(tokens, width, heads)
    features["norm"] = LayerNorm((width,), EPSILON)
    pool_layer = Select(1, 0) if pool == "token" else Mean((1,))
    return network(features, {"pool": pool_layer, "scores": Dense(classes, init_weight=LOGITS_INITIALIZER)})


def _conv_stem(patch: int, width: int) -> dict[str, Layer]:
    """Return the layers of the convolutional stem, which reduce each patch to a pixel with `width` channels."""
    halvings = patch.bit_length() - 1
    check(patch == 2**halvings > 1, "vit: patch", "a power of 2 from 2 for stem='conv'", patch)
    check(width % 2 ** (halvings - 1) == 0, "vit: width", f"a multiple of {2 ** (halvings - 1)} for this stem", width)
    layers: dict[str, Layer] = {}
    for number in range(halvings):
        filters = width // 2 ** (halvings - 1 - number)
        layers |= conv_norm_relu(f"conv{2 * number + 1}", filters, 3, stride=2, padding=1)
        layers |= conv_norm_relu(f"conv{2 * number + 2}", filters, 3, padding=1)
    return {**layers, "project": Conv2d(width, 1, init_weight=LOGITS_INITIALIZER)}


def self_attention(tokens: int, width: int, heads: int) -> Graph:
    """Return the self-attention of tokens (N, tokens, width), with `heads` heads."""
    nodes: dict[str, tuple[Any, ...]] = {
        "qkv": (Dense(3 * width, init_weight=LOGITS_INITIALIZER), "input"),
        "split": (ToShape((-1, tokens, 3 * heads, width // heads)), "qkv"),
        "groups": (Permute((0, 2, 1, 3)), "split"),
        "queries": (Slice(1, 0, heads), "groups"),
        "keys": (Slice(1, heads, 2 * heads), "groups"),
        "values": (Slice(1, 2 * heads), "groups"),
        "attention": (Attention(), "queries", "keys", "values"),
        "side_by_side": (Permute((0, 2, 1, 3)), "attention"),
        "merged": (ToShape((-1, tokens, width)), "side_by_side"),
        "project": (Dense(width, init_weight=LOGITS_INITIALIZER), "merged"),
    }
    return Graph(nodes, ("project",))


def _embedding(tokens: int, width: int, has_token: bool) -> Graph:
    """Return a layer that adds learned positions to the tokens, and a class token before them if `has_token`."""
    nodes: dict[str, tuple[Any, ...]] = {}
    if has_token:
        nodes["token"] = (Learned((1, 1, width)),)
        nodes["tokens"] = (Expand((0, -1, -1)), "token", "input")
        nodes["all"] = (Join(1), "tokens", "input")
    nodes["positions"] = (Learned((1, tokens + has_token, width), std=POSITION_STD),)
    nodes["sum"] = (Plus(), "all" if has_token else "input", "positions")
    return Graph(nodes, ("sum",))


def _block(tokens: int, width: int, heads: int) -> Sequential:
    attention_block = Sequential(norm=LayerNorm((width,), EPSILON), attend=self_attention(tokens, width, heads))
    feed_forward = Sequential(
        norm=LayerNorm((width,), EPSILON),
        expand=Dense(4 * width),
        gelu=GELU(),
        project=Dense(width, init_weight=LOGITS_INITIALIZER),
    )
    return Sequential(attention=residual(attention_block), units=residual(feed_forward))
