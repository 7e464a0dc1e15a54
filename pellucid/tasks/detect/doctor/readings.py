"""What the doctor's experiments compare for objects: the IoU of their boxes, and boxes read in other ways."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.image_objects import Detections, Objects
from pellucid.ops.boxes import box_iou, clip
from pellucid.task import HeldOutScores, TargetChange
from pellucid.tasks.classify.doctor import class_changes
from pellucid.tasks.outlines import edges

Reading = Callable[[Tensor, tuple[int, ...]], Tensor]  # corners (n, 4) and the size (H, W) of their image -> corners

PER_OBJECT = 3  # detections that are considered for an object
MIN_RATIO = 1.3  # strength of the edges at other outlines over that at the given boxes
MIN_GAIN = 0.05  # of the mean IoU on the data that choose a reading
MIN_IOU = 0.5  # of a detection and the object that it belongs to
MAX_ALONE = 0.1  # IoU with the nearest object of a detection without one
MIN_FOUND, MIN_OVERLOOKED = 0.5, 0.3  # detections, per object, with an object and as certain ones without
MIN_SHIFT = 2.0  # pixels
CELL = 4.0  # pixels, within which shifts are counted together
POINTS = 16  # on each side of a box, where edges are measured
ORDERS: dict[str, Reading] = {
    "read as x, y, width, height": lambda b, size: torch.cat([b[:, :2], b[:, :2] + b[:, 2:]], 1),
    "read as centre, width, height": lambda b, size: torch.cat(
        [b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2], 1
    ),
    "converted back from x, y, width, height": lambda b, size: torch.cat([b[:, :2], b[:, 2:] - b[:, :2]], 1),
    "moved by half their size": lambda b, size: b + (b[:, 2:] - b[:, :2]).repeat(1, 2) / 2,
    "moved back by half their size": lambda b, size: b - (b[:, 2:] - b[:, :2]).repeat(1, 2) / 2,
    "with x and y exchanged": lambda b, size: b[:, [1, 0, 3, 2]],
}  # fmt: skip
ORIENTATIONS: dict[str, Reading] = {
    "mirrored": lambda b, size: torch.stack([size[1] - b[:, 2], b[:, 1], size[1] - b[:, 0], b[:, 3]], 1),
    "upside down": lambda b, size: torch.stack([b[:, 0], size[0] - b[:, 3], b[:, 2], size[0] - b[:, 1]], 1),
}
RELATIVE = "multiplied by the image's width and height"
FACTORS = [2 ** (k / 8) for k in range(-16, 17) if k]  # 1/4 to 4


def scaling(x: float, y: float) -> Reading:
    """Return the reading of boxes multiplied by these factors."""
    return lambda b, size: b * torch.tensor([x, y, x, y])


def moving(right: float, down: float) -> Reading:
    """Return the reading of boxes that are moved by so many pixels."""
    return lambda b, size: b + torch.tensor([right, down, right, down])


def readings() -> dict[str, tuple[str, Reading]]:
    """Return the name of the fault and the reading, by what is done to the boxes."""
    scales = {f"multiplied by {factor:.3g}": scaling(factor, factor) for factor in FACTORS}
    scales[RELATIVE] = lambda b, size: b * torch.tensor([size[1], size[0], size[1], size[0]])
    named = ("box-scale", scales), ("box-format", ORDERS), ("mirrored-boxes", ORIENTATIONS)
    return {does: (name, reading) for name, group in named for does, reading in group.items()}


def read(objects: Objects, size: tuple[int, ...], reading: Reading) -> Objects:
    """Return objects with boxes read in another way, clipped to their image; those without an area are left out."""
    boxes = reading(objects.boxes, size)
    boxes = torch.cat([torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    boxes = clip(boxes, (size[0], size[1]))
    return replace(objects, boxes=boxes).take(((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1))


def scores(outputs: Sequence[Detections], targets: Sequence[Objects]) -> HeldOutScores:
    """Return the mean over the objects of each image of the IoU with their detection, 0 if its class is another one."""
    values: list[float] = []
    for found, objects in zip(outputs, targets, strict=True):
        truth = objects if objects.crowd is None else objects.take(~objects.crowd)
        iou, labels = _matched(found, truth)
        values.append(float((iou * (labels == truth.labels)).mean()) if len(iou) else 0.0)
    return HeldOutScores("mean IoU of objects", torch.tensor(values))


def _matched(found: Detections, truth: Objects) -> tuple[Tensor, Tensor]:
    """Return IoU and class of each object's detection: the first with MIN_IOU by score, otherwise the nearest.

    PER_OBJECT detections for each object are considered, those with the highest scores; (0,) without any.
    """
    best = found.take(torch.arange(min(len(found), PER_OBJECT * len(truth))))
    iou = box_iou(truth.boxes, best.boxes)
    if not iou.numel():
        return torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    at = (iou >= MIN_IOU) * torch.arange(len(best), 0, -1)
    index = torch.where(at.any(1), at.argmax(1), iou.argmax(1))
    return iou.gather(1, index[:, None])[:, 0], best.labels[index]


def changes(
    images: Sequence[Tensor], targets: Sequence[Objects], outputs: Sequence[Detections] | None
) -> list[TargetChange]:
    """Return the reading of boxes that fits the outputs best, and exchanged classes; or else that fits the edges."""
    sizes = [tuple(image.shape[1:]) for image in images]
    if outputs is None:
        return _fitting_edges(images, targets, sizes)

    def fit(reading: Reading) -> float:
        others = [read(objects, size, reading) for objects, size in zip(targets, sizes, strict=True)]
        return float(scores(outputs, others).values.mean())

    now, found = float(scores(outputs, targets).values.mean()), readings() | _shift(targets, outputs)
    fits = {does: fit(reading) for does, (_, reading) in found.items()}
    best = max(fits, key=lambda does: fits[does])
    chosen = [_change(best, *found[best])] if fits[best] > now + MIN_GAIN else []
    relabelled = [_relabelled(one) for one in class_changes(_confusion(outputs, targets), "class-order")]
    return chosen + relabelled + _overlooked(outputs, targets)


def _change(does: str, name: str, reading: Reading) -> TargetChange:
    causes = {
        "box-scale": ("belong to images of another size", "scale boxes by the same factors as their images"),
        "box-format": ("are written in another order than they are read in", "write boxes as x0, y0, x1, y1 in pixels"),
        "shifted-boxes": (
            "are shifted from their images",
            "find out what moved the boxes or the images, such as padding",
        ),
        "mirrored-boxes": ("are mirrored relative to their images", "mirror images and boxes together"),
    }
    return TargetChange(name, f"boxes {does}", *causes[name], lambda target, size: read(target, size, reading))


def _overlooked(outputs: Sequence[Detections], targets: Sequence[Objects]) -> list[TargetChange]:
    """Return that objects were overlooked, if about as certain detections as those of objects have no object."""
    found, alone = list[Tensor](), list[Tensor]()
    for detections, objects in zip(outputs, targets, strict=True):
        overlap = box_iou(detections.boxes, objects.boxes)
        nearest = overlap.amax(1) if len(objects) else torch.zeros(len(detections))
        found.append(detections.scores[nearest >= MIN_IOU])
        alone.append(detections.scores[nearest < MAX_ALONE])
    scores_found, scores_alone = torch.cat(found), torch.cat(alone)
    count = sum(map(len, targets))
    if len(scores_found) < MIN_FOUND * count:
        return []
    overlooked = int((scores_alone >= scores_found.median()).sum())
    if overlooked < MIN_OVERLOOKED * count:
        return []
    return [TargetChange(
        "overlooked-objects", "boxes around overlooked objects", "lack the boxes of many objects",
        "look at images without boxes, or with fewer than others, and annotate every object", None, unproven=True,
    )]  # fmt: skip


def _shift(targets: Sequence[Objects], outputs: Sequence[Detections]) -> dict[str, tuple[str, Reading]]:
    """Return the shift that most boxes have from detections of their class; {} without any."""
    found: list[Tensor] = []
    for objects, detections in zip(targets, outputs, strict=True):
        best = detections.take(torch.arange(min(len(detections), PER_OBJECT * len(objects))))
        centres, others = ((one.boxes[:, :2] + one.boxes[:, 2:]) / 2 for one in (objects, best))
        same = objects.labels[:, None] == best.labels
        found.append((others[None] - centres[:, None])[same])
    shifts = torch.cat(found)
    if not len(shifts):
        return {}
    cells, counts = (shifts / CELL).round().unique(dim=0, return_counts=True)
    near = (shifts / CELL - cells[counts.argmax()]).abs().amax(1) <= 1
    if 2 * int(near.sum()) < sum(map(len, targets)):
        return {}
    right, down = shifts[near].median(0).values.tolist()
    if max(abs(right), abs(down)) < MIN_SHIFT:
        return {}
    return {f"moved by {right:.0f} pixels to the right and {down:.0f} down": ("shifted-boxes", moving(right, down))}


def _relabelled(change: TargetChange) -> TargetChange:
    """Return a change of class indices as one of objects."""
    relabel = change.apply
    assert relabel is not None
    return change._replace(apply=lambda target, size: replace(target, labels=relabel(target.labels, size)))


def _confusion(outputs: Sequence[Detections], targets: Sequence[Objects]) -> Tensor:
    """Return the numbers of objects by their class and that of the best detection at their place."""
    pairs: list[tuple[int, int]] = []
    for found, truth in zip(outputs, targets, strict=True):
        iou, labels = _matched(found, truth)
        if len(iou):
            pairs += zip(truth.labels[iou >= MIN_IOU].tolist(), labels[iou >= MIN_IOU].tolist(), strict=True)
    count = max((max(pair) for pair in pairs), default=0) + 1
    matrix = torch.zeros(count, count)
    for true, predicted in pairs:
        matrix[true, predicted] += 1
    return matrix


def _fitting_edges(
    images: Sequence[Tensor], targets: Sequence[Objects], sizes: Sequence[tuple[int, ...]]
) -> list[TargetChange]:
    """Return the reading whose outlines have much stronger edges than those of the given boxes; [] if there is none."""
    maps = [F.max_pool2d(edges(image)[None, None], 3, 1, 1)[0, 0] for image in images]

    def strength(reading: Reading) -> float:
        boxes = [reading(objects.boxes, size) for objects, size in zip(targets, sizes, strict=True)]
        return _strength(maps, boxes, sizes)

    found = readings()
    strengths = {does: strength(reading) for does, (_, reading) in found.items()}
    best, now = max(strengths, key=lambda does: strengths[does]), strength(lambda b, size: b)
    return [_change(best, *found[best])] if strengths[best] > MIN_RATIO * now else []


def _strength(maps: Sequence[Tensor], boxes: Sequence[Tensor], sizes: Sequence[tuple[int, ...]]) -> float:
    """Return the mean of the edges at the outlines of boxes; 0 where an outline is outside of its image."""
    along = (torch.arange(POINTS) + 0.5) / POINTS
    total, count = 0.0, 0
    for found, corners, (height, width) in zip(maps, boxes, sizes, strict=True):
        x0, y0, x1, y1 = corners.T[:, :, None]  # (n, 1) each
        x, y = x0 + along * (x1 - x0), y0 + along * (y1 - y0)
        xs = torch.cat([x, x, x0.expand_as(y), x1.expand_as(y)], 1)
        ys = torch.cat([y0.expand_as(x), y1.expand_as(x), y, y], 1)
        inside = (xs >= 0) & (xs <= width) & (ys >= 0) & (ys <= height)
        values = found[ys.long().clamp(0, height - 1), xs.long().clamp(0, width - 1)]
        total += float((values * inside).sum())
        count += values.numel()
    return total / max(count, 1)
