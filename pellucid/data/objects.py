"""The objects in an image: boxes, classes, masks and key-points."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.calls import Checked
from pellucid.errors import PellucidError


@dataclass(frozen=True, eq=False)
class Objects(metaclass=Checked):
    """The n >= 0 objects in one image; the targets of a batch are a list of `Objects`, one per image.

    Coordinates are continuous and in pixels: x to the right, y down, (0, 0) the image's upper left corner, so that
    pixel i covers [i, i + 1) and its centre is at i + 0.5. A box (x0, y0, x1, y1) has the width x1 - x0; the box of
    the pixels in columns 2 and 3 extends from x0 = 2 to x1 = 4.

    boxes: (n, 4) float. labels: (n,) integers. masks: (n, H, W) bool, as large as the image, or None. keypoints:
    (n, K, 3) float, or None: x, y and COCO's visibility, 0 not labelled (x and y are 0), 1 labelled but hidden,
    2 visible. Raises PellucidError for other shapes and types.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None = None
    keypoints: Tensor | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for unexpected shapes and dtypes."""
        _check("boxes", self.boxes, self.boxes.ndim == 2 and self.boxes.shape[1] == 4, "(n, 4): x0, y0, x1, y1")
        n = len(self.boxes)
        _check("labels", self.labels, self.labels.shape == (n,), f"({n},), one per box")
        if self.masks is not None:
            good = self.masks.ndim == 3 and len(self.masks) == n
            _check("masks", self.masks, good, f"({n}, H, W), one per box")
        if self.keypoints is not None:
            good = self.keypoints.ndim == 3 and len(self.keypoints) == n and self.keypoints.shape[2] == 3
            _check("keypoints", self.keypoints, good, f"({n}, K, 3): x, y and visibility for each box")
        swapped = (self.boxes[:, 2:] < self.boxes[:, :2]).any(1).nonzero()
        if len(swapped):
            index = int(swapped[0, 0])
            box = ", ".join(f"{value:g}" for value in self.boxes[index].tolist())
            raise PellucidError(f"objects: box {index} is ({box}); give x0, y0, x1, y1 with x0 <= x1, y0 <= y1")

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.boxes)

    def take(self, which: Tensor) -> "Objects":
        """Return the objects at `which`: indices, or (n,) bool."""
        masks, points = self.masks, self.keypoints
        return Objects(
            self.boxes[which],
            self.labels[which],
            None if masks is None else masks[which],
            None if points is None else points[which],
        )


def concatenate(parts: Sequence[Objects]) -> Objects:
    """Concatenate the objects of several images of the same size into the objects of one image.

    Parts without objects need no masks or key-points. Raises PellucidError if only some of the other parts have masks
    or key-points, or if their numbers of key-points differ.
    """
    filled = [part for part in parts if len(part)] or parts[:1]
    return Objects(
        torch.cat([part.boxes for part in filled]),
        torch.cat([part.labels for part in filled]),
        _joined("masks", [part.masks for part in filled]),
        _joined("keypoints", [part.keypoints for part in filled]),
    )


def _joined(name: str, values: list[Tensor | None]) -> Tensor | None:
    given = [value for value in values if value is not None]
    if not given:
        return None
    if len(given) < len(values) or len({value.shape[1:] for value in given}) > 1:
        raise PellucidError(
            f"objects: {name} of images to concatenate are "
            f"{', '.join('missing' if value is None else str(tuple(value.shape)) for value in values)}; "
            "give them for all images or for none, in equal shapes"
        )
    return torch.cat(given)


_TYPES = {
    "boxes": ("floats", lambda dtype: dtype.is_floating_point),
    "labels": ("integers", lambda dtype: not dtype.is_floating_point and dtype != torch.bool),
    "masks": ("bool", lambda dtype: dtype == torch.bool),
    "keypoints": ("floats", lambda dtype: dtype.is_floating_point),
}


def _check(name: str, value: Tensor, good: bool, wanted: str) -> None:
    kind, fits = _TYPES[name]
    if not good:
        raise PellucidError(f"objects: {name} have shape {tuple(value.shape)}; give {wanted}")
    if not fits(value.dtype):
        raise PellucidError(f"objects: {name} are {str(value.dtype).removeprefix('torch.')}; give {kind}")
