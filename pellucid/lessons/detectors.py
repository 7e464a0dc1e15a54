"""Detectors: from sliding windows to R-CNN to YOLO.

To find the objects in an image, one can look at many windows and classify each. Everything since then is about doing
this with less work: fewer windows, features computed once for all windows, windows proposed by the network itself, and
at last no windows at all. Each step here finds the red and green rectangles in the same image.
"""

import torch
from torch import Tensor

from pellucid.combine import Graph, Sequential, Shared
from pellucid.data import Batch
from pellucid.detectors import YOLO1, SingleStage
from pellucid.detectors.rcnn import RCNN
from pellucid.detectors.search import windows
from pellucid.detectors.yolo1 import WEIGHTS
from pellucid.layers import AvgPool2d, Conv2d, GroupNorm, Mode, ReLU, RoIAlign
from pellucid.lessons.lesson import Result, Setting
from pellucid.model import Model
from pellucid.models import mobilenet_v2
from pellucid.models.fpn import fpn
from pellucid.models.surface import features
from pellucid.network.counts import counts
from pellucid.objects import Detections, Objects
from pellucid.ops.boxes import box_iou
from pellucid.ops.nms import nms
from pellucid.optim import AdamW
from pellucid.report.figures.grids import images
from pellucid.report.figures.objects import Marks, sheet_of_objects

SIZE = (48, 64)


class Scenes:
    """Images (3, 48, 64) of two or three red (class 0) and green (class 1) rectangles on noise."""

    classes, checksum = ("red", "green"), "scenes 1"

    def __init__(self, count: int, labelled: bool = True) -> None:
        self.count, self.labelled = count, labelled  # without labels, all are objects of class 0

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


IMAGE, TRUTH = Scenes(1).scene(105)  # the one image that all steps look at; none of them learns from it
COLOURS = ("#ffe45c", "#7df9ff")  # of boxes around red and green objects


def found(boxes: Tensor, labels: Tensor, texts: list[str] | None = None) -> Marks:
    """Return boxes in the colours of their classes."""
    return Marks(boxes, labels, texts=texts or [], colours=[COLOURS[label] for label in labels.tolist()])


def best(detections: Detections) -> list[float]:
    """Return for each object of the image the highest IoU of a detection of its class."""
    iou = box_iou(TRUTH.boxes, detections.boxes) * (TRUTH.labels[:, None] == detections.labels)
    return [round(value, 2) for value in iou.amax(1).tolist()] if len(detections) else [0.0] * len(TRUTH)


def sliding(setting: Setting) -> Result:
    """Sliding windows.

    Each position, size and shape of a window is an image to classify. Even this small image has hundreds, although the
    windows move by 8 pixels; in an image of 600 x 800 pixels there are 28,500 windows of five sizes and three shapes
    that move by 16 pixels. One pass of MobileNetV2 over each of them, resized to 96 x 96, takes as many multiply-adds
    as 543 passes over the whole image. And most windows are background: the best window of each object overlaps it
    well, and nearly all others not at all.
    """
    every = windows(SIZE, 8)
    iou = box_iou(every, TRUTH.boxes)
    net = features(mobilenet_v2())
    window, whole = (counts(Sequential(features=net), (3, *size)).multiply_adds for size in ((96, 96), (600, 800)))
    many = 38 * 50 * 15
    numbers = {
        "windows of this image": len(every),
        "with an IoU of 0.5 with an object": int((iou >= 0.5).any(1).sum()),
        "highest IoU of each object": iou.amax(0).tolist(),
        "windows of an image of 600 x 800": many,
        "multiply-adds of these over those of the image": many * window / whole,
    }
    near = every[iou.argmax(0)]
    marks = [found(every[::16], torch.zeros(len(every[::16]), dtype=torch.int64)), found(near, TRUTH.labels)]
    names = ["every 16th window", "the best window of each object"]
    return Result(numbers, sheet_of_objects([IMAGE.float() / 255] * 2, marks, names, ()))


def rcnn(setting: Setting) -> Result:
    """R-CNN: proposals, features, linear classifiers.

    R-CNN looks only at some regions that may hold an object, 2,000 of a large image. Each is warped to one size, a
    network computes its features, and a linear classifier for each class judges these. A regression then moves the box:
    the features of a window that covers part of an object show on which side the rest of the object lies. Here features
    are the mean colours of 12 x 12 parts, and proposals are windows.
    """
    scenes = [Scenes(5).scene(k) for k in range(5)]
    proposals = windows(SIZE, 8)
    pictures = [image.float() / 255 for image, _ in scenes]
    detector = RCNN(AvgPool2d(4), {}, 2, side=48).fit(pictures, [truth for _, truth in scenes], [proposals] * 5)
    image = IMAGE.float() / 255
    moved, still = (detector.predict(image, proposals, -1.0, move=move) for move in (True, False))
    numbers = {
        "proposals": len(proposals),
        "detections": len(moved),
        "IoU with each object, boxes as proposed": best(still),
        "IoU, boxes moved": best(moved),
    }
    marks = [found(one.boxes[:3], one.labels[:3]) for one in (still, moved)]  # the three best
    return Result(
        numbers, sheet_of_objects([image] * 2, marks, ["the three best, as proposed", "moved by the regression"], ())
    )


def sharing(setting: Setting) -> Result:
    """Fast R-CNN: features of the whole image, once.

    Windows overlap, so that R-CNN computes the same convolutions again and again. Fast R-CNN runs the network once over
    the image, and takes from its map what lies under each window: RoIPool, or RoIAlign, which interpolates instead of
    rounding. What comes out is not exactly what the window alone would give: near its borders the map has seen pixels
    beyond it. Deeper inside than the receptive field reaches, both are equal.
    """
    net = Sequential(conv1=Conv2d(16, 3, padding=1), relu1=ReLU(), conv2=Conv2d(16, 3, padding=1), relu2=ReLU())
    params, _ = net.init((3, *SIZE), torch.Generator().manual_seed(setting.seed))
    image, align, every = IMAGE.float()[None] / 255, RoIAlign(16, sampling=1), windows(SIZE, 8)
    whole = every[((every[:, 2:] - every[:, :2]) == 16).all(1)]  # 16 x 16 pixels, which are not resized
    regions = torch.cat([torch.zeros(len(whole), 1), whole], 1)
    crops, _ = align.forward({}, (image, regions), Mode())
    alone, _ = net.forward(params, crops, Mode())
    shared, _ = align.forward({}, (net.forward(params, image, Mode())[0], regions), Mode())
    off = (alone - shared).abs().amax((0, 1))  # (16, 16)
    one, all_of_it = (counts(net, (3, *size)).multiply_adds for size in ((16, 16), SIZE))
    numbers = {
        "multiply-adds, each window by itself": len(every) * one,
        "multiply-adds, one map for all": all_of_it,
        "largest difference, two pixels inside": off[2:-2, 2:-2].max().item(),
        "largest difference at the borders": off.max().item(),
    }
    return Result(
        numbers,
        images({"difference by place in the window": off.clamp_max(1)}, maps=["difference by place in the window"]),
    )


def train(detector: SingleStage | YOLO1, scenes: Scenes, setting: Setting) -> Model:
    """Return a detector that has learned from scenes; the small form takes fewer epochs."""
    model = Model(detector, optimizer=AdamW(6e-3), seed=setting.seed, metrics=())
    model.fit(scenes, epochs=4 if setting.small else 12, batch_size=8, verbose=False)
    return model


def backbone() -> Graph:
    """Return maps of 16 channels at the strides 4 and 8."""
    nodes, before = {}, "input"
    for name in ("half", "fine", "coarse"):
        row = {"down": Conv2d(16, 3, stride=2, padding=1), "relu1": ReLU()}
        nodes[name] = (Sequential(**row, conv=Conv2d(16, 3, padding=1), relu2=ReLU()), before)
        before = name
    return Graph(nodes, ("fine", "coarse"))


def proposing(setting: Setting) -> Result:
    """Faster R-CNN: the network proposes.

    A second head on the same map outputs, for each cell, the probability that an object lies around it, and the offsets
    of its box from the anchor there. Its best boxes replace the search: a few instead of hundreds. With a score for
    each class in place of the one for all objects, such a head is a whole detector, a single-stage one. The figure
    shows the anchors with the highest scores, and the boxes that they propose.
    """
    out = Conv2d(5, 3, padding=1)
    head = Shared(Sequential(conv=Conv2d(16, 3, padding=1), norm=GroupNorm(4), relu=ReLU(), out=out))
    detector = SingleStage(1, backbone(), fpn(16, 2, groups=4), head, (4, 8), 3.0, weights={"box": 2.0})
    model = train(detector, Scenes(96, labelled=False), setting)
    inputs = model.scaled(IMAGE[None])
    (candidates,) = detector.candidates(model.params, inputs)
    every = detector.anchors_of(model.params, inputs).boxes
    order = nms(candidates.boxes, candidates.scores[:, 0], 0.7)[: len(TRUTH)]
    numbers = {
        "anchors": len(every),
        "scores of the proposals": candidates.scores[order, 0].tolist(),
        "IoU of each object with its best proposal": box_iou(TRUTH.boxes, candidates.boxes[order]).amax(1).tolist(),
    }
    texts = [f"{score:.2f}" for score in candidates.scores[order, 0].tolist()]
    none = torch.zeros(len(order), dtype=torch.int64)
    marks = [found(every[candidates.anchors[order]], none), found(candidates.boxes[order], none, texts)]
    names = ["anchors of the best scores", "what they propose"]
    return Result(numbers, sheet_of_objects([IMAGE.float() / 255] * 2, marks, names, ()))


def grid(setting: Setting) -> Result:
    """YOLO: no proposals and no anchors.

    YOLO cuts the image into cells. The cell that holds the centre of an object outputs its box and its class, all other
    cells output a confidence near 0: detection is one pass of a network, learned by squared errors. Two objects whose
    centres lie in one cell cannot both be found, and this is why later versions took up anchors and several maps. The
    figure shows the cells that learn the objects, and what the network finds.
    """
    neck = Graph({"row": (Conv2d(16, 3, padding=1), "map2")}, ("row",), ("map1", "map2"))
    detector = YOLO1(2, backbone(), neck, Conv2d(12, 1), stride=8, weights=WEIGHTS)
    model = train(detector, Scenes(96), setting)
    inputs = model.scaled(IMAGE[None])
    anchors = detector.anchors_of(model.params, inputs)
    cells = detector.assign(anchors, TRUTH)
    own = cells.positive.nonzero()[:, 0]
    (detections,) = detector.predict(model.params, inputs)
    shown = detections.take(detections.scores >= 0.3)
    numbers = {
        "cells": len(anchors.boxes),
        "cell of each object": own[cells.matched[own].argsort()].tolist(),
        "IoU of each object with its best detection": best(detections),
        "scores of the detections": shown.scores.tolist(),
    }
    texts = [f"{score:.2f}" for score in shown.scores.tolist()]
    marks = [found(anchors.boxes[own], TRUTH.labels[cells.matched[own]]), found(shown.boxes, shown.labels, texts)]
    names = ["cells that learn the objects", "detections with a score of 0.3 or more"]
    return Result(numbers, sheet_of_objects([IMAGE.float() / 255] * 2, marks, names, ()))


STEPS = (sliding, rcnn, sharing, proposing, grid)
