"""Shapes of inputs: checked against what a network takes, and with a free height or width."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pellucid.errors import PellucidError
from pellucid.layers.base import Params
from pellucid.tree import flatten


def check_inputs(shape: Sequence[int], wanted: Sequence[int | None], what: str) -> None:
    """Require inputs of `shape` (N, ...) for a network that takes `wanted`, without the batch axis; None is any size.

    Raises PellucidError, which calls the inputs `what`, with the call that corrects their shape where there is one.
    """
    shape, wanted = tuple(shape), tuple(wanted)
    free = wanted
    for given in (shape, shape[1:]):  # of one input, of several: sizes that are free fit
        if len(given) == len(wanted):
            wanted = tuple(size if any_size is None else any_size for size, any_size in zip(given, free, strict=True))
    if shape[1:] == wanted:
        return
    alone = _single(wanted).get(shape)
    if alone:
        raise PellucidError(f"{what} is one input of shape {shape} without the batch axis; give {alone.format(x=what)}")
    raise PellucidError(
        f"{what} holds inputs of shape {shape[1:]}, but the network takes {free}; {_remedy(shape, wanted, what)}"
    )


def _single(wanted: tuple[int | None, ...]) -> dict[tuple[int | None, ...], str]:
    """Return the shapes of one input without the batch axis, with the expression that adds it."""
    found = {wanted: "{x}[None]"}
    if len(wanted) == 3:
        last = (*wanted[1:], wanted[0])
        found.setdefault(last, "{x}.transpose(2, 0, 1)[None] of an array, {x}.permute(2, 0, 1)[None] of a tensor")
        if wanted[0] == 1:
            found[wanted[1:]] = "{x}[None, None]"
    return found


def _remedy(shape: tuple[int, ...], wanted: tuple[int | None, ...], what: str) -> str:
    if len(wanted) == 3 and shape[1:] == (*wanted[1:], wanted[0]):
        return (
            f"the channels come last there; give {what}.transpose(0, 3, 1, 2) of an array, "
            f"{what}.permute(0, 3, 1, 2) of a tensor"
        )
    if len(wanted) == 3 and wanted[0] == 1 and shape[1:] == wanted[1:]:
        return f"add the axis of channels: {what}[:, None]"
    return "reshape or resize them"


Shape = tuple[int | None, ...]
NOMINAL, OTHER = 224, 256  # pixels that replace a free side, and a second size to find what depends on it


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
    """Return the sizes that two shapes, or tuples of shapes, share; None where they differ."""
    if isinstance(one, tuple):
        return tuple(map(_common, one, other))
    return one if one == other else None
