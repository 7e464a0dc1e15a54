"""Annotated and detected objects in an image: boxes, classes, masks and key-points."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.base.settings.arguments import Checked


@dataclass(frozen=True, eq=False)
class Objects(metaclass=Checked):
    """The n >= 0 objects in one image; the targets of a batch are a list of `Objects`, one per image.

    Coordinates are continuous and in pixels: x to the right, y down, (0, 0) the image's upper left corner; pixel i
    covers [i, i + 1), with its centre at i + 0.5. A box (x0, y0, x1, y1) has the width x1 - x0; the box of the pixels
    in columns 2 and 3 extends from x0 = 2 to x1 = 4.
    boxes: (n, 4) float.
    labels: (n,) integers.
    masks: (n, H, W) bool, as large as the image, or None.
    keypoints: (n, K, 3) float, or None: x, y and COCO's visibility, 0 not labelled (x and y are 0), 1 labelled but
        hidden, 2 visible.
    crowd: (n,) bool, or None for all false: true for regions whose objects are not labelled individually or are too
        difficult. They are ignored in training, and detections in them are neither true nor false positives.
    Raises PellucidError for other shapes and dtypes.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None = None
    keypoints: Tensor | None = None
    crowd: Tensor | None = None
    __repr__ = brief_repr

    def __post_init__(self) -> None:
        """Raise PellucidError for unexpected shapes and dtypes."""
        _check_field("boxes", self.boxes, self.boxes.ndim == 2 and self.boxes.shape[1] == 4, "(n, 4): x0, y0, x1, y1")
        n = len(self.boxes)
        _check_field("labels", self.labels, self.labels.shape == (n,), f"({n},), one per box")
        if self.masks is not None:
            is_valid = self.masks.ndim == 3 and len(self.masks) == n
            _check_field("masks", self.masks, is_valid, f"({n}, H, W), one per box")
        if self.keypoints is not None:
            is_valid = self.keypoints.ndim == 3 and len(self.keypoints) == n and self.keypoints.shape[2] == 3
            _check_field("keypoints", self.keypoints, is_valid, f"({n}, K, 3): x, y and visibility for each box")
        if self.crowd is not None:
            _check_field("crowd", self.crowd, self.crowd.shape == (n,), f"({n},), one per box")
        inverted_boxes = (self.boxes[:, 2:] < self.boxes[:, :2]).any(1).nonzero()
        if len(inverted_boxes):
            index = int(inverted_boxes[0, 0])
            box = ", ".join(f"{value:g}" for value in self.boxes[index].tolist())
            raise PellucidError(f"objects: box {index} is ({box}); give x0, y0, x1, y1 with x0 <= x1, y0 <= y1")

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.boxes)

    def take(self, which: Tensor) -> "Objects":
        """Return the objects at `which`: indices, or (n,) bool."""
        masks, keypoints, crowd = (
            None if field_value is None else field_value[which]
            for field_value in (self.masks, self.keypoints, self.crowd)
        )
        return Objects(self.boxes[which], self.labels[which], masks, keypoints, crowd)


@dataclass(frozen=True, eq=False)
class Detections(metaclass=Checked):
    """The n >= 0 objects that a detector found in one image, in the order of descending scores.

    boxes: (n, 4) float, in pixels of the image as for `Objects`.
    scores: (n,) float, 0 to 1.
    labels: (n,) integers.
    masks: (n, H, W) bool, or None.
    keypoints: (n, K, 3) float, or None: x, y and the score of each point.
    Raises PellucidError for other shapes and dtypes.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None = None
    keypoints: Tensor | None = None
    __repr__ = brief_repr

    def __post_init__(self) -> None:
        """Raise PellucidError for unexpected shapes and dtypes."""
        Objects(self.boxes, self.labels, self.masks, self.keypoints)
        _check_field(
            "scores", self.scores, self.scores.shape == (len(self.boxes),), f"({len(self.boxes)},), one per box"
        )

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.boxes)

    def take(self, which: Tensor) -> "Detections":
        """Return the detections at `which`: indices, or (n,) bool."""
        masks, keypoints = (
            None if field_value is None else field_value[which] for field_value in (self.masks, self.keypoints)
        )
        return Detections(self.boxes[which], self.scores[which], self.labels[which], masks, keypoints)

    def to(self, device: str | torch.device) -> "Detections":
        """Return the detections on a device."""
        masks, keypoints = (
            None if field_value is None else field_value.to(device) for field_value in (self.masks, self.keypoints)
        )
        return Detections(self.boxes.to(device), self.scores.to(device), self.labels.to(device), masks, keypoints)


def concatenate(objects: Sequence[Objects]) -> Objects:
    """Concatenate the objects of several images of the same size into the objects of one image.

    Parts without objects need no masks or key-points; `crowd=None` means no crowds. Raises PellucidError if
    only some of the parts with objects have masks or key-points, or if their numbers of key-points differ.
    """
    nonempty = [image_objects for image_objects in objects if len(image_objects)] or objects[:1]
    return Objects(
        torch.cat([image_objects.boxes for image_objects in nonempty]),
        torch.cat([image_objects.labels for image_objects in nonempty]),
        _concatenate_optional("masks", [image_objects.masks for image_objects in nonempty]),
        _concatenate_optional("keypoints", [image_objects.keypoints for image_objects in nonempty]),
        _concatenate_crowd(nonempty),
    )


def _concatenate_crowd(objects: Sequence[Objects]) -> Tensor | None:
    if all(image_objects.crowd is None for image_objects in objects):
        return None
    return torch.cat(
        [
            torch.zeros_like(image_objects.labels, dtype=torch.bool)
            if image_objects.crowd is None
            else image_objects.crowd
            for image_objects in objects
        ]
    )


def _concatenate_optional(name: str, values: list[Tensor | None]) -> Tensor | None:
    present = [value for value in values if value is not None]
    if not present:
        return None
    if len(present) < len(values) or len({value.shape[1:] for value in present}) > 1:
        raise PellucidError(
            f"objects: {name} of images to concatenate are "
            f"{', '.join('missing' if value is None else str(tuple(value.shape)) for value in values)}; "
            "give them for all images or for none, with equal shapes"
        )
    return torch.cat(present)


_DTYPES = {
    "boxes": ("floats", lambda dtype: dtype.is_floating_point),
    "labels": ("integers", lambda dtype: not dtype.is_floating_point and dtype != torch.bool),
    "masks": ("bool", lambda dtype: dtype == torch.bool),
    "keypoints": ("floats", lambda dtype: dtype.is_floating_point),
    "crowd": ("bool", lambda dtype: dtype == torch.bool),
    "scores": ("floats", lambda dtype: dtype.is_floating_point),
}


def _check_field(name: str, value: Tensor, is_valid: bool, expected: str) -> None:
    dtype_text, is_valid_dtype = _DTYPES[name]
    if not is_valid:
        raise PellucidError(f"objects: {name} have shape {tuple(value.shape)}; give {expected}")
    if not is_valid_dtype(value.dtype):
        raise PellucidError(f"objects: {name} are {str(value.dtype).removeprefix('torch.')}; give {dtype_text}")
