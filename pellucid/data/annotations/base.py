"""Annotations of a set of images, in the form that the readers of all formats return."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from pellucid.data.images import MAX_PIXELS
from pellucid.errors import PellucidError
from pellucid.objects import Objects
from pellucid.ops.masks import check_run_lengths, compress, decode_rle, decompress, fill_polygons
from pellucid.text import plural

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 as in `Objects`
Polygons = tuple[tuple[float, ...], ...]  # each x0, y0, x1, y1, ...
Effect = Literal["refused", "dropped", "changed", "listed"]
ROUNDING = 1.0  # pixels by which a box may extend beyond its image, because of rounding, without a fault
MAX_KEYPOINTS = 1000


@dataclass(frozen=True)
class Fault:
    """What is wrong with an annotation, and where; `line` is None in files without lines.

    effect: "refused" (the data set cannot be loaded), "dropped" (the object is left out), "changed" (its box is
    clipped) or "listed" (loaded unchanged). box, size: the faulty box as written in the file, and (H, W) of its image;
    None if the fault is not in a box.
    """

    file: str
    line: int | None
    reason: str
    effect: Effect
    box: Box | None = field(default=None, compare=False)
    size: tuple[int, int] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """Return `FILE:LINE: REASON`."""
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.reason}"


@dataclass(frozen=True)
class Instance:
    """One annotated object.

    outline: its mask as polygons or as COCO's compressed RLE, None without a mask. points: x, y and visibility of each
    of its K key-points, () without key-points. line: its line in the annotation file, None in files without lines.
    area: in square pixels, None unless the file states it, as COCO files do.
    """

    box: Box
    label: int
    outline: Polygons | str | None = None
    points: tuple[float, ...] = ()
    crowd: bool = False
    line: int | None = None
    area: float | None = None


@dataclass(frozen=True)
class Record:
    """The annotations of one image.

    image: its path in the tree; size: (H, W); file: the annotation file, as named in messages; number: COCO's image
    id, or a number from 1 up in other formats.
    """

    image: str
    size: tuple[int, int]
    instances: tuple[Instance, ...]
    file: str
    number: int

    def objects(self, keypoints: int = 0, masks: bool = False) -> Objects:
        """Return the instances as Objects in pixels of the image.

        keypoints: the number of key-points of each object, 0 for none. masks: whether to include masks.
        """
        instances = self.instances
        mask_list = [self.mask(instance) for instance in instances] if masks else []
        empty = torch.zeros(0, *self.size, dtype=torch.bool)
        points = [instance.points or (0.0,) * (3 * keypoints) for instance in instances]
        return Objects(
            torch.tensor([instance.box for instance in instances], dtype=torch.float32).reshape(-1, 4),
            torch.tensor([instance.label for instance in instances], dtype=torch.int64),
            (torch.stack(mask_list) if mask_list else empty) if masks else None,
            torch.tensor(points, dtype=torch.float32).reshape(len(instances), keypoints, 3) if keypoints else None,
            torch.tensor([instance.crowd for instance in instances], dtype=torch.bool),
        )

    def mask(self, one: Instance) -> Tensor:
        """Return the mask (H, W) of an instance; raise PellucidError if it has no outline."""
        if one.outline is None:
            raise PellucidError(f"{self.file} has an object without an outline in {self.image}; read it without masks")
        return (
            decode_rle(one.outline, self.size)
            if isinstance(one.outline, str)
            else fill_polygons(one.outline, self.size)
        )


@dataclass(frozen=True)
class Annotations:
    """The annotations of several images.

    classes: names, indexed by label. faults: everything wrong with the files, in their order. keypoints: the names of
    an object's key-points. numbers: COCO's category id of each class, 1, 2, ... in other formats.
    """

    classes: tuple[str, ...]
    records: tuple[Record, ...]
    faults: tuple[Fault, ...] = ()
    keypoints: tuple[str, ...] = ()
    numbers: tuple[int, ...] = field(default=())

    @property
    def has_masks(self) -> bool:
        """Whether there are objects and all of them have an outline."""
        instances = [instance for record in self.records for instance in record.instances]
        return bool(instances) and all(instance.outline is not None for instance in instances)


def size_fault(record: Record, size: tuple[int, int]) -> str:
    """Return what is wrong if an image of `size` (H, W) has another size in its annotations; "" if it has not."""
    if size == record.size:
        return ""
    advice = "annotate this image, or correct the size there"
    if size == record.size[::-1]:
        advice = "if the image has an EXIF orientation, its boxes are not turned with it: annotate the upright image"
    return (
        f"the image is {size[1]} pixels wide and {size[0]} high, but its annotations in {record.file} state "
        f"{record.size[1]} and {record.size[0]}; {advice}"
    )


def refuse(faults: Iterable[Fault], advice: str = "correct the file") -> None:
    """Raise PellucidError if a fault has the effect "refused"; the message names the first and counts the others."""
    found = [fault for fault in faults if fault.effect == "refused"]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise PellucidError(f"{found[0]}{more}; {advice}; `pellucid data lint` lists the faults of the files")


def summary(faults: Iterable[Fault]) -> str:
    """Return one line with the counts of dropped and clipped objects and the first of each; "" if there are none."""
    changes = {"dropped": "left out", "changed": "clipped to its image"}
    parts: list[str] = []
    for effect, change in changes.items():
        found = [fault for fault in faults if fault.effect == effect]
        if found:
            parts.append(f"{plural(len(found), 'object')} {change} ({'first ' if len(found) > 1 else ''}{found[0]})")
    return "; ".join(parts)


class DamageError(PellucidError):
    """A file, or a line of it, that cannot be read."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


class Faults:
    """Collects faults and checks values while one set is read."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(
        self,
        file: str,
        line: int | None,
        reason: str,
        effect: Effect,
        box: Box | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Add a fault."""
        self.found.append(Fault(file, line, reason, effect, box, size))

    def box(self, box: Box, size: tuple[int, int], file: str, line: int | None) -> Box | None:
        """Return a box clipped to its image (H, W), or None if it is empty or outside the image.

        Adds a fault for None, and for a box that is clipped by more than ROUNDING.
        """
        x0, y0, x1, y1 = box
        (height, width), text = size, f"box ({', '.join(f'{value:g}' for value in box)})"
        inner = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        if x1 < x0 or y1 < y0:
            self.add(file, line, f"{text} has its corners in the wrong order", "dropped", box, size)
        elif x1 == x0 or y1 == y0:
            self.add(file, line, f"{text} has no area", "dropped", box, size)
        elif inner[2] <= inner[0] or inner[3] <= inner[1]:
            self.add(file, line, f"{text} is outside the image of {width}x{height}", "dropped", box, size)
        else:
            if any(abs(a - b) > ROUNDING for a, b in zip(box, inner, strict=True)):
                self.add(file, line, f"{text} extends beyond the image of {width}x{height}", "changed", box, size)
            return inner
        return None


def outline_of(value: object, size: tuple[int, int]) -> Polygons | str:
    """Return a COCO segmentation as polygons or compressed RLE; PellucidError unless it is a mask of an image (H, W).

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
    return polygons_of(value, size)


def polygons_of(value: object, size: tuple[int, int]) -> Polygons:
    """Return checked polygons; PellucidError for other values and for points far outside an image (H, W)."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise PellucidError(f"mask is {value!r:.40}; give polygons or an RLE")
    found: list[tuple[float, ...]] = []
    for polygon in value:
        points = numbers(polygon)
        if points is None or len(points) < 6 or len(points) % 2:
            raise PellucidError(f"polygon is {polygon!r:.40}; give three points or more, x and y of each")
        limits = (size[1], size[0])
        if any(not -limits[k % 2] <= coordinate <= 2 * limits[k % 2] for k, coordinate in enumerate(points)):
            raise PellucidError(f"polygon has points far outside the image of {size[1]}x{size[0]}")
        found.append(points)
    return tuple(found)


def stated_size(height: object, width: object) -> tuple[int, int] | None:
    """Return the size (H, W) that annotations state, None if it is invalid; DamageError for too many pixels."""
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        return None
    if height * width > MAX_PIXELS:
        raise DamageError(f"image is stated to have {width}x{height} pixels, above the limit of {MAX_PIXELS}")
    return height, width


def numbers(value: object, count: int | None = None) -> tuple[float, ...] | None:
    """Return a list of numbers between -1e9 and 1e9 as floats; None for other values and lengths than `count`."""
    if not isinstance(value, list | tuple) or (count is not None and len(value) != count):
        return None
    valid = all(isinstance(item, int | float) and not isinstance(item, bool) and abs(item) < 1e9 for item in value)
    return tuple(map(float, value)) if valid and all(map(math.isfinite, value)) else None
