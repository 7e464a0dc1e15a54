"""Annotations of a set of images: the classes that the readers of all formats return, and checks of values."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_IMAGE_PIXELS, MAX_MASK_MEMORY
from pellucid.base.text import plural
from pellucid.data.skipping import ADVICE
from pellucid.ops.image_objects import Objects
from pellucid.ops.masks import (
    check_run_lengths,
    compress,
    decompress,
    fill_spans,
    outline_polygons,
    polygon_spans,
    run_spans,
    span_box,
)

BoxCorners = tuple[float, float, float, float]  # x0, y0, x1, y1 as in `Objects`
Polygons = tuple[tuple[float, ...], ...]  # each x0, y0, x1, y1, ...
Effect = Literal["refused", "dropped", "changed", "listed"]
BOX_TOLERANCE = 1.0  # pixels by which a box may extend beyond its image, because of rounding, without a fault
MAX_FAULTS = 100_000  # listed for one effect; additional ones are only counted


@dataclass(frozen=True)
class AnnotationFault:
    """A fault of an annotation, with its file and line; `line` is None if it is unknown, as in JSON files.

    effect: "refused" (the data set cannot be loaded), "dropped" (the object is left out), "changed" (its box is
    clipped) or "listed" (loaded unchanged). box, size: the faulty box as written in the file, and (H, W) of its image;
    None if the fault is not in a box. count: the number of faults that this one represents. is_image: whether the fault
    is that the image is missing or unreadable.
    """

    file: str
    line: int | None
    reason: str
    effect: Effect
    box: BoxCorners | None = field(default=None, compare=False)
    size: tuple[int, int] | None = field(default=None, compare=False)
    count: int = 1
    is_image: bool = False

    def __str__(self) -> str:
        """Return `FILE:LINE: REASON`."""
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.reason}"


@dataclass(frozen=True)
class Instance:
    """One annotated object.

    outline: its mask as polygons or as COCO's compressed RLE, None without a mask. points: x, y and visibility of each
    of its K key-points, () without key-points. line: its line in the annotation file, None in JSON files.
    area: in square pixels, None unless the file contains it, as COCO files do.
    """

    box: BoxCorners
    label: int
    outline: Polygons | str | None = None
    points: tuple[float, ...] = ()
    crowd: bool = False
    line: int | None = None
    area: float | None = None

    def keypoints(self, count: int) -> Tensor:
        """Return the key-points (count, 3); without any, all of them are not labelled."""
        return torch.tensor(self.points).reshape(count, 3) if self.points else torch.zeros(count, 3)


@dataclass(frozen=True)
class ImageRecord:
    """The annotations of one image.

    image: its path in the tree; size: (H, W); file: the annotation file, as named in messages; image_id: COCO's
    image id; 1, 2, ... in other formats. void: polygons around pixels without a class.
    """

    image: str
    size: tuple[int, int]
    instances: tuple[Instance, ...]
    file: str
    image_id: int
    void: Polygons = ()

    def objects(self, keypoints: int = 0, masks: bool = False) -> Objects:
        """Return the instances as Objects in pixels of the image.

        keypoints: the number of key-points of each object, 0 for none. masks: whether to include masks.
        """
        instances = self.instances
        points = None
        if keypoints:
            points = torch.zeros(len(instances), keypoints, 3)
            for k, instance in enumerate(instances):
                points[k] = instance.keypoints(keypoints)
        return Objects(
            torch.tensor([instance.box for instance in instances], dtype=torch.float32).reshape(-1, 4),
            torch.tensor([instance.label for instance in instances], dtype=torch.int64),
            self.masks() if masks else None,
            points,
            torch.tensor([instance.crowd for instance in instances], dtype=torch.bool),
        )

    def masks(self, size: tuple[int, int] | None = None) -> Tensor:
        """Return the masks (n, H, W) bool of all instances, resized to `size` (H, W) if it is given.

        Raises PellucidError if an object has no outline, and for more than MAX_MASK_MEMORY.
        """
        height, width = size or self.size
        if len(self.instances) * height * width > MAX_MASK_MEMORY:
            raise PellucidError(
                f"{self.file} has {plural(len(self.instances), 'mask')} of {width}x{height} pixels in {self.image}, "
                f"above the limit of {MAX_MASK_MEMORY >> 20} MiB for one image; give a smaller size"
            )
        masks = torch.zeros(len(self.instances), height, width, dtype=torch.bool)
        for mask, instance in zip(masks, self.instances, strict=True):
            mask.copy_(fill_spans(self.spans(instance), self.size, size))
        return masks

    def mask(self, instance: Instance) -> Tensor:
        """Return the mask (H, W) of an instance; raise PellucidError if it has no outline."""
        return fill_spans(self.spans(instance), self.size)

    def void_mask(self, size: tuple[int, int]) -> Tensor:
        """Return the pixels (H, W) bool without a class, resized to `size` (H, W)."""
        spans = polygon_spans(self.void, self.size) if self.void else np.zeros((0, 2), np.int64)
        return fill_spans(spans, self.size, size)

    def polygons(self, instance: Instance) -> Polygons:
        """Return the outline of an instance as polygons; those of an RLE follow the sides of its pixels."""
        if isinstance(instance.outline, tuple):
            return instance.outline
        spans, height = self.spans(instance), self.size[0]
        x0, _, x1, _ = span_box(spans, height)
        columns = fill_spans(spans - x0 * height, (height, x1 - x0))
        return tuple(
            tuple(value + x0 * (k % 2 == 0) for k, value in enumerate(line)) for line in outline_polygons(columns)
        )

    def spans(self, instance: Instance) -> np.ndarray:
        """Return the spans (n, 2) of an instance's mask, see `fill_spans`; raise PellucidError if it has no outline."""
        if instance.outline is None:
            raise PellucidError(f"{self.file} has an object without an outline in {self.image}; read it without masks")
        if isinstance(instance.outline, str):
            return run_spans(decompress(instance.outline), self.size)
        return polygon_spans(instance.outline, self.size)


@dataclass(frozen=True)
class Annotations:
    """The annotations of a set of images.

    classes: names, indexed by label. faults: the faults of all files, in the order of the files. keypoints: the names
    of an object's key-points. stated_ids: COCO's category id of each class, () for 1, 2, ... swaps: the pairs of
    key-points that mirroring exchanges, None if the files do not state them.
    """

    classes: tuple[str, ...]
    records: tuple[ImageRecord, ...]
    faults: tuple[AnnotationFault, ...] = ()
    keypoints: tuple[str, ...] = ()
    stated_ids: tuple[int, ...] = ()
    swaps: tuple[tuple[int, int], ...] | None = None

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The category id of each class in a COCO file."""
        return self.stated_ids or tuple(range(1, len(self.classes) + 1))

    @property
    def has_masks(self) -> bool:
        """Whether there is at least one object and every object has an outline."""
        instances = [instance for record in self.records for instance in record.instances]
        return bool(instances) and all(instance.outline is not None for instance in instances)


def size_fault(record: ImageRecord, size: tuple[int, int]) -> str:
    """Return a message if `size` (H, W), of the image, differs from the size in its annotations; "" if it does not."""
    if size == record.size:
        return ""
    advice = "annotate this image, or correct the size there"
    if size == record.size[::-1]:
        advice = "if the image has an EXIF orientation, its boxes are not turned with it: annotate the upright image"
    return (
        f"the image is {size[1]} pixels wide and {size[0]} high, but its annotations in {record.file} state "
        f"{record.size[1]} and {record.size[0]}; {advice}"
    )


def check_faults(faults: Iterable[AnnotationFault], advice: str = "correct the file") -> None:
    """Raise PellucidError if a fault has the effect "refused"; the message has the first and the number of others."""
    refused_faults = [fault for fault in faults if fault.effect == "refused"]
    if refused_faults:
        n_others = fault_count(refused_faults) - 1
        count_remark = f" (and {n_others:,} more)" if n_others else ""
        skip_advice = f", and {ADVICE}" if refused_faults[0].is_image else ""
        raise PellucidError(
            f"{refused_faults[0]}{count_remark}; {advice}; `pellucid data lint` lists the faults of the "
            f"files{skip_advice}"
        )


def fault_summary(faults: Iterable[AnnotationFault]) -> str:
    """Return one line with the counts of dropped and clipped objects and the first of each; "" without such objects."""
    changes = {"dropped": "left out", "changed": "clipped to its image"}
    parts: list[str] = []
    for effect, change in changes.items():
        matching = [fault for fault in faults if fault.effect == effect]
        if matching:
            count = fault_count(matching)
            parts.append(f"{plural(count, 'object')} {change} ({'first ' if count > 1 else ''}{matching[0]})")
    return "; ".join(parts)


def fault_count(faults: Iterable[AnnotationFault]) -> int:
    """Return the number of faults, including those that are only counted."""
    return sum(fault.count for fault in faults)


def join_names(names: Iterable[str]) -> str:
    """Return the first 20 names, separated by commas and cut to 200 characters, for messages."""
    return f"{', '.join(islice(names, 20)):.200}"


class MissingImageError(PellucidError):
    """An image that is missing, or that cannot be read."""


class DamageError(PellucidError):
    """A file, or a line of it, that cannot be read."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


class Faults:
    """The faults of one data set; above MAX_FAULTS of one effect, faults are counted but not listed."""

    def __init__(self) -> None:
        self._listed: list[AnnotationFault] = []
        self._counts: Counter[Effect] = Counter()
        self._first_counted: dict[Effect, AnnotationFault] = {}  # the first fault that is only counted

    @property
    def entries(self) -> tuple[AnnotationFault, ...]:
        """The listed faults, then one fault for all unlisted faults of each effect."""
        counted_faults: list[AnnotationFault] = []
        for effect, first_fault in self._first_counted.items():
            n_unlisted = self._counts[effect] - MAX_FAULTS
            reason = f"the first of {n_unlisted:,} more faults that are not listed"
            counted_faults.append(AnnotationFault(first_fault.file, first_fault.line, reason, effect, count=n_unlisted))
        return (*self._listed, *counted_faults)

    def add(
        self,
        file: str,
        line: int | None,
        reason: str,
        effect: Effect,
        box: BoxCorners | None = None,
        size: tuple[int, int] | None = None,
        is_image: bool = False,
    ) -> None:
        """Add a fault with these values; the name of the file at the beginning of the reason is left out."""
        reason = reason.removeprefix(f"{file}: ").removeprefix(f"{file} ")
        self.append(AnnotationFault(file, line, reason, effect, box, size, is_image=is_image))

    def refuse(self, file: str, line: int | None, error: PellucidError) -> None:
        """Add the error of a file with the effect "refused"."""
        line = error.line if isinstance(error, DamageError) else line
        self.add(file, line, str(error), "refused", is_image=isinstance(error, MissingImageError))

    def extend(self, faults: Iterable[AnnotationFault]) -> None:
        """Add faults in their order."""
        for fault in faults:
            self.append(fault)

    def append(self, fault: AnnotationFault) -> None:
        """Add a fault."""
        self._counts[fault.effect] += fault.count
        if self._counts[fault.effect] <= MAX_FAULTS:
            self._listed.append(fault)
        else:
            self._first_counted.setdefault(fault.effect, fault)

    def clip_box(self, box: BoxCorners, size: tuple[int, int], file: str, line: int | None) -> BoxCorners | None:
        """Return a box clipped to its image (H, W), or None if it is empty or outside the image.

        Adds a fault for None, and for a box that is clipped by more than BOX_TOLERANCE.
        """
        x0, y0, x1, y1 = box
        (height, width), text = size, f"box ({', '.join(f'{value:g}' for value in box)})"
        clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        if x1 < x0 or y1 < y0:
            self.add(file, line, f"{text} has its corners in the wrong order", "dropped", box, size)
        elif x1 == x0 or y1 == y0:
            self.add(file, line, f"{text} has no area", "dropped", box, size)
        elif clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
            self.add(file, line, f"{text} is outside the image of {width}x{height}", "dropped", box, size)
        else:
            if any(abs(value - limit) > BOX_TOLERANCE for value, limit in zip(box, clipped, strict=True)):
                self.add(file, line, f"{text} extends beyond the image of {width}x{height}", "changed", box, size)
            return clipped
        return None


def parse_outline(value: object, size: tuple[int, int]) -> Polygons | str:
    """Return a COCO segmentation as polygons or compressed RLE; raise PellucidError unless it fits an image (H, W).

    value: a list of polygons, or {"size": [H, W], "counts": run lengths, as a list or compressed text}.
    """
    if isinstance(value, dict):
        counts = value.get("counts")
        if value.get("size") != [*size]:
            raise PellucidError(f"mask is {value.get('size')!r:.40} but its image is {[*size]}")
        if isinstance(counts, str):
            runs = decompress(counts)
        elif isinstance(counts, list) and all(type(count) is int for count in counts):
            runs = counts
        else:
            raise PellucidError(f"mask has counts {counts!r:.40}; give run lengths")
        check_run_lengths(runs, size)
        return compress(runs)
    return parse_polygons(value, size)


def parse_polygons(value: object, size: tuple[int, int]) -> Polygons:
    """Return checked polygons; raise PellucidError for other values and for points far outside an image (H, W)."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise PellucidError(f"mask is {value!r:.40}; give polygons or an RLE")
    polygons: list[tuple[float, ...]] = []
    for polygon in value:
        points = parse_numbers(polygon)
        if points is None or len(points) < 6 or len(points) % 2:
            raise PellucidError(f"polygon is {polygon!r:.40}; give three points or more, x and y of each")
        limits = (size[1], size[0])
        if any(not -limits[k % 2] <= coordinate <= 2 * limits[k % 2] for k, coordinate in enumerate(points)):
            raise PellucidError(f"polygon has points far outside the image of {size[1]}x{size[0]}")
        polygons.append(points)
    return tuple(polygons)


def stated_size(height: object, width: object) -> tuple[int, int] | None:
    """Return the size (H, W) in annotations, None if it is invalid; raise DamageError above MAX_IMAGE_PIXELS."""
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        return None
    if height * width > MAX_IMAGE_PIXELS:
        raise DamageError(f"image is stated to have {width}x{height} pixels, above the limit of {MAX_IMAGE_PIXELS}")
    return height, width


def parse_numbers(value: object, count: int | None = None) -> tuple[float, ...] | None:
    """Return a list of numbers between -1e9 and 1e9 as floats; None for other values or another length than `count`."""
    if not isinstance(value, list | tuple) or (count is not None and len(value) != count):
        return None
    is_valid = all(isinstance(item, int | float) and not isinstance(item, bool) and abs(item) < 1e9 for item in value)
    return tuple(map(float, value)) if is_valid and all(map(math.isfinite, value)) else None
