"""Swin transformers."""

from typing import Any

from pellucid.base.settings.arguments import checked
from pellucid.base.settings.checks import check
from pellucid.combine import Graph, Sequential
from pellucid.layers import GELU, AdaptiveAvgPool2d, Conv2d, Dense, Flatten, LayerNorm
from pellucid.layers.base import Layer
from pellucid.models.parts import LOGITS_INITIALIZER, network, residual
from pellucid.operators import Attention, Learned, Permute, Reverse, Roll, ShiftMask, Slice, ToShape, Unfold

PATCH = 4  # side in pixels of the squares that become tokens
POSITION_STD = 0.02  # standard deviation of initial position biases


@checked
def swin(
    classes: int = 1000,
    side: int = 224,
    window: int = 7,
    width: int = 96,
    depths: tuple[int, ...] = (2, 2, 6, 2),
    heads: int = 3,
) -> Sequential:
    """Return a Swin transformer, by default Swin-T: 28,288,354 parameters for 1000 classes; it outputs logits.

    side: of the images, in pixels. window: side in tokens of the square windows within which attention is computed.
    width, heads: length of a token and number of attention heads in the first stage; both double from stage to stage.
    depths: number of blocks of each stage; every second block shifts the windows. Stochastic depth is left out.
    The child `features` of Swin-T outputs (768, 7, 7). Raises PellucidError unless `side` is a multiple of the windows
    of each stage, and `width` of `heads`.
    Source: Liu et al. 2021, section 3.
    """
    side_divisor = PATCH * 2 ** (len(depths) - 1) * window
    check(side % side_divisor == 0, "swin: side", f"a multiple of {side_divisor}, for windows in each stage", side)
    check(width % heads == 0, "swin: heads", f"a divisor of width={width}", heads)
    tokens = side // PATCH
    features: dict[str, Layer] = {
        "patches": Sequential(
            conv=Conv2d(width, PATCH, stride=PATCH), last=Permute((0, 2, 3, 1)), norm=LayerNorm((width,))
        )
    }
    for stage, depth in enumerate(depths, start=1):
        if stage > 1:
            features[f"merge{stage}"] = _patch_merging(tokens, width)
            tokens, width, heads = tokens // 2, 2 * width, 2 * heads
        shift = window // 2 if tokens > window else 0
        blocks = [_block(tokens, window, shift * (number % 2), width, heads) for number in range(depth)]
        features[f"stage{stage}"] = Sequential(**{f"block{number}": block for number, block in enumerate(blocks, 1)})
    features["last"] = Sequential(norm=LayerNorm((width,)), first=Permute((0, 3, 1, 2)))
    head = {
        "pool": AdaptiveAvgPool2d(1),
        "flatten": Flatten(),
        "scores": Dense(classes, init_weight=LOGITS_INITIALIZER),
    }
    return network(features, head)


def _patch_merging(tokens: int, width: int) -> Sequential:
    """Return a layer that merges each 2 x 2 tokens of (N, tokens, tokens, width) into one token of length 2 * width.

    The tokens of a square are concatenated column by column.
    """
    return Sequential(
        squares=ToShape((-1, tokens // 2, 2, tokens // 2, 2, width)),
        columns=Permute((0, 1, 3, 4, 2, 5)),
        joined=ToShape((-1, tokens // 2, tokens // 2, 4 * width)),
        norm=LayerNorm((4 * width,)),
        reduce=Dense(2 * width, bias=False, init_weight=LOGITS_INITIALIZER, pixels=True),
    )


def _block(tokens: int, window: int, shift: int, width: int, heads: int) -> Sequential:
    attention_block = Sequential(norm=LayerNorm((width,)), attend=_attention(tokens, window, shift, width, heads))
    feed_forward = Sequential(
        norm=LayerNorm((width,)),
        expand=Dense(4 * width, pixels=True),
        gelu=GELU(),
        project=Dense(width, init_weight=LOGITS_INITIALIZER, pixels=True),
    )
    return Sequential(attention=residual(attention_block), units=residual(feed_forward))


def _attention(tokens: int, window: int, shift: int, width: int, heads: int) -> Graph:
    """Return the self-attention of tokens (N, tokens, tokens, width) within windows, by equation 4."""
    side, area = tokens // window, window * window  # windows in a row, tokens in a window
    nodes: dict[str, tuple[Any, ...]] = {"shifted": (Roll((-shift, -shift), (1, 2)), "input")} if shift else {}
    nodes |= {
        "rows": (
            ToShape((-1, side, window, side, window, width)),
            "shifted" if shift else "input",
        ),
        "squares": (Permute((0, 1, 3, 2, 4, 5)), "rows"),
        "windows": (ToShape((-1, side * side, area, width)), "squares"),
        "qkv": (Dense(3 * width, init_weight=LOGITS_INITIALIZER, pixels=True), "windows"),
        "split": (ToShape((-1, side * side, area, 3 * heads, width // heads)), "qkv"),
        "groups": (Permute((0, 1, 3, 2, 4)), "split"),
        "queries": (Slice(2, 0, heads), "groups"),
        "keys": (Slice(2, heads, 2 * heads), "groups"),
        "values": (Slice(2, 2 * heads), "groups"),
        **_position_bias(window, heads),
    }
    if shift:
        nodes["mask"] = (ShiftMask(tokens, window, shift),)
    masks = ("bias", "mask") if shift else ("bias",)
    nodes |= {
        "attention": (Attention(), "queries", "keys", "values", *masks),
        "side_by_side": (Permute((0, 1, 3, 2, 4)), "attention"),
        "merged": (ToShape((-1, side, side, window, window, width)), "side_by_side"),
        "squares_back": (Permute((0, 1, 3, 2, 4, 5)), "merged"),
        "rows_back": (ToShape((-1, tokens, tokens, width)), "squares_back"),
    }
    last_node = "rows_back"
    if shift:
        nodes["shifted_back"] = (Roll((shift, shift), (1, 2)), last_node)
        last_node = "shifted_back"
    return Graph(
        {**nodes, "project": (Dense(width, init_weight=LOGITS_INITIALIZER, pixels=True), last_node)}, ("project",)
    )


def _position_bias(window: int, heads: int) -> dict[str, tuple[Any, ...]]:
    """Return the biases (1, 1, heads, T, T) of pairs of tokens: one for each distance (dy, dx) of a query from a key.

    The learned biases are a table by distance. The window of this table at the position of a query contains the biases
    of the query for all keys, from the last key to the first.
    """
    area = window * window
    return {
        "distances": (Learned((1, heads, 2 * window - 1, 2 * window - 1), std=POSITION_STD),),
        "columns": (Unfold((window, window), (1, 1), (0, 0), (1, 1)), "distances"),
        "reversed": (ToShape((-1, 1, heads, area, area)), "columns"),
        "keys_first": (Reverse((3,)), "reversed"),
        "bias": (Permute((0, 1, 2, 4, 3)), "keys_first"),
    }
