"""Mistakes of the third list in data: how they are collected, annotated, read and scaled."""

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import (
    CELL_SIZE,
    SWAPS,
    Boxes,
    Parts,
    arrays,
    digits,
    numbers,
    relabelled,
    repictured,
    take,
)
from benchmarks.doctor.cases.unusual.second_data import (
    ACCURACY,
    EXPLAINED,
    IOU,
    NEARNESS,
    PRECISION,
    drawn,
    masked,
)
from benchmarks.doctor.cases.unusual.sound import (
    IGNORE,
    classifier,
    colorizer,
    detector,
    pointer,
    regressor,
    segmenter,
    small_unet,
    translator,
)
from benchmarks.doctor.cases.unusual.unopened_keypoints import STRIDE, map_net
from benchmarks.doctor.cases.unusual.unopened_segmentation import two_kinds
from benchmarks.doctor.fit import Case, Pair
from pellucid import AdamW, Model
from pellucid.data import Augment, Dataset
from pellucid.data.source import Arrays
from pellucid.losses import HeatMaps, SoftmaxCrossEntropy
from pellucid.ops.image_objects import Objects

COLOURS, IMAGES = "explained variance of the colours", "explained variance of the images"


def labels_of_search(seed: int) -> Pair:
    """Take the words searched for as the labels of whatever was found."""
    sound, parts = classifier(seed)
    y, rng = parts.train.y, drawn(seed)
    is_wrong = torch.rand(len(y), generator=rng) < 0.5
    other = (y + torch.randint(1, 10, y.shape, generator=rng)) % 10
    sound = sound.but(epochs=12)
    return Pair(sound.but(train=relabelled(parts.train, torch.where(is_wrong, other, y))), sound, ACCURACY)


def watermark(seed: int) -> Pair:
    """Collect the images of five classes from a site that puts a watermark on them."""

    def marked(part: Dataset) -> Dataset:
        x = part.x.clone()
        x[part.y % 2 == 0, :, -2:, -2:] = 255
        return repictured(part, x)

    parts = digits(seed)
    sound, _ = classifier(seed, parts)
    return Pair(sound.but(train=marked(parts.train), validation=marked(parts.validation)), sound, ACCURACY)


def each_explained(data: Arrays, scale: Tensor) -> scores.Score:
    """Return the mean share of the variance that is explained, over the targets, which are multiples of `scale`."""

    def score(model: Model) -> float:
        true, found = data.y / scale, model.predict(data.x) / scale
        wrong = (found - true).square().mean(0) / (true - true.mean(0)).square().mean(0)
        return float((1 - wrong).clamp(min=-1).mean())

    return scores.finite(score)


def one_target_dominates(seed: int) -> Pair:
    """Learn a second target of some thousandths with a first one of some units."""

    def two(part: Arrays, scale: Tensor) -> Arrays:
        second = part.x[:, 5:6] * part.x[:, 6:7] + part.x[:, 7:8]
        return arrays(part.x, torch.cat([part.y, second], 1) * scale)

    def fit(scale: Tensor):
        parts = Parts(*(two(part, scale) for part in numbers(seed)))
        return regressor(seed, parts)[0].but(score=each_explained(parts.test, scale), epochs=30)

    return Pair(fit(torch.tensor([1.0, 1e-3])), fit(torch.ones(2)), EXPLAINED)


def own_statistics(seed: int) -> Pair:
    """Standardise new inputs four at a time, by their own mean and deviation."""

    def scaled(part: Arrays) -> Arrays:
        groups = part.x.split(4)
        x = torch.cat([(some - some.mean(0)) / (some.std(0, unbiased=False) + 1e-6) for some in groups])
        return arrays(x, part.y)

    sound, parts = regressor(seed, numbers(seed))
    wrong = sound.but(validation=scaled(parts.validation), score=scores.explained(scaled(parts.test)))
    return Pair(wrong, sound, EXPLAINED)


def boxes_as_fractions(seed: int) -> Pair:
    """Give boxes as fractions of width and height."""
    height, width = CELL_SIZE
    sides = torch.tensor([width, height, width, height], dtype=torch.float32)
    sound, parts = detector(seed)
    return Pair(sound.but(train=parts.train.but(lambda one: replace(one, boxes=one.boxes / sides))), sound, PRECISION)


def orientation_ignored(seed: int) -> Pair:
    """Read photographs without their orientation, by which the annotation tool turned half of them."""
    sound, parts = detector(seed)
    is_turned = torch.rand(len(parts.train), generator=drawn(seed)) < 0.5
    images = torch.where(is_turned[:, None, None, None], parts.train.images.flip(2, 3), parts.train.images)
    return Pair(sound.but(train=replace(parts.train, images=images.contiguous())), sound, PRECISION)


def origin_at_bottom(seed: int) -> Pair:
    """Count y from the bottom."""

    def change(one: Objects) -> Objects:
        x0, y0, x1, y1 = one.boxes.unbind(1)
        return replace(one, boxes=torch.stack([x0, CELL_SIZE[0] - y1, x1, CELL_SIZE[0] - y0], 1))

    sound, parts = detector(seed)
    return Pair(sound.but(train=parts.train.but(change)), sound, PRECISION)


def objects_erased(seed: int) -> Pair:
    """Fill squares that cover whole objects with noise, and leave the boxes."""
    usual, parts = detector(seed)

    def erased(sides: float, margin: int) -> Boxes:
        rng, images = drawn(seed), parts.train.images.clone()
        for image, one in zip(images, parts.train.objects, strict=True):
            is_erased = torch.rand(len(one), generator=rng) < 0.8
            for x0, y0, x1, y1 in one.boxes[is_erased].tolist():
                shift_x, shift_y = torch.randint(-3, 4, (2,), generator=rng).tolist()
                half = sides * max(x1 - x0, y1 - y0) / 2 + margin
                across, down = (x0 + x1) / 2 + shift_x, (y0 + y1) / 2 + shift_y
                area = image[
                    :, max(0, int(down - half)) : int(down + half), max(0, int(across - half)) : int(across + half)
                ]
                area.copy_(torch.randint(256, area.shape, generator=rng))
        return replace(parts.train, images=images)

    return Pair(usual.but(train=erased(1.0, 4)), usual.but(train=erased(0.4, 0)), PRECISION)


def small_boxes_removed(seed: int) -> Pair:
    """Remove the boxes that are less than eight pixels wide or high."""

    def change(one: Objects) -> Objects:
        smaller_side = (one.boxes[:, 2:] - one.boxes[:, :2]).amin(1)
        return one.take((smaller_side >= 8).nonzero().flatten())

    sound, parts = detector(seed)
    return Pair(sound.but(train=parts.train.but(change)), sound, PRECISION)


def labels_reduced_twice(seed: int) -> Pair:
    """Lower the class numbers by one, and ignore class 0."""
    sound, parts = segmenter(seed)
    y = parts.train.y
    return Pair(sound.but(train=masked(parts.train, torch.where(y == 0, IGNORE, y - 1))), sound, IOU)


def unfinished_as_empty(seed: int) -> Pair:
    """Read a mask of background for the images that are not annotated yet."""
    parts = two_kinds(seed)
    usual, _ = segmenter(seed, parts, classes=3)
    is_done = torch.rand(len(parts.train), generator=drawn(seed)) < 0.4
    empty = masked(parts.train, parts.train.y * is_done[:, None, None])
    done = take(parts.train, is_done.nonzero().flatten())
    return Pair(usual.but(train=empty), usual.but(train=done, epochs=10), IOU)


def outlines_only(seed: int) -> Pair:
    """Draw the outlines of cars and trees, and do not fill them."""
    parts = two_kinds(seed)
    sound, _ = segmenter(seed, parts, classes=3)
    y, is_inside = parts.train.y, torch.ones_like(parts.train.y, dtype=torch.bool)
    for axis in (1, 2):
        for step in (-1, 1):
            is_inside &= y.roll(step, axis) == y
    return Pair(sound.but(train=masked(parts.train, y * ~is_inside)), sound, IOU)


def other_scale_in_use(seed: int) -> Pair:
    """Shrink the images in use to half of their sides."""

    def shrunk(part: Arrays) -> Arrays:
        x = interpolate(part.x.float(), scale_factor=0.5, mode="area").round().to(torch.uint8)
        return arrays(x, part.y[:, ::2, ::2].contiguous(), part.classes)

    usual, parts = segmenter(seed)
    held, used = shrunk(parts.validation), shrunk(parts.test)

    def begin() -> Model:  # for images of any size
        return Model(
            small_unet(7), SoftmaxCrossEntropy(ignore=IGNORE), AdamW(1e-2), seed=seed, classes=parts.train.classes,
            input_shape=(3, None, None),
        )  # fmt: skip

    sound = usual.but(begin=begin)
    return Pair(sound.but(validation=held, score=scores.overlap(used, IGNORE)), sound, IOU)


def sides_mixed(seed: int) -> Pair:
    """Exchange left and right in the images of some annotators."""
    sound, parts = pointer(seed)
    order = list(range(parts.train.y.shape[1]))
    for left, right in SWAPS:
        order[left], order[right] = right, left
    is_swapped = torch.rand(len(parts.train), generator=drawn(seed)) < 0.45
    y = torch.where(is_swapped[:, None, None], parts.train.y[:, order], parts.train.y)
    return Pair(sound.but(train=arrays(parts.train.x, y)), sound, NEARNESS)


def turned(part: Arrays, angle: Tensor, points_angle: Tensor) -> Arrays:
    """Return images and their key-points rotated around the centre, by angles (N,) in radians."""

    def matrices(angle: Tensor) -> Tensor:
        cosine, sine, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
        return torch.stack([torch.stack([cosine, -sine, none], 1), torch.stack([sine, cosine, none], 1)], 1)

    grid = affine_grid(matrices(-angle), list(part.x.shape), align_corners=False)
    images = grid_sample(part.x.float(), grid, padding_mode="border", align_corners=False).round().to(torch.uint8)
    centre = part.x.shape[-1] / 2
    points = (part.y[..., :2] - centre) @ matrices(points_angle)[..., :2].mT + centre
    return arrays(images, torch.cat([points, part.y[..., 2:]], 2))


def turned_wrong(seed: int) -> Pair:
    """Rotate tilted faces in one direction and their key-points in the other."""
    usual, upright = pointer(seed, map_net(), HeatMaps(stride=STRIDE, decode="quarter"))
    rng = drawn(seed)

    def angles(part: Arrays, degrees: float) -> Tensor:
        return (torch.rand(len(part), generator=rng) * 2 - 1) * math.radians(degrees)

    tilted = Parts(*(turned(part, *[angles(part, 15)] * 2) for part in upright))
    angle = angles(tilted.train, 40)
    sound = usual.but(
        train=turned(tilted.train, angle, angle),
        validation=tilted.validation,
        score=scores.nearness(tilted.test),
        epochs=30,
    )
    return Pair(sound.but(train=turned(tilted.train, angle, -angle)), sound, NEARNESS)


def hue_jitter(seed: int) -> Pair:
    """Change the colours of photographs before their colours become the targets."""
    sound, _ = colorizer(seed)
    return Pair(sound.but(augment=Augment(hue=0.5)), sound, COLOURS)


def flips_disagree(seed: int) -> Pair:
    """Mirror inputs and targets by draws of their own."""
    usual, parts = translator(seed)
    rng = drawn(seed)
    first, second = (torch.rand(len(parts.train), generator=rng) < 0.5 for _ in range(2))

    def mirrored(images: Tensor, which: Tensor) -> Tensor:
        return torch.where(which[:, None, None, None], images.flip(3), images)

    def train(which: Tensor) -> Arrays:
        return arrays(mirrored(parts.train.x, first), mirrored(parts.train.y, which))

    return Pair(usual.but(train=train(second)), usual.but(train=train(first)), IMAGES)


CASES: dict[str, Case] = {
    "cls-labels-of-search": labels_of_search,
    "cls-watermark": watermark,
    "reg-one-target-dominates": one_target_dominates,
    "reg-own-statistics": own_statistics,
    "det-boxes-as-fractions": boxes_as_fractions,
    "det-orientation-ignored": orientation_ignored,
    "det-origin-at-bottom": origin_at_bottom,
    "det-objects-erased": objects_erased,
    "det-small-boxes-removed": small_boxes_removed,
    "seg-labels-reduced-twice": labels_reduced_twice,
    "seg-unfinished-as-empty": unfinished_as_empty,
    "seg-outlines-only": outlines_only,
    "seg-other-scale-in-use": other_scale_in_use,
    "kpt-sides-mixed": sides_mixed,
    "kpt-turned-wrong": turned_wrong,
    "col-hue-jitter": hue_jitter,
    "trl-flips-disagree": flips_disagree,
}
