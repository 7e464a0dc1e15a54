"""For the doctor's experiments with objects: scores by IoU, and changed boxes and classes to try."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import nan

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.ops.boxes import box_iou, clip
from pellucid.ops.image_objects import Detections, Objects
from pellucid.task import HeldOutScores, TargetChange
from pellucid.tasks.classify.doctor import class_changes
from pellucid.tasks.outlines import edges

# Corners (n, 4) and the size (H, W) of their image -> corners.
BoxConversion = Callable[[Tensor, tuple[int, ...]], Tensor]

DETECTIONS_PER_OBJECT = 3  # detections that are considered for an object
MIN_RATIO = 1.3  # strength of the edges at the converted boxes, divided by their strength at the given boxes
MIN_GAIN = 0.05  # gain in the mean IoU of objects by a conversion
MIN_IOU = 0.5  # of a detection and the object that it belongs to
MAX_BACKGROUND_IOU = 0.1  # a detection whose IoU with every object is lower belongs to no object
# Numbers per object: of objects with a detection, and of equally confident detections that belong to none.
MIN_FOUND, MIN_OVERLOOKED = 0.5, 0.3
MIN_SHIFT = 2.0  # pixels
SHIFT_CELL = 4.0  # pixels, the size of a bin of shifts
POINTS_PER_SIDE = 16  # points on each side of a box at which edges are measured
FORMAT_CONVERSIONS: dict[str, BoxConversion] = {
    "read as x, y, width, height": lambda boxes, size: torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
    "read as centre, width, height": lambda boxes, size: torch.cat(
        [boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1
    ),
    "converted back from x, y, width, height": lambda boxes, size: torch.cat(
        [boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1
    ),
    "moved by half their size": lambda boxes, size: boxes + (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2) / 2,
    "moved back by half their size": lambda boxes, size: boxes - (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2) / 2,
    "with x and y exchanged": lambda boxes, size: boxes[:, [1, 0, 3, 2]],
}  # fmt: skip
FLIPS: dict[str, BoxConversion] = {
    "mirrored": lambda boxes, size: torch.stack(
        [size[1] - boxes[:, 2], boxes[:, 1], size[1] - boxes[:, 0], boxes[:, 3]], 1
    ),
    "upside down": lambda boxes, size: torch.stack(
        [boxes[:, 0], size[0] - boxes[:, 3], boxes[:, 2], size[0] - boxes[:, 1]], 1
    ),
    "turned by 180 degrees": lambda boxes, size: torch.tensor([size[1], size[0]] * 2) - boxes[:, [2, 3, 0, 1]],
}
RELATIVE_NAME = "multiplied by the image's width and height"
SCALE_FACTORS = [2 ** (k / 8) for k in range(-16, 17) if k]  # 1/4 to 4


def scale_by(factor: float) -> BoxConversion:
    """Return the conversion that multiplies the coordinates of boxes by a factor."""
    return lambda boxes, size: boxes * factor


def shift_by(right: float, down: float) -> BoxConversion:
    """Return the conversion that shifts boxes by these numbers of pixels."""
    return lambda boxes, size: boxes + torch.tensor([right, down, right, down])


def named_conversions() -> dict[str, tuple[str, BoxConversion]]:
    """Return for each name of a conversion the name of the fault that it undoes, and the conversion."""
    scales = {f"multiplied by {factor:.3g}": scale_by(factor) for factor in SCALE_FACTORS}
    scales[RELATIVE_NAME] = lambda boxes, size: boxes * torch.tensor([size[1], size[0], size[1], size[0]])
    conversions_by_fault = ("box-scale", scales), ("box-format", FORMAT_CONVERSIONS), ("mirrored-boxes", FLIPS)
    return {
        name: (fault, convert) for fault, conversions in conversions_by_fault for name, convert in conversions.items()
    }


def convert_boxes(objects: Objects, size: tuple[int, ...], convert: BoxConversion) -> Objects:
    """Return objects with converted boxes, clipped to the image of `size`; boxes below 1 pixel are left out."""
    boxes = convert(objects.boxes, size)
    boxes = torch.cat([torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    boxes = clip(boxes, (size[0], size[1]))
    return replace(objects, boxes=boxes).take(((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1))


def scores(outputs: Sequence[Detections], targets: Sequence[Objects]) -> HeldOutScores:
    """Return for each image the mean IoU of its objects with their detections; 0 for detections of another class.

    NaN for images without objects.
    """
    values: list[float] = []
    for detections, objects in zip(outputs, targets, strict=True):
        true_objects = objects if objects.crowd is None else objects.take(~objects.crowd)
        iou, labels = _match_objects(detections, true_objects)
        mean_iou = float((iou * (labels == true_objects.labels)).mean()) if len(iou) else 0.0
        values.append(mean_iou if len(true_objects) else nan)
    return HeldOutScores("mean IoU of objects", torch.tensor(values))


def _match_objects(detections: Detections, objects: Objects) -> tuple[Tensor, Tensor]:
    """Return the IoU and the class (n,) of each object's detection; (0,) if there are no objects or no detections.

    The detection is the one with the highest score and an IoU of at least MIN_IOU, otherwise the one with the highest
    IoU. Only the detections with the highest scores are considered, DETECTIONS_PER_OBJECT times the number of objects.
    """
    candidates = detections.take(torch.arange(min(len(detections), DETECTIONS_PER_OBJECT * len(objects))))
    iou = box_iou(objects.boxes, candidates.boxes)
    if not iou.numel():
        return torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    priority = (iou >= MIN_IOU) * torch.arange(len(candidates), 0, -1)
    index = torch.where(priority.any(1), priority.argmax(1), iou.argmax(1))
    return iou.gather(1, index[:, None])[:, 0], candidates.labels[index]


def target_changes(
    images: Sequence[Tensor], targets: Sequence[Objects], outputs: Sequence[Detections] | None
) -> list[TargetChange]:
    """Return the changes of boxes and classes that fit the outputs; without outputs, the boxes that fit the edges."""
    sizes = [tuple(image.shape[1:]) for image in images]
    if outputs is None:
        return _best_edge_conversion(images, targets, sizes)

    def mean_score(convert: BoxConversion) -> float:
        converted = [convert_boxes(objects, size, convert) for objects, size in zip(targets, sizes, strict=True)]
        return float(scores(outputs, converted).values.nan_to_num().mean())

    current_score = float(scores(outputs, targets).values.nan_to_num().mean())
    conversions = named_conversions() | _common_shift(targets, outputs)
    mean_scores = {name: mean_score(convert) for name, (_, convert) in conversions.items()}
    best_name = max(mean_scores, key=lambda name: mean_scores[name])
    box_changes = (
        [_box_change(best_name, *conversions[best_name])] if mean_scores[best_name] > current_score + MIN_GAIN else []
    )
    label_changes = [
        _relabel_objects(change) for change in class_changes(_confusion_matrix(outputs, targets), "class-order")
    ]
    return box_changes + label_changes + _overlooked_objects(outputs, targets)


def _box_change(name: str, fault: str, convert: BoxConversion) -> TargetChange:
    causes = {
        "box-scale": ("belong to images of another size", "scale boxes by the same factors as their images"),
        "box-format": ("are written in another order than they are read in", "write boxes as x0, y0, x1, y1 in pixels"),
        "shifted-boxes": (
            "are shifted from their images",
            "find out what moved the boxes or the images, such as padding",
        ),
        "mirrored-boxes": (
            "are mirrored or turned relative to their images",
            "mirror and turn images and boxes together",
        ),
    }
    return TargetChange(
        fault, f"boxes {name}", *causes[fault], lambda target, size: convert_boxes(target, size, convert), key=name
    )


def _overlooked_objects(outputs: Sequence[Detections], targets: Sequence[Objects]) -> list[TargetChange]:
    """Return a change without `apply`, if many detections belong to no object but are as confident as the others."""
    object_scores, background_scores, n_found = list[Tensor](), list[Tensor](), 0
    for detections, objects in zip(outputs, targets, strict=True):
        overlap = box_iou(detections.boxes, objects.boxes)
        highest_ious = overlap.amax(1) if len(objects) else torch.zeros(len(detections))
        object_scores.append(detections.scores[highest_ious >= MIN_IOU])
        background_scores.append(detections.scores[highest_ious < MAX_BACKGROUND_IOU])
        n_found += int((overlap >= MIN_IOU).any(0).sum())
    all_object_scores, all_background_scores = torch.cat(object_scores), torch.cat(background_scores)
    count = sum(map(len, targets))
    if n_found < MIN_FOUND * count:
        return []
    n_overlooked = int((all_background_scores >= all_object_scores.median()).sum())
    if n_overlooked < MIN_OVERLOOKED * count:
        return []
    return [TargetChange(
        "overlooked-objects", "boxes around overlooked objects", "lack the boxes of many objects",
        "look at images without boxes, or with fewer than others, and annotate every object", None, unproven=True,
        key="overlooked",
    )]  # fmt: skip


def _common_shift(targets: Sequence[Objects], outputs: Sequence[Detections]) -> dict[str, tuple[str, BoxConversion]]:
    """Return the most common shift from boxes to detections of their class; {} if less than half of the boxes have it.

    The keys and values are as in `named_conversions`.
    """
    shifts: list[Tensor] = []
    for objects, detections in zip(targets, outputs, strict=True):
        candidates = detections.take(torch.arange(min(len(detections), DETECTIONS_PER_OBJECT * len(objects))))
        centres, detected_centres = ((boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in (objects.boxes, candidates.boxes))
        is_same_class = objects.labels[:, None] == candidates.labels
        shifts.append((detected_centres[None] - centres[:, None])[is_same_class])
    all_shifts = torch.cat(shifts)
    if not len(all_shifts):
        return {}
    cells, counts = (all_shifts / SHIFT_CELL).round().unique(dim=0, return_counts=True)
    is_common = (all_shifts / SHIFT_CELL - cells[counts.argmax()]).abs().amax(1) <= 1
    if 2 * int(is_common.sum()) < sum(map(len, targets)):
        return {}
    right, down = all_shifts[is_common].median(0).values.tolist()
    if max(abs(right), abs(down)) < MIN_SHIFT:
        return {}
    return {f"moved by {right:.0f} pixels to the right and {down:.0f} down": ("shifted-boxes", shift_by(right, down))}


def _relabel_objects(change: TargetChange) -> TargetChange:
    """Return a change of class indices (n,) as a change of Objects."""
    relabel = change.apply
    assert relabel is not None
    return change._replace(apply=lambda target, size: replace(target, labels=relabel(target.labels, size)))


def _confusion_matrix(outputs: Sequence[Detections], targets: Sequence[Objects]) -> Tensor:
    """Return the numbers of objects by their class (rows) and the class of their detection (columns)."""
    pairs: list[tuple[int, int]] = []
    for detections, objects in zip(outputs, targets, strict=True):
        iou, labels = _match_objects(detections, objects)
        if len(iou):
            pairs += zip(objects.labels[iou >= MIN_IOU].tolist(), labels[iou >= MIN_IOU].tolist(), strict=True)
    count = max((max(pair) for pair in pairs), default=0) + 1
    matrix = torch.zeros(count, count)
    for true, predicted in pairs:
        matrix[true, predicted] += 1
    return matrix


def _best_edge_conversion(
    images: Sequence[Tensor], targets: Sequence[Objects], sizes: Sequence[tuple[int, ...]]
) -> list[TargetChange]:
    """Return the conversion after which the outlines of boxes have much stronger edges; [] if there is none."""
    maps = [F.max_pool2d(edges(image)[None, None], 3, 1, 1)[0, 0] for image in images]

    def strength(convert: BoxConversion) -> float:
        boxes = [convert(objects.boxes, size) for objects, size in zip(targets, sizes, strict=True)]
        return _edge_strength(maps, boxes, sizes)

    conversions = named_conversions()
    strengths = {name: strength(convert) for name, (_, convert) in conversions.items()}
    best_name, current_strength = max(strengths, key=lambda name: strengths[name]), strength(lambda boxes, size: boxes)
    return (
        [_box_change(best_name, *conversions[best_name])] if strengths[best_name] > MIN_RATIO * current_strength else []
    )


def _edge_strength(maps: Sequence[Tensor], boxes: Sequence[Tensor], sizes: Sequence[tuple[int, ...]]) -> float:
    """Return the mean strength of the edges at the outlines of boxes; points outside the image count as 0."""
    fractions = (torch.arange(POINTS_PER_SIDE) + 0.5) / POINTS_PER_SIDE
    sum_inside, count = 0.0, 0
    for edge_map, corners, (height, width) in zip(maps, boxes, sizes, strict=True):
        x0, y0, x1, y1 = corners.T[:, :, None]  # (n, 1) each
        x, y = x0 + fractions * (x1 - x0), y0 + fractions * (y1 - y0)
        xs = torch.cat([x, x, x0.expand_as(y), x1.expand_as(y)], 1)
        ys = torch.cat([y0.expand_as(x), y1.expand_as(x), y, y], 1)
        is_inside = (xs >= 0) & (xs <= width) & (ys >= 0) & (ys <= height)
        values = edge_map[ys.long().clamp(0, height - 1), xs.long().clamp(0, width - 1)]
        sum_inside += float((values * is_inside).sum())
        count += values.numel()
    return sum_inside / max(count, 1)
