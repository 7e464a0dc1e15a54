"""Targets of explanations: the score of a class, or a unit or feature map anywhere in a network."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.explain.upto import upto
from pellucid.layers.base import Layer

Target = int | Sequence[int] | Tensor | str | None
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
PLACE = re.compile(r"(?P<path>[^\[\]]*)\[(?P<index>[^\[\]]+)\]")


@dataclass(frozen=True, eq=False)
class Aim:
    """The part of a network that a target needs, and which of its outputs are meant.

    `index` holds the numbers after the batch axis, None for every place along an axis; `classes` one class for each
    example, or one for all; with neither, the class with the largest score is meant.
    """

    net: Layer
    index: tuple[int | None, ...] | None = None
    classes: Tensor | None = None

    def mask(self, y: Any) -> Tensor:
        """Return 1 for the outputs that are explained and 0 for the others, in the shape of y.

        Raises PellucidError where the target does not fit the network's output.
        """
        if not isinstance(y, Tensor):
            raise PellucidError(
                f"the network has {len(y)} outputs; give the target as a path, such as 'head.scores[3]', to one of them"
            )
        if self.index is not None:
            return _at(y, self.index)
        if y.dim() != 2:
            raise PellucidError(
                f"outputs of shape {tuple(y.shape[1:])} are no scores of classes; give the target as a path, such as "
                "'head.conv[3]' for where map 3 is strongest or 'head.conv[3, :, :]' for all of it"
            )
        classes = y.argmax(1) if self.classes is None else self.classes.to(y.device).expand(len(y))
        if bool((classes < 0).any() or (classes >= y.shape[1]).any()):
            raise PellucidError(
                f"target must be classes from 0 to {y.shape[1] - 1}, not {int(classes.min())} to {int(classes.max())}"
            )
        return torch.zeros_like(y).scatter_(1, classes[:, None], 1.0)


def aim(net: Layer, target: Target, examples: int) -> Aim:
    """Return what a target means for `net` on a batch of `examples`.

    target: a class, or one for each example; None for each example's best class; or a path with an index:
    "head.scores[3]" is unit 3, "features.conv5[12, 4, 7]" one unit of map 12, "features.conv5[12]" the unit of map 12
    that is strongest in each image, "features.conv5[12, :, :]" the sum of the map; numbers below 0 count from the end.
    Raises PellucidError for others.
    """
    if target is None:
        return Aim(net)
    if isinstance(target, str):
        found = PLACE.fullmatch(target.replace(" ", ""))
        if found is None:
            raise PellucidError(
                f"target {target!r} names no unit; write a path and an index, such as 'features.conv5[12]', or a class "
                "as its number"
            )
        return Aim(upto(net, found["path"]), tuple(_number(part, target) for part in found["index"].split(",")))
    return Aim(net, classes=classes_meant(target, examples))


def classes_meant(target: Any, examples: int) -> Tensor:
    """Return the classes, one for all `examples` or one for each; raises PellucidError for what is none."""
    try:
        classes = torch.as_tensor(target)
    except (TypeError, ValueError, RuntimeError):
        classes = torch.zeros(())  # no whole numbers
    if classes.dtype not in WHOLE or classes.numel() not in (1, examples):
        raise PellucidError(
            f"target must be a class, {examples} of them for {examples} examples, or a path, not {target!r}"
        )
    return classes.reshape(-1).long()


def _number(part: str, target: str) -> int | None:
    if part == ":":
        return None
    if re.fullmatch("-?[0-9]{1,18}", part) is None:
        raise PellucidError(f"target {target!r}: {part!r} is no index; write whole numbers, or : for all")
    return int(part)


def _at(y: Tensor, index: tuple[int | None, ...]) -> Tensor:
    """Return the mask of one unit, of a map's strongest unit, or of a whole map."""
    sizes = y.shape[1:]
    if len(index) not in (1, len(sizes)) or any(
        at is not None and not -size <= at < size for at, size in zip(index, sizes, strict=False)
    ):
        raise PellucidError(f"target: no index {_written(index)} in outputs of shape {tuple(sizes)}")
    mask = torch.zeros_like(y)
    if len(index) == len(sizes):
        mask[(slice(None), *(slice(None) if at is None else at for at in index))] = 1
        return mask
    if index[0] is None:
        raise PellucidError("target: [:] is every map at once; name one, or write [:, :, :] for the sum of all")
    maps = y[:, index[0]].flatten(1)  # (N, H W)
    strongest = torch.zeros_like(maps).scatter_(1, maps.argmax(1, keepdim=True), 1.0)
    mask[:, index[0]] = strongest.view(y[:, index[0]].shape)
    return mask


def _written(index: tuple[int | None, ...]) -> str:
    return f"[{', '.join(':' if at is None else str(at) for at in index)}]"
