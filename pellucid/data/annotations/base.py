"""Annotations of a set of images, as the readers of all formats return them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from pellucid.data.images import PIXEL_LIMIT
from pellucid.errors import PellucidError
from pellucid.objects import Objects
from pellucid.ops.masks import check_run_lengths, compress, decode_rle, decompress, fill_polygons
from pellucid.text import plural

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 as in `Objects`
Polygons = tuple[tuple[float, ...], ...]  # each x0, y0, x1, y1, ...
Effect = Literal["refused", "dropped", "changed", "listed"]
ROUNDING = 1.0  # pixels by which a box may extend beyond its image without a fault
MAX_KEYPOINTS = 1000


@dataclass(frozen=True)
class Fault:
    """What is wrong with an annotation, and where; `line` is None in files without lines.

    effect: "refused" where a set with it cannot be loaded, "dropped" where the object is left out, "changed" where it
    is clipped, "listed" where it is loaded unchanged. box, size: those of a box that is at fault, as it is written, and
    of its image.
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

    outline: its mask as polygons, or as COCO's compressed RLE. points: K times x, y, v. area: in square pixels, where
    the file states it, as COCO's do.
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

    image: its file in the tree; size: (H, W); file: of the annotations, as errors call it; number: COCO's image id.
    """

    image: str
    size: tuple[int, int]
    instances: tuple[Instance, ...]
    file: str
    number: int

    def objects(self, keypoints: int = 0, masks: bool = False) -> Objects:
        """Return the instances as Objects in the image's own pixels, with `keypoints` points each, and with masks."""
        some = self.instances
        drawn = [self.mask(one) for one in some] if masks else []
        empty = torch.zeros(0, *self.size, dtype=torch.bool)
        points = [one.points or (0.0,) * (3 * keypoints) for one in some]
        return Objects(
            torch.tensor([one.box for one in some], dtype=torch.float32).reshape(-1, 4),
            torch.tensor([one.label for one in some], dtype=torch.int64),
            (torch.stack(drawn) if drawn else empty) if masks else None,
            torch.tensor(points, dtype=torch.float32).reshape(len(some), keypoints, 3) if keypoints else None,
            torch.tensor([one.crowd for one in some], dtype=torch.bool),
        )

    def mask(self, one: Instance) -> Tensor:
        """Return the mask (H, W) of an instance with an outline."""
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

    classes: names; numbers: COCO's category id of each class. keypoints: the names of the points of an object. faults:
    all that is wrong, in the order of the files.
    """

    classes: tuple[str, ...]
    records: tuple[Record, ...]
    faults: tuple[Fault, ...] = ()
    keypoints: tuple[str, ...] = ()
    numbers: tuple[int, ...] = field(default=())

    @property
    def has_masks(self) -> bool:
        """Whether there are objects, and each of them has an outline."""
        some = [one for record in self.records for one in record.instances]
        return bool(some) and all(one.outline is not None for one in some)


def refuse(faults: Iterable[Fault]) -> None:
    """Raise PellucidError for the first fault that is refused; it says how many there are."""
    found = [fault for fault in faults if fault.effect == "refused"]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise PellucidError(f"{found[0]}{more}; correct the file, `pellucid data lint` lists all")


def summary(faults: Iterable[Fault]) -> str:
    """Return one line on what was dropped and changed, with counts and the first case; "" for nothing."""
    changes = {"dropped": "left out", "changed": "clipped to its image"}
    parts: list[str] = []
    for effect, done in changes.items():
        found = [fault for fault in faults if fault.effect == effect]
        if found:
            parts.append(f"{plural(len(found), 'object')} {done} ({'first ' if len(found) > 1 else ''}{found[0]})")
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
        """Return a box clipped to its image, or None, with a fault, for one that holds nothing of it."""
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
    """Return a COCO segmentation, checked; PellucidError for one that is not a mask of an image (H, W).

    value: polygons, or {"size": [H, W], "counts": run lengths or their compressed text}.
    """
    if isinstance(value, dict):
        counts = value.get("counts")
        if value.get("size") != [*size]:
            raise PellucidError(f"mask is {value.get('size')!r:.40} but its image is {[*size]}")
        if isinstance(counts, str):
            runs = decompress(counts)
        elif isinstance(counts, list) and all(type(one) is int for one in counts):
            runs = counts
        else:
            raise PellucidError(f"mask has counts {counts!r:.40}; give run lengths")
        check_run_lengths(runs, size)
        return compress(runs)
    return polygons_of(value, size)


def polygons_of(value: object, size: tuple[int, int]) -> Polygons:
    """Return polygons, checked; PellucidError for other values and for points far outside an image (H, W)."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise PellucidError(f"mask is {value!r:.40}; give polygons or an RLE")
    found: list[tuple[float, ...]] = []
    for polygon in value:
        points = numbers(polygon)
        if points is None or len(points) < 6 or len(points) % 2:
            raise PellucidError(f"polygon is {polygon!r:.40}; give three points or more, x and y of each")
        limits = (size[1], size[0])
        if any(not -limits[k % 2] <= one <= 2 * limits[k % 2] for k, one in enumerate(points)):
            raise PellucidError(f"polygon has points far outside the image of {size[1]}x{size[0]}")
        found.append(points)
    return tuple(found)


def stated_size(height: object, width: object) -> tuple[int, int] | None:
    """Return the size that annotations state of their image, None for no numbers; PellucidError for too many pixels."""
    if not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
        return None
    if height * width > PIXEL_LIMIT:
        raise DamageError(f"image is stated to have {width}x{height} pixels, above the limit of {PIXEL_LIMIT}")
    return height, width


def numbers(value: object, count: int | None = None) -> tuple[float, ...] | None:
    """Return a list of finite numbers as floats, or None for anything else, or for another length than `count`."""
    if not isinstance(value, list | tuple) or (count is not None and len(value) != count):
        return None
    good = all(isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 1e9 for one in value)
    return tuple(map(float, value)) if good and all(map(math.isfinite, value)) else None
