"""Detectors: from sliding windows to R-CNN to YOLO.

To find the objects in an image, one can classify many windows of it. Later detectors need less computation: they use
fewer windows, compute the features once for all windows, let the network propose the windows, and finally use no
windows. Each step of this lesson finds the red and green rectangles in the same image.
"""

from functools import cache

import torch
from torch import Tensor

from pellucid.combine import Graph, Sequential, Shared
from pellucid.data import Batch
from pellucid.detectors import YOLO1, SingleStage
from pellucid.detectors.rcnn import RCNN
from pellucid.detectors.search import windows
from pellucid.detectors.yolo1 import LOSS_WEIGHTS
from pellucid.layers import AvgPool2d, Conv2d, GroupNorm, Mode, ReLU, RoIAlign
from pellucid.lessons.guide import Exercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.model import Model
from pellucid.models import mobilenet_v2
from pellucid.models.fpn import fpn
from pellucid.models.structure import features
from pellucid.network.counts import counts
from pellucid.ops.assign import highest_iou
from pellucid.ops.boxes import box_iou
from pellucid.ops.image_objects import Detections, Objects
from pellucid.ops.nms import nms
from pellucid.optim import AdamW
from pellucid.report.figures.grids import image_panels
from pellucid.report.figures.objects import Marks, sheet_of_objects

SIZE = (48, 64)


class Scenes:
    """Images (3, 48, 64) of two or three red (class 0) and green (class 1) rectangles on noise."""

    classes, checksum = ("red", "green"), "scenes 1"

    def __init__(self, count: int, labelled: bool = True) -> None:
        self.count, self.labelled = count, labelled  # if not labelled, all objects have class 0

    def __len__(self) -> int:
        """Return the number of images."""
        return self.count

    def scene(self, k: int) -> tuple[Tensor, Objects]:
        """Return image k and its objects."""
        rng = torch.Generator().manual_seed(k)
        image = torch.randint(70, 130, (3, *SIZE), generator=rng, dtype=torch.uint8)
        boxes, labels = [], []
        for column in range(2 + k % 2):
            width, height = (int(torch.randint(12, 18, (), generator=rng)) for _ in range(2))
            left = 21 * column + int(torch.randint(0, 4, (), generator=rng))
            top = int(torch.randint(0, SIZE[0] - height, (), generator=rng))
            label = int(torch.randint(0, 2, (), generator=rng))
            image[label, top : top + height, left : left + width] = 255
            boxes.append([left, top, left + width, top + height])
            labels.append(label if self.labelled else 0)
        return image, Objects(torch.tensor(boxes).float(), torch.tensor(labels))

    def batch(self, indices: list[int], rng: torch.Generator) -> Batch:
        """Return the images and objects at `indices`."""
        images, objects = zip(*(self.scene(int(k)) for k in indices), strict=True)
        return Batch(torch.stack(images), list(objects))


IMAGE, TRUE_OBJECTS = Scenes(1).scene(105)  # the image that all steps show, which is not used for training
COLOURS = ("#ffe45c", "#7df9ff")  # colours of the boxes around red and green objects


def box_marks(boxes: Tensor, labels: Tensor, texts: list[str] | None = None) -> Marks:
    """Return boxes (n, 4) for a figure, in the colours of their classes; texts: a label for each."""
    return Marks(boxes, labels, texts=texts or [], colours=[COLOURS[label] for label in labels.tolist()])


def best_ious(detections: Detections) -> list[float]:
    """Return for each object of IMAGE the highest IoU with a detection of its class."""
    iou = box_iou(TRUE_OBJECTS.boxes, detections.boxes) * (TRUE_OBJECTS.labels[:, None] == detections.labels)
    return [round(value, 2) for value in highest_iou(iou)[0].tolist()]


def sliding(settings: LessonSettings) -> Result:
    """Sliding windows.

    Each position, size and shape of a window is an image to classify. Even this small image has hundreds of windows
    that move by 8 pixels. An image of 600 x 800 pixels has 28,500 windows of five sizes and three shapes that move by
    16 pixels. One pass of MobileNetV2 over each of them, resized to 96 x 96, needs as many multiply-adds as 543 passes
    over the whole image. Most windows are background: the best window of each object overlaps it well, and nearly all
    others do not overlap it.
    """
    all_windows = windows(SIZE, 8)
    iou = box_iou(all_windows, TRUE_OBJECTS.boxes)
    net = features(mobilenet_v2())
    window_cost, image_cost = (
        counts(Sequential(features=net), (3, *size)).multiply_adds for size in ((96, 96), (600, 800))
    )
    n_windows = 38 * 50 * 15
    numbers = {
        "windows of this image": len(all_windows),
        "with an IoU of 0.5 with an object": int((iou >= 0.5).any(1).sum()),
        "highest IoU of each object": iou.amax(0).tolist(),
        "windows of an image of 600 x 800": n_windows,
        "multiply-adds of these over those of the image": n_windows * window_cost / image_cost,
    }
    best_windows = all_windows[iou.argmax(0)]
    drawn_windows = all_windows[::16]
    marks = [
        box_marks(drawn_windows, torch.zeros(len(drawn_windows), dtype=torch.int64)),
        box_marks(best_windows, TRUE_OBJECTS.labels),
    ]
    titles = ["every 16th window", "the best window of each object"]
    return Result(numbers, sheet_of_objects([IMAGE.float() / 255] * 2, marks, titles, ()))


def rcnn(settings: LessonSettings) -> Result:
    """R-CNN: proposals, features, linear classifiers.

    R-CNN classifies only regions that may contain an object, 2,000 in a large image. Each region is warped to one size,
    a network computes its features, and a linear classifier for each class scores them. A regression then moves the
    box: the features of a window that covers part of an object show on which side the rest of the object lies. In this
    step, the features are the mean colours of 12 x 12 parts, and the proposals are windows.
    """
    scenes = [Scenes(5).scene(k) for k in range(5)]
    proposals = windows(SIZE, 8)
    scene_images = [image.float() / 255 for image, _ in scenes]
    detector = RCNN(AvgPool2d(4), {}, 2, side=48).fit(scene_images, [objects for _, objects in scenes], [proposals] * 5)
    image = IMAGE.float() / 255
    detections, proposed_detections = (
        detector.predict(image, proposals, -1.0, move=is_moved) for is_moved in (True, False)
    )
    numbers = {
        "proposals": len(proposals),
        "detections": len(detections),
        "IoU with each object, boxes as proposed": best_ious(proposed_detections),
        "IoU, boxes moved": best_ious(detections),
    }
    results = (proposed_detections, detections)
    marks = [box_marks(result.boxes[:3], result.labels[:3]) for result in results]  # the three best
    return Result(
        numbers, sheet_of_objects([image] * 2, marks, ["the three best, as proposed", "moved by the regression"], ())
    )


def sharing(settings: LessonSettings) -> Result:
    """Fast R-CNN: features of the whole image, once.

    Windows overlap, so R-CNN repeats many convolutions. Fast R-CNN runs the network once over the image, and extracts
    the part of its map under each window, the region of interest (RoI), with RoIPool, or with RoIAlign, which
    interpolates instead of rounding. The features of the whole image differ from the features of the cropped window
    near its borders, where they depend on pixels outside of the window. Farther inside, beyond the reach of the
    receptive field, both are equal.
    """
    net = Sequential(conv1=Conv2d(16, 3, padding=1), relu1=ReLU(), conv2=Conv2d(16, 3, padding=1), relu2=ReLU())
    params, _ = net.init((3, *SIZE), torch.Generator().manual_seed(settings.seed))
    image, align, all_windows = IMAGE.float()[None] / 255, RoIAlign(16, sampling=1), windows(SIZE, 8)
    squares = all_windows[((all_windows[:, 2:] - all_windows[:, :2]) == 16).all(1)]  # 16 x 16 pixels: not resized
    regions = torch.cat([torch.zeros(len(squares), 1), squares], 1)
    crops, _ = align.forward({}, (image, regions), Mode())
    crop_features, _ = net.forward(params, crops, Mode())
    shared_features, _ = align.forward({}, (net.forward(params, image, Mode())[0], regions), Mode())
    differences = (crop_features - shared_features).abs().amax((0, 1))  # (16, 16)
    window_cost, image_cost = (counts(net, (3, *size)).multiply_adds for size in ((16, 16), SIZE))
    numbers = {
        "multiply-adds, each window by itself": len(all_windows) * window_cost,
        "multiply-adds, one map for all": image_cost,
        "largest difference, two pixels inside": differences[2:-2, 2:-2].max().item(),
        "largest difference at the borders": differences.max().item(),
    }
    return Result(
        numbers,
        image_panels(
            {"difference by place in the window": differences.clamp_max(1)}, maps=["difference by place in the window"]
        ),
    )


def train(detector: SingleStage | YOLO1, scenes: Scenes, settings: LessonSettings) -> Model:
    """Return a detector trained on scenes; the small form trains for fewer epochs."""
    model = Model(detector, optimizer=AdamW(6e-3), seed=settings.seed, metrics=())
    model.fit(scenes, epochs=4 if settings.small else 12, batch_size=8, verbose=False)
    return model


def backbone() -> Graph:
    """Return a network that outputs maps of 16 channels with strides 4 and 8."""
    nodes, previous_name = {}, "input"
    for name in ("half", "fine", "coarse"):
        first_layers = {"down": Conv2d(16, 3, stride=2, padding=1), "relu1": ReLU()}
        nodes[name] = (Sequential(**first_layers, conv=Conv2d(16, 3, padding=1), relu2=ReLU()), previous_name)
        previous_name = name
    return Graph(nodes, ("fine", "coarse"))


@cache
def trained_proposer(settings: LessonSettings) -> tuple[SingleStage, Model]:
    """Return a detector that finds objects of any class, trained on scenes, and its model."""
    out = Conv2d(5, 3, padding=1)
    head = Shared(Sequential(conv=Conv2d(16, 3, padding=1), norm=GroupNorm(4), relu=ReLU(), out=out))
    detector = SingleStage(1, backbone(), fpn(16, 2, groups=4), head, (4, 8), 3.0, weights={"box": 2.0})
    return detector, train(detector, Scenes(96, labelled=False), settings)


@cache
def trained_grid(settings: LessonSettings) -> tuple[YOLO1, Model]:
    """Return a YOLO detector of both classes, trained on scenes, and its model."""
    neck = Graph({"row": (Conv2d(16, 3, padding=1), "map2")}, ("row",), ("map1", "map2"))
    detector = YOLO1(2, backbone(), neck, Conv2d(12, 1), stride=8, weights=LOSS_WEIGHTS)
    return detector, train(detector, Scenes(96), settings)


def proposing(settings: LessonSettings, count: int = len(TRUE_OBJECTS)) -> Result:
    """Faster R-CNN: the network proposes.

    A second head on the same map outputs, for each cell, the probability that an object lies around it, and the offsets
    of the object's box from the cell's anchor. A few of these boxes, with the highest scores, replace hundreds of
    windows. With a score for each class instead of one for all objects, such a head is a complete single-stage
    detector. The figure shows the anchors with the highest scores, and the boxes that the network proposes from them.
    """
    detector, model = trained_proposer(settings)
    inputs = model.scaled(IMAGE[None])
    (candidates,) = detector.candidates(model.params, inputs)
    all_anchors = detector.anchors_of(model.params, inputs).boxes
    indices = nms(candidates.boxes, candidates.scores[:, 0], 0.7)[:count]
    numbers = {
        "anchors": len(all_anchors),
        "scores of the proposals": candidates.scores[indices, 0].tolist(),
        "IoU of each object with its best proposal": box_iou(TRUE_OBJECTS.boxes, candidates.boxes[indices])
        .amax(1)
        .tolist(),
    }
    texts = [f"{score:.2f}" for score in candidates.scores[indices, 0].tolist()]
    labels = torch.zeros(len(indices), dtype=torch.int64)
    marks = [
        box_marks(all_anchors[candidates.anchors[indices]], labels),
        box_marks(candidates.boxes[indices], labels, texts),
    ]
    titles = ["anchors of the best scores", "proposed boxes"]
    return Result(numbers, sheet_of_objects([IMAGE.float() / 255] * 2, marks, titles, ()))


def grid(settings: LessonSettings, threshold: float = 0.3) -> Result:
    """YOLO: no proposals and no anchors.

    YOLO divides the image into cells. The cell that contains the centre of an object outputs its box and its class. All
    other cells output a confidence near 0. Detection is one pass of a network that is trained with squared errors. Two
    objects with centres in the same cell cannot both be found, so later versions use anchors and several maps. The
    figure shows the cells that contain the centres of objects, and the detections.
    """
    detector, model = trained_grid(settings)
    inputs = model.scaled(IMAGE[None])
    anchors = detector.anchors_of(model.params, inputs)
    cells = detector.assign(anchors, TRUE_OBJECTS)
    centre_cells = cells.positive.nonzero()[:, 0]
    (detections,) = detector.predict(model.params, inputs)
    confident = detections.take(detections.scores >= threshold)
    numbers = {
        "cells": len(anchors.boxes),
        "cell of each object": centre_cells[cells.matched[centre_cells].argsort()].tolist(),
        "IoU of each object with its best detection": best_ious(detections),
        "scores of the detections": confident.scores.tolist(),
    }
    texts = [f"{score:.2f}" for score in confident.scores.tolist()]
    labels = TRUE_OBJECTS.labels[cells.matched[centre_cells]]
    marks = [box_marks(anchors.boxes[centre_cells], labels), box_marks(confident.boxes, confident.labels, texts)]
    titles = ["cells that learn the objects", f"detections with a score of {threshold:g} or more"]
    return Result(numbers, sheet_of_objects([IMAGE.float() / 255] * 2, marks, titles, ()))


STEPS = (sliding, rcnn, sharing, proposing, grid)
GUIDE = Guide(
    question="How does a network find where the objects are, and not only what is in the image?",
    minutes=25,
    needs=("convolution", "boxes"),
    guesses={
        "sliding": Guess(
            "An image of 48 x 64 pixels is cut into windows of many sizes and shapes. How many of its 720 windows fit "
            "an object so well that the IoU is at least 0.5?",
            ("about half of them", "about 100", "fewer than 20"),
            2,
            "16 windows do. All others are background or parts, and the classifier must reject each of them.",
        ),
        "sharing": Guess(
            "720 windows are cut out and each goes through the network, or the whole image goes through it once. What "
            "is the ratio of the work?",
            ("about 60", "about 720", "about 2"),
            0,
            "The windows, resized to 16 x 16 pixels each, have 60 times as many pixels as the image, since they "
            "overlap.",
        ),
        "grid": Guess(
            "In YOLO one cell outputs the box of an object. Which one?",
            (
                "every cell that the object covers",
                "the cell that contains its centre",
                "the cell of its upper left corner",
            ),
            1,
            "Exactly one cell is responsible. All other cells, also those inside the object, output a confidence near "
            "0.",
        ),
    },
    sliders={
        "proposing": (
            Slider(
                "count",
                "number of proposals",
                (1, 2, 3, 6, 12, 24),
                {
                    1: "One proposal finds one object.",
                    3: "As many proposals as objects.",
                    24: "Still 30 times fewer boxes than the 720 windows.",
                },
            ),
        ),
        "grid": (
            Slider(
                "threshold",
                "lowest score that is shown",
                (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
                {0.05: "Unsure detections appear too.", 0.7: "Only what the network is very sure of, if anything."},
            ),
        ),
    },
    notices={
        "sliding": (
            "On the left only every 16th window is drawn, and the image is hardly visible any longer. On the right "
            "are the three best of all 720, and even these miss parts of the objects.",
        ),
        "rcnn": (
            "Compare the boxes on the left and on the right: the regression moves each a little. Mean colours are "
            "poor features, so it cannot know much. Later steps learn the features too, and their boxes fit better.",
        ),
        "sharing": (
            "White means that both ways give the same feature. The difference is in a border of two pixels, one for "
            "each convolution of 3 x 3: there the cropped window has zeros where the image goes on.",
        ),
        "proposing": (
            "The anchors on the left are the fixed boxes, all of one shape, and the network has chosen the ones near "
            "objects. On the right it has moved them, and they fit the objects much better.",
            "Take more proposals: they crowd around the objects or lie in the noise. Read the scores, which fall at "
            "once.",
        ),
        "grid": (
            "On the left each object has one small cell. The box on the right is much larger than its cell: the cell "
            "predicts it from its receptive field. Yellow is the class red, light blue the class green.",
            "Move the threshold: a high one loses objects, a low one adds wrong boxes. Average precision, in the "
            "lesson on boxes, judges all thresholds at once.",
        ),
    },
    notice_plots={"grid": ((), (1,))},
    exercises=(
        Exercise(
            "An image of 600 x 800 pixels has a cell for each 16 x 16 pixels, cells at the border count too, and 15 "
            "windows for each cell. How many windows are these?",
            28500,
            0.5,
            "600/16 = 37.5, so 38 rows; 800/16 = 50 columns; 38 · 50 · 15 = 28,500.",
            {28125: "A half row of cells is a row too: 38, not 37.5.", 1900: "Each cell has 15 windows."},
        ),
        Exercise(
            "An image is 64 pixels wide and 48 high, with cells of 8 x 8 pixels, counted row by row from 0. Which "
            "cell is responsible for an object with its centre at x = 45, y = 20?",
            21,
            0.1,
            "Column 45/8 = 5 and row 20/8 = 2, both rounded down; a row has 8 cells: 2 · 8 + 5 = 21.",
            {
                42: "Rows come first: the row is multiplied by 8.",
                17: "A row has 64/8 = 8 cells. 6 is the number of rows.",
            },
        ),
        Exercise(
            "R-CNN needs 1 billion multiply-adds for each of 2,000 regions. Fast R-CNN needs 10 billion for the "
            "image, and 10 million for each region. How many times faster is it?",
            66.7,
            0.1,
            "2,000 billion over 10 + 2,000 · 0.01 = 30 billion is 66.7.",
            {200: "The 2,000 regions cost 20 billion as well.", 100: "The image is computed once too: 10 billion."},
        ),
    ),
    later=(
        "The detectors of this library are trained in the same way on photos: Faster R-CNN, RetinaNet, FCOS and YOLO."
    ),
)
