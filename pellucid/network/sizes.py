"""Shapes of inputs with a free height or width: (3, None, None) is an image of any size."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pellucid.errors import PellucidError
from pellucid.layers.base import Params
from pellucid.tree import flatten

Shape = tuple[int | None, ...]
NOMINAL, OTHER = 224, 256  # pixels that stand for a free side, and for a second look at what depends on it


def nominal(shape: Sequence[int | None], side: int = NOMINAL) -> tuple[int, ...]:
    """Return a shape whose free sizes are `side`."""
    return tuple(side if size is None else size for size in shape)


def free_outputs(shape: Shape, init: Callable[..., tuple[Params, Any]], params: Params, out: Any) -> Any:
    """Return the shape of the outputs with None for the sizes that depend on the free ones of `shape`.

    init, params, out: the network's, with its parameters and outputs at `nominal(shape)`. Raises PellucidError, naming
    the parameter, for a network whose parameters depend on them too.
    """
    if None not in shape:
        return out
    with torch.device("meta"):
        others, other = init(nominal(shape, OTHER), torch.Generator())
    for path, tensor in flatten(others).items():
        if tensor.shape != (here := flatten(params)[path]).shape:
            raise PellucidError(
                f"input_shape {shape}: {path} is {tuple(here.shape)} for sides of {NOMINAL} pixels and "
                f"{tuple(tensor.shape)} for {OTHER}; give fixed sizes, or pool globally before the first Dense layer"
            )
    return _common(out, other)


def _common(one: Any, other: Any) -> Any:
    """Return what two shapes, or tuples of shapes, have in common; None where they differ."""
    if isinstance(one, tuple):
        return tuple(map(_common, one, other))
    return one if one == other else None
