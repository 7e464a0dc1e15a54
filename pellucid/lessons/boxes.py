"""Boxes: anchors, overlap and average precision.

A detector is a network that finds objects in an image: it outputs boxes, each with a class and a score, which says how
sure it is. Three questions arise for every detector: how much do two boxes overlap, which anchor (a box of fixed size)
is trained on which object, and how good are the results? The answers are arithmetic that can be done by hand.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Handles, Slider
from pellucid.lessons.lesson import LessonSettings, NumberRows, Result
from pellucid.metrics.detection import average_precision
from pellucid.network.counts import read_layers, receptive_field
from pellucid.ops.anchors import base_anchors, grid_anchors
from pellucid.ops.assign import assign_atss, assign_by_iou
from pellucid.ops.boxes import area, box_iou, intersection, paired_giou
from pellucid.ops.nms import nms
from pellucid.report.figures.objects import Marks, precision_recall, sheet_of_objects
from pellucid.report.figures.style import BLUE, GREEN, ORANGE, PALE

VGG16 = ", ".join(
    f"Conv2d(1, 3, padding=1){', MaxPool2d(2)' if is_last and block < 4 else ''}"
    for block, depth in enumerate((2, 2, 3, 3, 3))
    for is_last in [False] * (depth - 1) + [True]
)  # its 13 convolutions, as in Faster R-CNN; one filter each is enough to compute the receptive field

PAIR = ((5.0, 5.0, 25.0, 25.0), (40.0, 40.0, 65.0, 65.0))
ROW = ((10.0, 20.0, 50.0, 60.0), (15.0, 20.0, 55.0, 60.0), (30.0, 20.0, 70.0, 60.0), (38.0, 20.0, 78.0, 60.0),
       (56.0, 20.0, 96.0, 60.0))  # fmt: skip


def white_image(height: int, width: int) -> Tensor:
    """Return a white image (3, height, width)."""
    return torch.ones(3, height, width)


def box_marks(boxes: Tensor, colours: list[str], texts: list[str] | None = None) -> Marks:
    """Return boxes (n, 4) for a figure, each with a colour and optionally a text."""
    return Marks(boxes, torch.zeros(len(boxes)), texts=texts or [], colours=colours)


def overlap(settings: LessonSettings, right: int = 10, down: int = 10, yours: NumberRows = PAIR) -> Result:
    """Intersection over union.

    The intersection over union (IoU) of two boxes is the area of their intersection divided by the area of their union:
    1 for equal boxes, 0 for boxes that do not overlap. If a box of 40 x 40 is moved by 10 pixels to the right and down,
    the intersection with the old box is 30 · 30 = 900 and the union 2 · 1600 - 900 = 2300: an IoU of 0.39, below the
    usual threshold of 0.5. For a box of 20 x 20 moved by the same 10 pixels, it is 100 / 700 = 0.14: small objects are
    harder to localize. GIoU also measures the distance between boxes that do not overlap: it subtracts the fraction of
    the smallest enclosing box that neither box covers.
    """
    moved_text = f"moved by {right}" if right == down else f"moved by {right} and {down}"
    pairs = {
        f"40 x 40, {moved_text}": [[10, 10, 50, 50], [10 + right, 10 + down, 50 + right, 50 + down]],
        "20 x 20, moved by 10": [[20, 20, 40, 40], [30, 30, 50, 50]],
        "inside": [[10, 10, 60, 60], [20, 20, 50, 50]],
        "your pair": [*yours],
    }
    numbers, marks = {}, []
    for name, pair in pairs.items():
        first_box, second_box = torch.tensor(pair, dtype=torch.float32)[:, None]  # (1, 4) each
        common_area = intersection(first_box, second_box).item()
        numbers[name] = {
            "intersection": common_area,
            "union": (area(first_box) + area(second_box)).item() - common_area,
            "IoU": box_iou(first_box, second_box).item(),
            "GIoU": paired_giou(first_box, second_box).item(),
        }
        marks.append(box_marks(torch.cat([first_box, second_box]), [BLUE, ORANGE]))
    titles = [f"{name}: IoU {values['IoU']:.2f}" for name, values in numbers.items()]
    return Result(numbers, sheet_of_objects([white_image(70, 70)] * 4, marks, titles, ()))


def anchors(settings: LessonSettings) -> Result:
    """Nine anchors.

    The last layers of a detector, its head, output the same number of values in each cell of a map. Objects differ in
    size, so each cell has boxes of fixed sizes, the anchors, and the head outputs offsets from these. Faster R-CNN uses
    three areas, 128², 256² and 512² pixels, and three shapes, in each cell of 16 x 16 pixels. The reference code prints
    the first and the last pixel of each anchor, counted from 1 and both included; in this library, a box ends where its
    last pixel ends. A map of 38 x 50 cells, for an image of 600 x 800 pixels, has 17,100 anchors.
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


def fields(settings: LessonSettings) -> Result:
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


def assignment(settings: LessonSettings) -> Result:
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


def suppression(settings: LessonSettings, threshold: float = 0.5, row: NumberRows = ROW) -> Result:
    """Non-maximum suppression.

    Several boxes often detect the same object. In descending order of scores, a box is kept unless its IoU with a kept
    box is above a threshold. With 0.5, the second box is removed because of the first. The third has an IoU of only
    0.33 with the first and is kept; the fourth is removed because of the third. The fifth overlaps the fourth, which is
    already removed, and is kept.
    """
    boxes = torch.tensor(row, dtype=torch.float32)
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    selected_indices = nms(boxes, scores, threshold)
    numbers = {
        "IoU with each other": [[round(value, 2) for value in values] for values in box_iou(boxes, boxes).tolist()],
        "kept": (selected_indices + 1).tolist(),
    }
    texts = [f"{score:.1f}" for score in scores.tolist()]
    selected_marks = box_marks(
        boxes[selected_indices], [GREEN] * len(selected_indices), [texts[k] for k in selected_indices.tolist()]
    )
    return Result(
        numbers,
        sheet_of_objects(
            [white_image(80, 110)] * 2, [box_marks(boxes, [PALE] * 5, texts), selected_marks], ["before", "after"], ()
        ),
    )


def precision(settings: LessonSettings) -> Result:
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
    area_precision, average_at_11 = average_precision(hits, objects)
    recall_levels = torch.arange(101) / 100
    envelope = torch.stack([precisions[recalls >= level - 1e-6].max() if level <= 0.75 else torch.tensor(0.0)
                            for level in recall_levels])  # fmt: skip
    numbers = {
        "precision": precisions.tolist(),
        "recall": recalls.tolist(),
        "average precision": area_precision,
        "at 11 recalls": average_at_11,
        "at 101 recalls": envelope.mean().item(),
    }
    return Result(numbers, precision_recall({"five detections": envelope}, recall_levels))


STEPS = (overlap, anchors, fields, assignment, suppression, precision)
GUIDE = Guide(
    question=(
        "A detector draws many boxes. When do two of them mean the same object, and how good are they all together?"
    ),
    minutes=25,
    needs=("convolution",),
    guesses={
        "overlap": Guess(
            "A box of 40 x 40 is moved by a quarter of its side, to the right and down. How much of both boxes "
            "together do they share?",
            ("about three quarters", "about half", "about 0.4"),
            2,
            "Three quarters remain in each direction, so the common part is 9/16 of a box. Both boxes together cover "
            "23/16, and 9/23 is 0.39: the IoU falls faster than one thinks.",
        ),
        "suppression": Guess(
            "Five boxes in a row overlap their neighbours. Boxes whose IoU with a kept box is above 0.5 are removed. "
            "Can the fourth box, which is removed, remove the fifth?",
            ("no, only kept boxes remove others", "yes, each box removes its worse neighbours"),
            0,
            "Boxes are visited from the best score down and compared with the kept boxes only.",
        ),
        "precision": Guess(
            "The scores of all detections are multiplied by 0.1. What happens to the average precision?",
            ("it falls", "nothing", "it becomes a tenth"),
            1,
            "Only the order of the scores matters. A detector that is sure and one that is unsure get the same value.",
        ),
    },
    sliders={
        "overlap": (
            Slider(
                "right",
                "first pair: pixels to the right",
                (0, 5, 10, 15, 20),
                {0: "Moved down only, the box keeps more of its overlap."},
            ),
            Slider("down", "first pair: pixels down", (0, 5, 10, 15, 20)),
        ),
        "suppression": (
            Slider(
                "threshold",
                "highest IoU with a kept box",
                (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
                {
                    0.1: "Only boxes that hardly touch remain: of two objects side by side, one would be lost.",
                    0.8: "All five remain: one object would be reported several times.",
                },
            ),
        ),
    },
    notices={
        "overlap": (
            "The first two pairs are moved by the same 10 pixels, and yet the small boxes share far less: 0.14 "
            "instead of 0.39. Move the first pair apart by the sliders, and watch the IoU in its title: 0.5 already "
            "looks like a good fit.",
            "In the last picture the boxes are apart. IoU is 0 for all such boxes, near or far. GIoU, in the numbers, "
            "is then negative, and lower for a larger distance. If you can drag them, try to reach an IoU of 0.9.",
        ),
        "anchors": (
            "Boxes of one colour have nearly the same area in all three pictures. Only the shape changes, so the wide "
            "and the tall ones are about 1.4 times as long as the side of the square, and 0.7 times as wide or tall "
            "in the other direction.",
        ),
        "fields": (
            "Blue is the anchor, orange is what the network sees. At 128 it sees more than the object; at 512 it sees "
            "a fifth of the anchor's area and has to guess where the object ends.",
        ),
        "assignment": (
            "Orange boxes are objects, blue ones the anchors that learn them. In the first picture the tall object "
            "has no anchor: no square anchor overlaps it enough. The second rule gives it one, and ATSS gives it two.",
        ),
        "suppression": (
            "Move the threshold from 0.8 down and watch which box goes first: the second, whose IoU with the first is "
            "0.78. At 0.3 the third box goes too, and then the fourth, which it had removed, comes back.",
        ),
        "precision": (
            "The curve begins at precision 1, since the best detection is right. It ends at a recall of 0.75, since "
            "the fourth object is never found. The area below the curve is the average precision.",
        ),
    },
    notice_plots={"overlap": ((0, 1), (3,)), "fields": ((0, 2),), "suppression": ((1,),)},
    exercises=(
        Exercise(
            "Two boxes of 10 x 10 pixels; the second is moved by 5 pixels to the right. What is their IoU?",
            1 / 3,
            0.005,
            "The intersection is 5 · 10 = 50, the union 100 + 100 - 50 = 150, and 50/150 = 0.333.",
            {
                0.5: "Divide by the area of both boxes together, not by that of one box.",
                0.25: "Count the common part of the union only once: 200 - 50.",
            },
        ),
        Exercise(
            "Boxes A, B and C have scores of 0.9, 0.8 and 0.7. The IoU of A and B is 0.6, of B and C 0.6, of A and C "
            "0.3. How many remain with a threshold of 0.5?",
            2,
            0.1,
            "A is kept and removes B. C is compared only with A, and 0.3 is below the threshold: A and C remain.",
            {1: "B is removed, so it cannot remove C.", 3: "B overlaps the better box A by 0.6, which is above 0.5."},
        ),
        Exercise(
            "Three detections, the best first, are right, wrong and right; there are two objects. What is the average "
            "precision, as the area under the curve?",
            5 / 6,
            0.005,
            "Up to a recall of 0.5 the precision is 1, from there to 1 it is 2/3: 0.5 · 1 + 0.5 · 2/3 = 0.833.",
            {
                0.667: "That is the precision of all three together.",
                0.722: "That is the mean over three detections. A wrong detection finds no object and adds no area.",
            },
        ),
    ),
    handles={
        "overlap": Handles("yours", "the boxes of the last pair", "boxes", PAIR, 0, 70, 1, plot=3),
        "suppression": Handles("row", "the boxes on the left", "boxes", ROW, 0, 110, 1),
    },
    functions={
        "iou": FunctionExercise(
            "iou(a, b): the intersection over union of two boxes, each an array (4,) of left, top, right and bottom.",
            lambda a, b: (
                (common_area := np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)))
                / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common_area)
            ),
            lambda random: tuple(random.uniform(1, 4, (2, 2, 2)).cumsum(1).reshape(2, 4)),
            """def iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    common = width * height
    area_a = (a[2] - a[0]) * (a[3] - a[1])
    area_b = (b[2] - b[0]) * (b[3] - b[1])
    return common / (area_a + area_b - common)""",
        )
    },
    later=(
        "The lesson on detectors uses all of this: anchors, assignment by IoU, suppression, and IoU to judge the boxes."
    ),
)
