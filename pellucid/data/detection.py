"""Images with annotated objects as a source: boxes, masks and key-points."""

import hashlib
import os
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from pellucid.data.annotations.base import Record, refuse, summary
from pellucid.data.annotations.layout import find_format, parts_in_order, read_annotations
from pellucid.data.dataset import Splits
from pellucid.data.files import ImageFiles
from pellucid.data.folder import TEST_FRACTION, split_images
from pellucid.data.images import Mode, check_format, decode, resized
from pellucid.data.tree import open_tree, tree_at
from pellucid.errors import PellucidError
from pellucid.objects import Detections, Objects
from pellucid.text import note

Found = TypeVar("Found", Objects, Detections)
Pairs = tuple[tuple[int, int], ...]
_SIDES = (("left", "right"), ("Left", "Right"))


class DetectionFolder(ImageFiles):
    """Images with the objects in each, from a folder or a .zip with annotations of Pascal VOC, COCO, YOLO or labelme.

    Targets are `Objects` in the pixels of the image as it is returned; images without objects have none. Masks and
    key-points are there where the annotations have them for every object; VOC's difficult objects and COCO's crowds are
    `Objects.crowd`. part: such as "train", or the path of a COCO file; "" where there is one only. size: (H, W), or the
    length of the longest side, the other one in proportion; by default as they are. classes: names that those of the
    annotations must be among. records: what the annotations hold of each image. faults: all that is wrong in them;
    objects that cannot be used are left out, with a note that counts them. swaps: the pairs of key-points that a mirror
    image exchanges, from their names (left_eye, right_eye) unless given, None where these have no sides.
    Raises PellucidError, naming the file, for annotations that cannot be read, and when it is used for an image that
    cannot be read or has another size than its annotations say.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        part: str = "",
        size: int | tuple[int, int] | None = None,
        mode: Mode = "RGB",
        classes: Sequence[str] | None = None,
        swaps: Pairs | None = None,
    ) -> None:
        tree = tree_at(path)
        found = read_annotations(tree, part, classes)
        refuse(found.faults)
        if not found.records:
            raise PellucidError(f"{path}: the annotations{f' of {part!r}' if part else ''} name no images; add some")
        names = [record.image for record in found.records]
        super().__init__(tree, names, size=None if isinstance(size, int) else size, mode=mode, classes=found.classes)
        self.longest = max(check_format(size, mode) or (0,)) if isinstance(size, int) else None
        self.records: tuple[Record, ...] = found.records
        self.faults = found.faults
        self.keypoints = found.keypoints
        self.has_masks = found.has_masks
        self.numbers = found.numbers  # COCO's ids of the categories
        self.swaps = swaps if swaps is not None else mirrored(found.keypoints)
        if text := summary(found.faults):
            note(f"{path}: {text}")

    def example(self, k: int) -> tuple[Tensor, Objects]:
        """Return image k and its objects."""
        record, name = self.records[k], self.names[k]
        image = decode(self.tree.read(name), self.tree.where(name), None, self.mode)
        if tuple(image.shape[1:]) != record.size:
            raise PellucidError(
                f"{self.tree.where(name)} is {image.shape[1]}x{image.shape[2]}, but its annotations in {record.file} "
                f"are of {record.size[0]}x{record.size[1]}; annotate this image, or correct the size there"
            )
        objects = record.objects(len(self.keypoints), self.has_masks)
        size = self.size_of(k)
        return resized(image, size), scaled(objects, record.size, size)

    def areas(self, k: int) -> list[float | None]:
        """Return the area of each object of image k in square pixels of its file, None where that states none."""
        return [one.area for one in self.records[k].instances]

    def subset(self, indices: Sequence[int] | Tensor) -> "DetectionFolder":
        """Return a source of the images at `indices`, in that order."""
        part = copy(self)
        chosen = torch.as_tensor(indices, dtype=torch.int64).tolist()
        part.names = tuple(self.names[k] for k in chosen)
        part.records = tuple(self.records[k] for k in chosen)
        part._checksum = ""
        return part

    def size_of(self, k: int) -> tuple[int, int]:
        """Return (H, W) of image k as `example` returns it."""
        return fitted(self.records[k].size, self.size if self.longest is None else self.longest)

    def _hashed(self) -> str:
        content = f"{super()._hashed()}{self.longest}{self.keypoints}{self.has_masks}"
        for record in self.records:  # without its file, whose path may change
            content += f"\0{record.image}{record.size}{record.instances}"
        return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()


def load_objects(
    path: str | os.PathLike[str],
    size: int | tuple[int, int] | None = None,
    mode: Mode = "RGB",
    classes: Sequence[str] | None = None,
    swaps: Pairs | None = None,
) -> Splits[DetectionFolder]:
    """Return the training part and the held-out part of annotated images, see `DetectionFolder`.

    These are "train" and "test", or "val" if there is no "test"; of a set with a single part a fifth of the images is
    held out. Both have the classes of the training part.
    """
    with open_tree(path) as tree:
        parts = parts_in_order(find_format(tree)[1])
    train = DetectionFolder(path, parts[0] if parts else "", size, mode, classes, swaps)
    if len(parts) > 1:
        return Splits(train, DetectionFolder(path, parts[1], size, mode, train.classes, swaps))
    chosen, held = split_images(len(train), TEST_FRACTION, 0, str(path))
    return Splits(train.subset(chosen), train.subset(held))


def has_objects(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder or .zip holds annotations of objects."""
    with open_tree(path) as tree:
        return bool(find_format(tree)[0])


def fitted(size: tuple[int, int], wanted: int | tuple[int, int] | None) -> tuple[int, int]:
    """Return the size that an image of `size` (H, W) is resized to: `wanted`, of a number as its longest side."""
    if not isinstance(wanted, int):
        return wanted or size
    factor = wanted / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def scaled(objects: Found, size: tuple[int, int], new: tuple[int, int]) -> Found:
    """Return the objects, or detections, of an image of `size` (H, W) in the same image resized to `new`."""
    if size == new:
        return objects
    factor = torch.tensor([new[1] / size[1], new[0] / size[0]])
    masks, points = objects.masks, objects.keypoints
    if masks is not None:
        rows, columns = (
            ((torch.arange(after) + 0.5) * (before / after)).long() for before, after in zip(size, new, strict=True)
        )
        masks = masks[:, rows][:, :, columns]
    if points is not None:
        points = points * torch.cat((factor, torch.ones(1)))
    return replace(objects, boxes=objects.boxes * factor.repeat(2), masks=masks, keypoints=points)


def mirrored(names: Sequence[str]) -> Pairs | None:
    """Return the pairs of key-points whose names differ in left and right alone; None where there are none."""
    place = {name: k for k, name in enumerate(names)}
    pairs = [
        (k, place[name.replace(left, right)])
        for name, k in place.items()
        for left, right in _SIDES
        if left in name and name.replace(left, right) in place
    ]
    return tuple(pairs) or None
