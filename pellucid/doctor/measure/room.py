"""How many examples go through a network at once."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator
from pellucid.layers.base import Cache, Layer, Mode
from pellucid.sweep import forward
from pellucid.training.model import BaseModel

MOST = 1 << 30  # bytes of all layers' outputs together: 9 pictures of VGG16 at 224 x 224
LEAST = 2  # examples: one alone has no variance


def room(model: BaseModel, x: Tensor) -> int:
    """Return for how many of the inputs x (N, ...) the outputs of all layers take at most MOST bytes, at least LEAST.

    Measured by one example in evaluation mode.
    """
    numbers = 0

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        nonlocal numbers
        if not isinstance(layer, Combinator) and isinstance(y, Tensor):
            numbers += y.numel()

    with torch.inference_mode():
        forward(model.net, model.params, x[:1], Mode(keep=False), watch)
    return max(MOST // max(4 * numbers, 1), LEAST)


def parts(model: BaseModel, x: Tensor) -> tuple[Tensor, ...]:
    """Return the inputs in as few parts of about the same size as there is room for."""
    return torch.tensor_split(x, max(-(-len(x) // room(model, x)), 1))


def in_parts(model: BaseModel, x: Tensor, run: Callable[[Tensor], Any]) -> Any:
    """Return what `run` makes of the `parts` of the inputs, joined; several outputs are those of the first part."""
    with torch.inference_mode():
        said = [run(part) for part in parts(model, x)]
        return torch.cat(said) if isinstance(said[0], Tensor) else said[0]
