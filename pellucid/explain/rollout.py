"""Attention rollout: the share of each input token in the last layer's tokens, computed from the attention weights."""

from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.explain.gradcam import resized_map
from pellucid.explain.layout import ImageOutputs
from pellucid.explain.sweeps import forward_to, n_examples
from pellucid.explain.target import Target
from pellucid.explain.tokens import Tokens
from pellucid.layers import Softmax
from pellucid.layers.base import Cache, Layer, Params
from pellucid.operators import Attention


def has_attention_weights(layer: Layer) -> bool:
    """Return whether a layer may compute attention weights: attention, or a softmax over the last of four axes."""
    return isinstance(layer, Attention) or (isinstance(layer, Softmax) and layer.axis == 3)


def rollout(net: Layer, params: Params, x: Any, target: Target = None, upsample: bool = True) -> Tensor:
    """Return the product of the attention matrices, for the class token, as maps (N, 1, H, W) of the image.

    Each layer contributes (A + I) / 2, where A is the mean of its attention weights over heads, and the identity I is
    the residual connection. The class token is the first token that is no part of the image; without one, the mean of
    all tokens is explained. The method uses no gradient, and its map does not depend on a class. target: a path ends
    the network at this layer; a class has no effect. upsample: resize bilinearly to the size of x.
    Raises PellucidError for a network without attention among the tokens of a whole image.
    Source: Abnar and Zuidema 2020, section 3.
    """
    weights: list[Tensor] = []
    images = ImageOutputs(net, x)
    tokens = Tokens(images)

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        images(path, layer, x, y)
        tokens(path, layer, x, y, cache)
        if isinstance(layer, Attention):
            weights.append(cache.weights)
        elif has_attention_weights(layer) and y.dim() == 4:
            weights.append(y)

    forward_to(net, params, x, target, watch)
    if not weights:
        raise PellucidError("rollout needs attention, of which this network has none; use gradcam or lrp")
    token_outputs = [output for output in tokens.outputs.values() if output is not None]
    n_tokens = token_outputs[-1].y.flatten(1, -2).shape[1] if token_outputs else 0
    unsupported = [
        attention
        for attention in weights
        if attention.dim() != 4 or attention.shape[:1] + attention.shape[2:] != (n_examples(x), n_tokens, n_tokens)
    ]
    if unsupported or not token_outputs:
        raise PellucidError(
            "rollout needs attention among all tokens of an image; "
            f"{plural(len(unsupported) or len(weights), 'layer')} of this network attend to windows, to fewer keys, "
            "or to tokens whose place is unknown; use gradcam or lrp"
        )
    path = next(path for path, output in reversed(tokens.outputs.items()) if output is not None)
    _, y, part_labels = token_outputs[-1]
    rollout_matrix = torch.eye(n_tokens, dtype=y.dtype, device=y.device).expand(len(y), -1, -1)
    for attention in weights:
        mean_attention = (
            attention.mean(1) + torch.eye(n_tokens, dtype=y.dtype, device=y.device)
        ) / 2  # each row sums to 1
        rollout_matrix = mean_attention @ rollout_matrix
    class_tokens = (part_labels.labels[0, ..., 0].flatten() == 0).nonzero().flatten()
    token_weights = rollout_matrix[:, class_tokens[0]] if len(class_tokens) else rollout_matrix.mean(1)  # (N, T)
    return resized_map(part_labels.maps(token_weights[..., None]), x, upsample, net, path)
