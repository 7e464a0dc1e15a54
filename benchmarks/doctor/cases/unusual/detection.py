"""Mistakes in detection."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import CELL_SIZE, Boxes
from benchmarks.doctor.cases.unusual.sound import detector, small_detector
from benchmarks.doctor.fit import Case, Pair
from pellucid import Model
from pellucid.ops.image_objects import Objects

MEASURE = "average precision"
MAX_CORNERS = torch.tensor([CELL_SIZE[1], CELL_SIZE[0]] * 2, dtype=torch.float32)


def boxed(objects: Objects, boxes: Tensor) -> Objects:
    """Return objects with other boxes, inside the image."""
    return replace(objects, boxes=torch.minimum(boxes.clamp(min=0), MAX_CORNERS))


def size_as_corner(seed: int) -> Pair:
    """Read (x, y, width, height) as two corners, and sort them."""

    def change(one: Objects) -> Objects:
        corner, size = one.boxes[:, :2], one.boxes[:, 2:] - one.boxes[:, :2]
        return boxed(one, torch.cat([torch.minimum(corner, size), torch.maximum(corner, size)], 1))

    sound, parts = detector(seed)
    return Pair(sound.but(train=parts.train.but(change)), sound, MEASURE)


def centre_as_corner(seed: int) -> Pair:
    """Give the upper left corner where the centre is expected."""

    def change(one: Objects) -> Objects:
        half = (one.boxes[:, 2:] - one.boxes[:, :2]) / 2
        return boxed(one, one.boxes - half.repeat(1, 2))

    sound, parts = detector(seed)
    return Pair(sound.but(train=parts.train.but(change)), sound, MEASURE)


def boxes_of_original_size(seed: int) -> Pair:
    """Enlarge the images by two, and leave the boxes as they were."""
    sound, parts = detector(seed)
    small = parts.train.but(lambda one: replace(one, boxes=one.boxes / 2))
    return Pair(sound.but(train=small), sound, MEASURE)


def anchors_too_large(seed: int) -> Pair:
    """Detect small cells with the anchors of large objects."""
    sound, _ = detector(seed)
    wrong, _ = detector(seed, small_detector(scale=20.0))
    return Pair(wrong, sound, MEASURE)


def untrained_backbone_frozen(seed: int) -> Pair:
    """Freeze a backbone with its pyramid, which were never trained."""
    sound, _ = detector(seed, small_detector(channels=4))

    def begin() -> Model:
        model = sound.begin()
        model.freeze("backbone.*", "neck.*")
        return model

    return Pair(sound.but(begin=begin), sound, MEASURE)


def padding_not_added(seed: int) -> Pair:
    """Pad the images to squares around their centre, and leave the boxes where they were."""
    usual, parts = detector(seed)
    top = (CELL_SIZE[1] - CELL_SIZE[0]) // 2

    def padded(part: Boxes, moved: bool) -> Boxes:
        shift = torch.tensor([0.0, top, 0.0, top]) if moved else torch.zeros(4)
        images = torch.nn.functional.pad(part.images, (0, 0, top, top), value=128)
        return part.but(lambda one: replace(one, boxes=one.boxes + shift), images)

    train, validation, test = (padded(part, True) for part in parts)

    def begin() -> Model:
        model = usual.begin()
        model.build(tuple(train.images.shape[1:]))
        return model

    sound = usual.but(begin=begin, train=train, validation=validation, score=scores.precision(test))
    return Pair(sound.but(train=padded(parts.train, False)), sound, MEASURE)


CASES: Mapping[str, Case] = {
    "det-size-as-corner": size_as_corner,
    "det-centre-as-corner": centre_as_corner,
    "det-boxes-of-original-size": boxes_of_original_size,
    "det-anchors-too-large": anchors_too_large,
    "det-untrained-backbone-frozen": untrained_backbone_frozen,
    "det-padding-not-added": padding_not_added,
}
