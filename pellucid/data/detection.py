"""Images with annotated objects as a source: boxes, masks and key-points."""

import hashlib
import os
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.tensors import as_indices
from pellucid.base.text import note_once
from pellucid.data.annotations.base import (
    ImageRecord,
    Instance,
    check_faults,
    fault_summary,
    join_names,
    size_fault,
)
from pellucid.data.annotations.formats import (
    find_format,
    other_formats,
    parts_in_order,
    read_annotations,
    remarks,
    unused_annotations,
)
from pellucid.data.augment.targets import Pairs
from pellucid.data.dataset import Splits, split_images
from pellucid.data.files import ImageFiles, resized_size, split_by_readability
from pellucid.data.folder import TEST_FRACTION
from pellucid.data.image_formats import ColourMode
from pellucid.data.images import OnError, check_format, check_on_error, decode, resized
from pellucid.data.parts import TRAIN, parts_among
from pellucid.data.skipping import note_skipped, skips
from pellucid.data.source import Arrays, Source
from pellucid.data.tree import open_tree, tree_at
from pellucid.ops.image_objects import Detections, Objects
from pellucid.ops.masks import nearest_pixels

ObjectsType = TypeVar("ObjectsType", Objects, Detections)
_SIDE_NAMES = (("left", "right"), ("Left", "Right"))


# Always streamed from files: annotations differ in number and images in size, so arrays would have no advantage.
class DetectionFolder(ImageFiles):
    """Images with the objects in each, from a folder or a .zip with annotations, in any format of FORMATS.

    Targets are `Objects` in pixels of the returned image; they are empty for images without objects. They have masks if
    every object in the annotations has one, and key-points if the annotations define any. `Objects.crowd` is True for
    VOC's difficult objects and COCO's crowds. part: for example "train", or the path of a COCO file; "" if there is
    only one part. size: (H, W), or the length of the longest side, which keeps the proportions; by default images are
    not resized. on_error="skip" decodes every image once on creation and leaves out missing and unreadable ones, which
    are in `skipped`. classes: the allowed class names. swaps: the pairs of key-points that mirroring exchanges, by
    default those of the annotations, or derived from their names (left_eye, right_eye), None if no names have sides.
    has_several: whether an image of the training part has several objects with key-points. records: the annotations of
    each image. faults: the faults of the annotations; objects that cannot be used are left out, and their number is
    printed in a note, as are classes of the training part without objects. Raises PellucidError, naming the file, for
    annotations that cannot be read. When `example` or `batch` is called, it is also raised for an image that cannot be
    read or whose size differs from its annotations.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        part: str = "",
        size: int | tuple[int, int] | None = None,
        mode: ColourMode = "RGB",
        classes: Sequence[str] | None = None,
        swaps: Pairs | None = None,
        on_error: OnError = "raise",
    ) -> None:
        tree = tree_at(path)
        annotations = read_annotations(tree, part, classes)
        skip = skips(check_on_error(on_error))
        check_faults(
            [fault for fault in annotations.faults if not (skip and fault.is_image)],
            "correct the file" if classes is None else "give data with these classes, or correct the file",
        )
        if not annotations.records:
            raise PellucidError(f"{path}: the annotations{f' of {part!r}' if part else ''} contain no images; add some")
        names = [record.image for record in annotations.records]
        super().__init__(
            tree, names, size=None if isinstance(size, int) else size, mode=mode, classes=annotations.classes
        )
        self.longest = max(check_format(size, mode) or (0,)) if isinstance(size, int) else None
        self.records: tuple[ImageRecord, ...] = annotations.records
        self.faults = annotations.faults
        self.keypoints = annotations.keypoints
        self.has_masks = annotations.has_masks
        self.numbers = annotations.category_ids  # COCO's category id of each class
        stated_swaps = swaps if swaps is not None else annotations.swaps
        self.swaps = stated_swaps if stated_swaps is not None else mirrored_pairs(annotations.keypoints)
        if skip:
            readable, unreadable = split_by_readability(tree, self.names, self.image)
            self.records = tuple(self.records[k] for k in readable)
            self.names = tuple(record.image for record in self.records)
            missing = [str(fault) for fault in annotations.faults if fault.is_image]
            self.skipped = (*missing, *unreadable)
            self.is_checked = True
        self.has_several = any(sum(map(has_labelled_point, record.instances)) > 1 for record in self.records)
        for text in (fault_summary(annotations.faults), *remarks(annotations, classes is None)):
            if text:
                note_once(f"{path}: {text}")

    @property
    def preprocess(self) -> dict[str, Any]:
        """The longest side of the images, or their height and width, if they are resized."""
        if self.longest is not None:
            return {"size": self.longest}
        return {} if self.size is None else {"size": [*self.size]}

    def example(self, k: int) -> tuple[Tensor, Objects]:
        """Return image k and its objects."""
        return self.example_of(self.records[k], self.size_of(k))

    def example_of(self, record: ImageRecord, size: tuple[int, int]) -> tuple[Tensor, Objects]:
        """Return the image of a record, resized to `size` (H, W), and its objects in pixels of the resized image."""
        image = self.image_of(record)
        objects = scale_objects(record.objects(len(self.keypoints)), record.size, size)
        return resized(image, size), replace(objects, masks=record.masks(size)) if self.has_masks else objects

    def image_of(self, record: ImageRecord) -> Tensor:
        """Return the image of a record (C, H, W), as large as its file."""
        name = self.tree.where(record.image)
        image = decode(self.tree.read(record.image), name, None, self.mode)
        if fault := size_fault(record, (image.shape[1], image.shape[2])):
            raise PellucidError(f"{name}: {fault}")
        return image

    def areas(self, k: int) -> list[float | None]:
        """Return the area of each object of image k in square pixels of its file, None if the annotations lack it."""
        return [instance.area for instance in self.records[k].instances]

    def subset(self, indices: Sequence[int] | Tensor) -> "DetectionFolder":
        """Return a source of the images at `indices`, in that order."""
        subset = copy(self)
        selected_indices = as_indices(indices, len(self), f"subset of {self.tree.path}").tolist()
        subset.names = tuple(self.names[k] for k in selected_indices)
        subset.records = tuple(self.records[k] for k in selected_indices)
        subset._checksum = ""
        return subset

    def with_classes(self, classes: Sequence[str]) -> "DetectionFolder":
        """Return the same images with labels that are indices into `classes`, which contain all of their classes."""
        new_labels = [classes.index(name) for name in self.classes or ()]
        copied_source = self.subset(range(len(self)))
        copied_source.classes = tuple(classes)
        copied_source.records = tuple(
            replace(
                record,
                instances=tuple(replace(instance, label=new_labels[instance.label]) for instance in record.instances),
            )
            for record in self.records
        )
        return copied_source

    def with_keypoints(self, names: Sequence[str]) -> "DetectionFolder":
        """Return the same images with key-points in the order of `names`, which contain all of their names."""
        if not set(self.keypoints) <= set(names):
            raise PellucidError(
                f"{self.tree.path}: the held-out part has the key-points {join_names(self.keypoints)}, the training "
                f"part {join_names(names)}; give both the same"
            )
        new_indices = [names.index(name) for name in self.keypoints]
        copied_source = self.subset(range(len(self)))
        copied_source.keypoints = tuple(names)
        copied_source.records = tuple(
            replace(
                record,
                instances=tuple(
                    _with_reordered_points(instance, new_indices, len(names)) for instance in record.instances
                ),
            )
            for record in self.records
        )
        return copied_source

    def size_of(self, k: int) -> tuple[int, int]:
        """Return the size (H, W) of image k after resizing, as `example` returns it."""
        return resized_size(self.records[k].size, self.size if self.longest is None else self.longest)

    def _compute_checksum(self) -> str:
        content = f"{super()._compute_checksum()}{self.longest}{self.keypoints}{self.has_masks}"
        for record in self.records:  # without record.file, whose path may change
            content += f"\0{record.image}{record.size}{record.instances}{record.void or ''}"
        return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()


def load_objects(
    path: str | os.PathLike[str],
    size: int | tuple[int, int] | None = None,
    mode: ColourMode = "RGB",
    classes: Sequence[str] | None = None,
    swaps: Pairs | None = None,
    on_error: OnError = "raise",
) -> Splits[DetectionFolder]:
    """Return the training part and the held-out part of annotated images, see `DetectionFolder`.

    The parts are "train" and "test", or "val" if there is no "test", in any spelling; other parts are named in a note.
    From a data set with a single part, a fifth of the
    images is held out. Both parts have the classes of the training part.
    """
    with open_tree(path) as tree:
        format_name, files = find_format(tree)
        for other_format, unused_files in other_formats(tree, format_name).items():
            note_once(f"{tree.where(unused_files[0])} {unused_annotations(format_name, other_format, unused_files)}")
    parts, part_use = parts_in_order(files), parts_among(files)
    if part_use.train is None and len(files) > 1:
        raise PellucidError(f"{path} has the parts {', '.join(files):.100}, but none to train on; name it {TRAIN}")
    train = DetectionFolder(path, parts[0] if parts else "", size, mode, classes, swaps, on_error)
    test = DetectionFolder(path, parts[1], size, mode, train.classes, swaps, on_error) if len(parts) > 1 else None
    note_skipped(path, train, test)
    part_use.note_used_parts(path, files)
    if test is not None:
        if test.keypoints != train.keypoints and test.keypoints and train.keypoints:
            test = test.with_keypoints(train.keypoints)
        test.swaps = train.swaps
        test.has_several = train.has_several
        return Splits(train, test)
    train_indices, test_indices = split_images(len(train), TEST_FRACTION, 0, str(path))
    return Splits(train.subset(train_indices), train.subset(test_indices))


def has_labelled_point(instance: Instance) -> bool:
    """Return whether an object is no crowd and has a labelled key-point."""
    return not instance.crowd and any(instance.points[2::3])


def _with_reordered_points(instance: Instance, new_indices: Sequence[int], n_keypoints: int) -> Instance:
    """Return an object with key-point k at new_indices[k] of n_keypoints."""
    if not instance.points:
        return instance
    points = [0.0] * (3 * n_keypoints)
    for k, new_index in enumerate(new_indices):
        points[3 * new_index : 3 * new_index + 3] = instance.points[3 * k : 3 * k + 3]
    return replace(instance, points=tuple(points))


def images_alone(source: Source) -> Source:
    """Return a DetectionFolder's images as Arrays with targets of 0; return other sources unchanged."""
    if not isinstance(source, DetectionFolder):
        return source
    images = torch.stack([image for image, _ in map(source.example, range(len(source)))])
    return Arrays(images, torch.zeros(len(images)), None, source.checksum)


def has_objects(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder or .zip contains annotations of objects."""
    with open_tree(path) as tree:
        return bool(find_format(tree)[0])


def scale_objects(objects: ObjectsType, size: tuple[int, int], new_size: tuple[int, int]) -> ObjectsType:
    """Return the objects or detections of an image of `size` (H, W) after it is resized to `new_size` (H, W)."""
    if size == new_size:
        return objects
    factor = torch.tensor([new_size[1] / size[1], new_size[0] / size[0]])
    masks, keypoints = objects.masks, objects.keypoints
    if masks is not None:
        rows, columns = (
            torch.from_numpy(nearest_pixels(side, new_side)) for side, new_side in zip(size, new_size, strict=True)
        )
        masks = masks[:, rows][:, :, columns]
    if keypoints is not None:
        keypoints = keypoints * torch.cat((factor, torch.ones(1)))
    return replace(objects, boxes=objects.boxes * factor.repeat(2), masks=masks, keypoints=keypoints)


def mirrored_pairs(names: Sequence[str]) -> Pairs | None:
    """Return the pairs of key-points whose names differ only in left and right; None if there are none."""
    index_by_name = {name: k for k, name in enumerate(names)}
    pairs = [
        (k, index_by_name[name.replace(left, right)])
        for name, k in index_by_name.items()
        for left, right in _SIDE_NAMES
        if left in name and name.replace(left, right) in index_by_name
    ]
    return tuple(pairs) or None
