"""Shapes of inputs: checks against the shape that a network expects, and shapes with a free height or width."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import note
from pellucid.layers.base import Params
from pellucid.nested import flatten


def check_inputs(shape: Sequence[int], expected: Sequence[int | None], inputs_name: str) -> None:
    """Raise PellucidError unless inputs of `shape` (N, ...) have the shape `expected`, where None accepts any size.

    expected: the network's input shape, without the batch axis. inputs_name: the name of the inputs in the message. The
    message contains the expression that corrects the shape, if one is known.
    """
    shape, declared_shape = tuple(shape), tuple(expected)
    resolved_shape = declared_shape
    for given_shape in (shape, shape[1:]):  # without and with a batch axis: actual sizes replace free ones
        if len(given_shape) == len(declared_shape):
            resolved_shape = tuple(
                size if declared_size is None else declared_size
                for size, declared_size in zip(given_shape, declared_shape, strict=True)
            )
    if shape[1:] == resolved_shape:
        return
    correction = _unbatched_corrections(resolved_shape).get(shape)
    if correction:
        raise PellucidError(
            f"{inputs_name} is one input of shape {shape} without the batch axis; "
            f"give {correction.format(x=inputs_name)}"
        )
    if not shape[0]:
        raise PellucidError(f"{inputs_name} is empty; give at least one input of shape {declared_shape}")
    if len(shape) != 1 + len(declared_shape) and not _lacks_channels(shape, resolved_shape):
        batch = ", ".join(map(str, ("N", *declared_shape)))
        picture = "; predict also takes pictures, arrays (H, W, 3) of uint8" if len(declared_shape) == 3 else ""
        raise PellucidError(f"{inputs_name} has the shape {shape}, but the network takes batches ({batch}){picture}")
    raise PellucidError(
        f"{inputs_name} contains inputs of shape {shape[1:]}, but the network takes {declared_shape}; "
        f"{_remedy(shape, resolved_shape, inputs_name)}"
    )


def check_range(x: Tensor, inputs_name: str) -> None:
    """Raise PellucidError for float images (N, C, H, W) far outside 0 to 1, such as values of 0 to 255.

    The limit, MAX_VALUE, accepts images with noise, and images that are brighter than the training data.
    """
    if not x.is_floating_point() or x.dim() != 4 or not x.numel():
        return
    low, high = torch.stack(x.aminmax()).tolist()  # one copy from a GPU
    if max(-low, high) > MAX_VALUE:
        raise PellucidError(
            f"{inputs_name} contains floats from {low:.4g} to {high:.4g}, but the model takes images from 0 to 1; give "
            f"uint8 images (0..255), or {inputs_name} / 255"
        )


def note_undivided(images: Tensor, inputs_name: str) -> None:
    """Write a note for float images (N, C, H, W) to train on with values of uint8 images, which would be divided."""
    if images.dim() != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point() or not images.numel():
        return
    if float(images.max()) > MAX_VALUE and bool((images == images.round()).all()):
        note(
            f"{inputs_name} contains whole numbers up to {float(images.max()):g} as floats, used as they are; "
            f"uint8 images are divided by 255, so give {inputs_name} as uint8, or {inputs_name} / 255"
        )


def _unbatched_corrections(resolved_shape: tuple[int | None, ...]) -> dict[tuple[int | None, ...], str]:
    """Return the expression that adds the batch axis, for each shape that one input without it may have."""
    corrections = {resolved_shape: "{x}[None]"}
    if len(resolved_shape) == 3:
        channels_last = (*resolved_shape[1:], resolved_shape[0])
        corrections.setdefault(
            channels_last, "{x}.transpose(2, 0, 1)[None] of an array, {x}.permute(2, 0, 1)[None] of a tensor"
        )
        if resolved_shape[0] == 1:
            corrections[resolved_shape[1:]] = "{x}[None, None]"
    return corrections


def _lacks_channels(shape: tuple[int, ...], resolved_shape: tuple[int | None, ...]) -> bool:
    """Return whether inputs (N, H, W) lack only the axis of their one channel."""
    return len(resolved_shape) == 3 and resolved_shape[0] == 1 and shape[1:] == resolved_shape[1:]


def _remedy(shape: tuple[int, ...], resolved_shape: tuple[int | None, ...], inputs_name: str) -> str:
    if len(resolved_shape) == 3 and shape[1:] == (*resolved_shape[1:], resolved_shape[0]):
        return (
            f"the channels are the last axis; give {inputs_name}.transpose(0, 3, 1, 2) of an array, "
            f"{inputs_name}.permute(0, 3, 1, 2) of a tensor"
        )
    if _lacks_channels(shape, resolved_shape):
        return f"add the axis of channels: {inputs_name}[:, None]"
    if len(resolved_shape) == 3 and shape[3] <= 4:
        return f"give the channels first, {resolved_shape[0]} of them"
    return "reshape or resize them"


FreeShape = tuple[int | None, ...]
MAX_VALUE = 10.0  # largest absolute value of a float image whose values should be from 0 to 1
# Pixels for a free height or width; and a second size, to find which shapes depend on it.
NOMINAL_SIDE, OTHER_SIDE = 224, 256


def nominal_shape(shape: Sequence[int | None], side: int = NOMINAL_SIDE) -> tuple[int, ...]:
    """Return the shape with `side` for each free size (None)."""
    return tuple(side if size is None else size for size in shape)


def free_output_shape(shape: FreeShape, init: Callable[..., tuple[Params, Any]], params: Params, out: Any) -> Any:
    """Return the shape of the outputs, with None for the sizes that depend on the free sizes of `shape`.

    init: the network's method. params, out: its parameters and output shape for `nominal_shape(shape)`. Raises
    PellucidError, which names the parameter, if the shape of a parameter depends on the free sizes too.
    """
    if None not in shape:
        return out
    with torch.device("meta"):
        other_params, other_out = init(nominal_shape(shape, OTHER_SIDE), torch.Generator())
    for path, tensor in flatten(other_params).items():
        if tensor.shape != (original := flatten(params)[path]).shape:
            raise PellucidError(
                f"input_shape {shape}: {path} is {tuple(original.shape)} for sides of {NOMINAL_SIDE} pixels and "
                f"{tuple(tensor.shape)} for {OTHER_SIDE}; give fixed sizes, or pool globally before the first Dense "
                "layer"
            )
    return common_sizes(out, other_out)


def common_sizes(first: Any, second: Any) -> Any:
    """Return the first of two shapes, or tuples of shapes, with None for the sizes that differ."""
    if isinstance(first, tuple):
        return tuple(map(common_sizes, first, second))
    return first if first == second else None
