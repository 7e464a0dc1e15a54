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

    `index` holds the numbers and ranges after the batch axis; `classes` one class for each example, or one for all;
    with neither, the class with the largest score is meant. Of scores for each pixel (N, C, H, W), a class means its
    scores at the pixels where it is the largest.
    """

    net: Layer
    index: tuple[int | slice, ...] | None = None
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
        if y.dim() == 4 and self.classes is not None:
            return self._region(y, self.classes)
        if y.dim() != 2:
            raise PellucidError(
                f"outputs of shape {tuple(y.shape[1:])} are no scores of classes; give the target as a path, such as "
                "'head.conv[3]' for where map 3 is strongest, 'head.conv[3, :, :]' for all of it, or "
                "'head.conv[3, 10:20, 30:50]' for a region"
            )
        classes = y.argmax(1) if self.classes is None else _known(self.classes, y)
        return torch.zeros_like(y).scatter_(1, classes[:, None], 1.0)

    @staticmethod
    def _region(y: Tensor, classes: Tensor) -> Tensor:
        places = _known(classes, y)[:, None, None, None].expand(-1, 1, *y.shape[2:])
        region = (y.argmax(1, keepdim=True) == places).to(y.dtype)
        empty = (~region.flatten(1).any(1)).nonzero()
        if len(empty):
            raise PellucidError(
                f"target: no pixel of image {int(empty[0])} is given class {int(places[empty[0], 0, 0, 0])}; name its "
                "scores by a path, such as 'head.conv[3, :, :]'"
            )
        return torch.zeros_like(y).scatter_(1, places, region)


def aim(net: Layer, target: Target, examples: int) -> Aim:
    """Return what a target means for `net` on a batch of `examples`.

    target: a class, or one for each example; None for each example's best class; or a path with an index:
    "head.scores[3]" is unit 3, "features.conv5[12, 4, 7]" one unit of map 12, "features.conv5[12]" the unit of map 12
    that is strongest in each image, "features.conv5[12, :, :]" the sum of the map, "head.conv[3, 10:20, 30:50]" that of
    a region; numbers below 0 count from the end.
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


def _known(classes: Tensor, y: Tensor) -> Tensor:
    """Return a class for each example; PellucidError for one that `y` has no score for."""
    classes = classes.to(y.device).expand(len(y))
    if bool((classes < 0).any() or (classes >= y.shape[1]).any()):
        raise PellucidError(
            f"target must be classes from 0 to {y.shape[1] - 1}, not {int(classes.min())} to {int(classes.max())}"
        )
    return classes


def _number(part: str, target: str) -> int | slice:
    found = re.fullmatch("(-?[0-9]{1,18})?(:)?(-?[0-9]{1,18})?", part)
    if found is None or not part or (found[2] is None and found[3] is not None):
        raise PellucidError(f"target {target!r}: {part!r} is no index; write whole numbers, 3:9, or : for all")
    if found[2] is None:
        return int(part)
    return slice(None if found[1] is None else int(found[1]), None if found[3] is None else int(found[3]))


def _at(y: Tensor, index: tuple[int | slice, ...]) -> Tensor:
    """Return the mask of one unit, of a map's strongest unit, or of a whole map."""
    sizes = y.shape[1:]
    if len(index) not in (1, len(sizes)) or any(
        not range(size)[at] if isinstance(at, slice) else not -size <= at < size
        for at, size in zip(index, sizes, strict=False)
    ):
        raise PellucidError(f"target: no index {_written(index)} in outputs of shape {tuple(sizes)}")
    mask = torch.zeros_like(y)
    if len(index) == len(sizes):
        mask[(slice(None), *index)] = 1
        return mask
    if isinstance(index[0], slice):
        raise PellucidError("target: [:] is every map at once; name one, or write [:, :, :] for the sum of all")
    maps = y[:, index[0]].flatten(1)  # (N, H W)
    strongest = torch.zeros_like(maps).scatter_(1, maps.argmax(1, keepdim=True), 1.0)
    mask[:, index[0]] = strongest.view(y[:, index[0]].shape)
    return mask


def _written(index: tuple[int | slice, ...]) -> str:
    parts = (f"{_end(at.start)}:{_end(at.stop)}" if isinstance(at, slice) else str(at) for at in index)
    return f"[{', '.join(parts)}]"


def _end(value: int | None) -> str:
    return "" if value is None else str(value)
