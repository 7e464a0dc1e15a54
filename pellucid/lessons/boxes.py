"""Boxes: anchors, overlap and average precision.

A detector outputs boxes, each with a class and a score. Three questions arise for every detector: how much do two boxes
overlap, which anchor is trained on which object, and how good are the results? The answers are arithmetic that can be
done by hand.
"""

from typing import Any

import torch
from torch import Tensor

from pellucid.lessons.lesson import Result, Setting
from pellucid.metrics.detection import average_precision
from pellucid.network.counts import read_layers, receptive_field
from pellucid.ops.anchors import base_anchors, grid_anchors
from pellucid.ops.assign import assign_atss, assign_by_iou
from pellucid.ops.boxes import area, box_iou, intersection, paired_giou
from pellucid.ops.nms import nms
from pellucid.report.figures.objects import Marks, precision_recall, sheet_of_objects
from pellucid.report.figures.style import BLUE, GREEN, ORANGE, PALE

VGG16 = ", ".join(
    f"Conv2d(1, 3, padding=1){', MaxPool2d(2)' if last and block < 4 else ''}"
    for block, depth in enumerate((2, 2, 3, 3, 3))
    for last in [False] * (depth - 1) + [True]
)  # its 13 convolutions, as in Faster R-CNN; one filter each is enough to compute the receptive field


def white_image(height: int, width: int) -> Tensor:
    """Return a white image (3, height, width)."""
    return torch.ones(3, height, width)


def box_marks(boxes: Tensor, colours: list[str], texts: list[str] | None = None) -> Marks:
    """Return boxes (n, 4) for a figure, each with a colour and optionally a text."""
    return Marks(boxes, torch.zeros(len(boxes)), texts=texts or [], colours=colours)


def overlap(setting: Setting) -> Result:
    """Intersection over union.

    The intersection over union (IoU) of two boxes is the area of their intersection divided by the area of their union:
    1 for equal boxes, 0 for boxes that do not overlap. If a box of 40 x 40 is moved by 10 pixels to the right and down,
    the intersection with the old box is 30 · 30 = 900 and the union 2 · 1600 - 900 = 2300: an IoU of 0.39, below the
    usual threshold of 0.5. For a box of 20 x 20 moved by the same 10 pixels, it is 100 / 700 = 0.14: small objects are
    harder to localize. GIoU also measures the distance between boxes that do not overlap: it subtracts the fraction of
    the smallest enclosing box that neither box covers.
    """
    pairs = {
        "40 x 40, moved by 10": [[10, 10, 50, 50], [20, 20, 60, 60]],
        "20 x 20, moved by 10": [[20, 20, 40, 40], [30, 30, 50, 50]],
        "inside": [[10, 10, 60, 60], [20, 20, 50, 50]],
        "apart": [[5, 5, 25, 25], [40, 40, 65, 65]],
    }
    numbers, marks = {}, []
    for name, pair in pairs.items():
        first, second = torch.tensor(pair, dtype=torch.float32)[:, None]  # (1, 4) each
        common_area = intersection(first, second).item()
        numbers[name] = {
            "intersection": common_area,
            "union": (area(first) + area(second)).item() - common_area,
            "IoU": box_iou(first, second).item(),
            "GIoU": paired_giou(first, second).item(),
        }
        marks.append(box_marks(torch.cat([first, second]), [BLUE, ORANGE]))
    titles = [f"{name}: IoU {values['IoU']:.2f}" for name, values in numbers.items()]
    return Result(numbers, sheet_of_objects([white_image(70, 70)] * 4, marks, titles, ()))


def anchors(setting: Setting) -> Result:
    """Nine anchors.

    A convolutional head outputs the same number of values in each cell of a map. Objects differ in size, so each cell
    has boxes of fixed sizes, the anchors, and the head outputs offsets from these. Faster R-CNN uses three areas, 128²,
    256² and 512² pixels, and three shapes, in each cell of 16 x 16 pixels. The reference code prints the first and the
    last pixel of each anchor, counted from 1 and both included; in this library, a box ends where its last pixel ends.
    A map of 38 x 50 cells, for an image of 600 x 800 pixels, has 17,100 anchors.
    """
    cell_anchors = base_anchors()
    printed_anchors = cell_anchors + torch.tensor([1.0, 1.0, 0.0, 0.0])
    all_anchors = grid_anchors([cell_anchors], [(38, 50)], [16])
    numbers = {
        "as printed with the reference code": printed_anchors.int().tolist(),
        "width x height": [f"{x1 - x0:.0f} x {y1 - y0:.0f}" for x0, y0, x1, y1 in cell_anchors.tolist()],
        "anchors of a map of 38 x 50": len(all_anchors),
    }
    anchors_by_shape = (cell_anchors + 372).split(3)  # around the middle of an image of 760 x 760
    titles = ["twice as wide as tall", "square", "twice as tall as wide"]
    marks = [box_marks(shape_anchors, [BLUE, GREEN, ORANGE]) for shape_anchors in anchors_by_shape]
    return Result(numbers, sheet_of_objects([white_image(760, 760)] * 3, marks, titles, ()))


def fields(setting: Setting) -> Result:
    """Anchors and receptive fields.

    The prediction for an anchor depends only on the pixels in the cell's receptive field. A value of VGG-16's last map,
    16 times smaller than the image, depends on 196 x 196 pixels, and a value after the 3 x 3 convolution of Faster
    R-CNN's head on 228 x 228 pixels (Ren et al. 2015, section 3.1). The largest anchors have 512 x 512 pixels, so their
    objects are recognized by their middle, such as the trunk of a person. A feature pyramid assigns large anchors to
    coarse maps, which have larger receptive fields.
    """
    fields_of_maps = receptive_field(read_layers(VGG16))
    fields_with_head = receptive_field(read_layers(f"{VGG16}, Conv2d(1, 3, padding=1)"))
    field = fields_with_head[-1].field[0]
    numbers = {
        "the last map of VGG-16": fields_of_maps[-1].field[0],
        "with the head's convolution": field,
        "sides of the square anchors": [128, 256, 512],
        "share of the anchor that is seen": [min(1.0, (field / side) ** 2) for side in (128, 256, 512)],
    }
    unit_box = torch.tensor([-0.5, -0.5, 0.5, 0.5])
    marks = [
        box_marks(280 + unit_box * torch.tensor([[side], [field]]), [BLUE, ORANGE]) for side in (128.0, 256.0, 512.0)
    ]
    titles = [f"anchor of {side}, receptive field {field}" for side in (128, 256, 512)]
    return Result(numbers, sheet_of_objects([white_image(560, 560)] * 3, marks, titles, ()))


def assignment(setting: Setting) -> Result:
    """Which anchor learns which object.

    Training assigns each anchor to an object or to the background, or ignores it. Faster R-CNN uses thresholds: anchors
    with an IoU of at least 0.7 are assigned to the object, anchors with an IoU below 0.3 to the background. The anchors
    with an object's highest IoU are assigned to it even if that IoU is low. Without this last rule, the lower object in
    the figure would have no anchor. ATSS has a threshold for each object: the mean plus the standard deviation of the
    IoU of its nearest anchors.
    """
    base_anchor = torch.tensor([[-12.0, -12.0, 28.0, 28.0]])  # 40 x 40 around a cell of 16
    all_anchors = grid_anchors([base_anchor], [(8, 10)], [16])
    objects = torch.tensor([[20.0, 22.0, 62.0, 60.0], [90.0, 60.0, 112.0, 122.0]])
    iou = box_iou(all_anchors, objects)
    rules = {
        "IoU of 0.7": assign_by_iou(all_anchors, objects),
        "IoU of 0.7, or the best": assign_by_iou(all_anchors, objects, best_per_box=True),
        "ATSS": assign_atss(all_anchors, [len(all_anchors)], objects),
    }
    numbers: dict[str, Any] = {"highest IoU of each object": iou.amax(0).tolist()}
    marks = []
    for name, targets in rules.items():
        matched_objects = targets.matched[targets.positive]
        numbers[name] = {
            "positive anchors of each object": matched_objects.bincount(minlength=2).tolist(),
            "background": int(targets.negative.sum()),
            "ignored": int((~targets.positive & ~targets.negative).sum()),
        }
        colours = [ORANGE] * len(objects) + [BLUE] * len(matched_objects)
        marks.append(box_marks(torch.cat([objects, all_anchors[targets.positive]]), colours))
    return Result(numbers, sheet_of_objects([white_image(128, 160)] * 3, marks, list(rules), ()))


def suppression(setting: Setting) -> Result:
    """Non-maximum suppression.

    Several boxes often detect the same object. In descending order of scores, a box is kept unless its IoU with a kept
    box is above a threshold. With 0.5, the second box is removed because of the first. The third has an IoU of only
    0.33 with the first and is kept; the fourth is removed because of the third. The fifth overlaps the fourth, which is
    already removed, and is kept.
    """
    boxes = torch.tensor([[10.0, 20, 50, 60], [15, 20, 55, 60], [30, 20, 70, 60], [38, 20, 78, 60], [56, 20, 96, 60]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    selected = nms(boxes, scores, 0.5)
    numbers = {
        "IoU with each other": [[round(value, 2) for value in row] for row in box_iou(boxes, boxes).tolist()],
        "kept": (selected + 1).tolist(),
    }
    texts = [f"{score:.1f}" for score in scores.tolist()]
    selected_marks = box_marks(boxes[selected], [GREEN] * len(selected), [texts[k] for k in selected.tolist()])
    return Result(
        numbers,
        sheet_of_objects(
            [white_image(80, 110)] * 2, [box_marks(boxes, [PALE] * 5, texts), selected_marks], ["before", "after"], ()
        ),
    )


def precision(setting: Setting) -> Result:
    """Average precision.

    Five detections, the best score first, are right, wrong, right, right, wrong; there are four objects. After k
    detections, precision is the fraction of these detections that are right, and recall is the fraction of the objects
    that are found. The precision at a recall is the highest precision at that recall or above, since more detections
    may always be used. Average precision is the area under this curve: 0.25 · 1 + 0.25 · 0.75 + 0.25 · 0.75 = 0.625;
    the fourth object is never found. VOC 2007 uses the mean precision at 11 recalls instead, COCO at 101 recalls.
    """
    hits, objects = torch.tensor([True, False, True, True, False]), 4
    n_found = hits.cumsum(0)
    precisions, recalls = n_found / torch.arange(1, 6), n_found / objects
    average, average_at_11 = average_precision(hits, objects)
    recall_levels = torch.arange(101) / 100
    envelope = torch.stack([precisions[recalls >= level - 1e-6].max() if level <= 0.75 else torch.tensor(0.0)
                            for level in recall_levels])  # fmt: skip
    numbers = {
        "precision": precisions.tolist(),
        "recall": recalls.tolist(),
        "average precision": average,
        "at 11 recalls": average_at_11,
        "at 101 recalls": envelope.mean().item(),
    }
    return Result(numbers, precision_recall({"five detections": envelope}, recall_levels))


STEPS = (overlap, anchors, fields, assignment, suppression, precision)
