"""Images with drawn rectangles, and detectors small enough to train on them in seconds."""

import torch

from pellucid.combine import Graph, Sequential, Shared
from pellucid.data import Batch
from pellucid.detectors import SSD, YOLO1, YOLO3, SingleStage
from pellucid.detectors.yolo1 import LOSS_WEIGHTS
from pellucid.layers import Conv2d, GroupNorm, ReLU
from pellucid.models.fpn import fpn
from pellucid.ops.image_objects import Objects


class Rectangles:
    """Red (class 0) and green (class 1) rectangles on grey; every fourth image has none."""

    classes = ("red", "green")
    checksum = "rectangles 1"

    def __init__(self, count=8, size=(48, 64)):
        self.count, self.size = count, size

    def __len__(self):
        return self.count

    def batch(self, indices, rng):
        images, targets = zip(*(self.example(int(k)) for k in indices), strict=True)
        return Batch(torch.stack(images), list(targets))

    def example(self, k):
        rng, (height, width) = torch.Generator().manual_seed(k), self.size
        image = torch.full((3, height, width), 100, dtype=torch.uint8)
        boxes, labels = [], []
        for column in range(3 if k % 4 != 3 else 0):
            x0 = column * width // 3 + int(torch.randint(0, 4, (), generator=rng))
            y0 = int(torch.randint(0, height - 20, (), generator=rng))
            w, h = (int(torch.randint(10, 17, (), generator=rng)) for _ in range(2))
            label = int(torch.randint(0, 2, (), generator=rng))
            image[label, y0 : y0 + h, x0 : x0 + w] = 255
            boxes.append([x0, y0, x0 + w, y0 + h])
            labels.append(label)
        return image, Objects(torch.tensor(boxes).view(-1, 4).float(), torch.tensor(labels, dtype=torch.int64))


def backbone(channels=8, depth=3, first_stage=1):
    """Return a network that outputs the maps of the stages from `first_stage` on; stage k has the stride 2^(k + 1)."""
    nodes, previous = {}, "input"
    for number in range(depth):
        stage = Sequential(
            conv=Conv2d(channels, 3, stride=2, padding=1),
            relu=ReLU(),
            more=Conv2d(channels, 3, padding=1),
            after=ReLU(),
        )
        nodes[f"stage{number}"] = (stage, previous)
        previous = f"stage{number}"
    return Graph(nodes, tuple(f"stage{number}" for number in range(first_stage, depth)))


def _map_heads(counts, outputs_per_anchor):
    """Return heads of one 1 x 1 convolution for each map."""
    maps = tuple(f"map{k}" for k in range(1, len(counts) + 1))
    nodes = {f"out{k}": (Conv2d(count * outputs_per_anchor, 1), f"map{k}") for k, count in enumerate(counts, 1)}
    return Graph(nodes, tuple(nodes), maps)


def small_ssd(channels=8, classes=2):
    return SSD(
        classes, backbone(channels), fpn(channels, 2, groups=2), _map_heads((4, 2), classes + 5), strides=(4, 8),
        sides=(10.0, 16.0, 24.0), ratios=((2.0,), ()), score_threshold=0.02, nms_threshold=0.45,
    )  # fmt: skip


def small_yolo3(channels=8, classes=2):
    shapes = (((8.0, 10.0), (13.0, 9.0)), ((16.0, 16.0),))
    return YOLO3(
        classes, backbone(channels), fpn(channels, 2, groups=2), _map_heads((2, 1), classes + 5), (4, 8), shapes,
        weights={"class": 0.7},
    )  # fmt: skip


def small_yolo1(channels=8, classes=2):
    neck = Graph({"row": (Conv2d(channels, 3, padding=1), "map2")}, ("row",), ("map1", "map2"))
    return YOLO1(classes, backbone(channels), neck, Conv2d(10 + classes, 1), stride=8, weights=LOSS_WEIGHTS)


def small_single_stage(channels=8, classes=2):
    head = Shared(
        Sequential(
            conv=Conv2d(channels, 3, padding=1), norm=GroupNorm(2), relu=ReLU(), out=Conv2d(classes + 4, 3, padding=1)
        )
    )
    return SingleStage(
        classes, backbone(channels), fpn(channels, 2, groups=2), head, strides=(4, 8), scale=3.0, weights={"box": 2.0}
    )
