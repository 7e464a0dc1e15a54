"""Mistakes of the fourth list in data: how they are collected, annotated, read and augmented."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import (
    CELL_SIZE,
    CLASSES,
    Boxes,
    Parts,
    arrays,
    cells,
    digits,
    numbers,
    repictured,
    streets,
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
from benchmarks.doctor.cases.unusual.second_settings import LIKENESS
from benchmarks.doctor.cases.unusual.sound import (
    block,
    classifier,
    detector,
    digit_net,
    generator,
    pointer,
    regressor,
    segmenter,
    small_detector,
    translator,
)
from benchmarks.doctor.cases.unusual.third_data import IMAGES
from benchmarks.doctor.cases.unusual.unopened_keypoints import STRIDE, map_net
from benchmarks.doctor.fit import Case, Fit, Pair
from pellucid import AdamW, Model
from pellucid.combine import Sequential
from pellucid.data import Augment, Dataset
from pellucid.data.augment import resized_crop
from pellucid.data.source import Arrays
from pellucid.generators import Regression
from pellucid.layers import Conv2d, Tanh
from pellucid.losses import L1, BinaryCrossEntropy, HeatMaps, SoftmaxCrossEntropy
from pellucid.ops.image_objects import Objects
from pellucid.optim import Adam

NEAR = 10  # pixels between cells of one group
JPEG_QUALITY = 75


def rows_of_digits(part: Dataset, rng: torch.Generator) -> Arrays:
    """Return as many images of one to three digits in a row as there are digits, and which digits each has."""
    chosen = torch.randint(len(part), (len(part), 3), generator=rng)
    is_shown = torch.arange(3) < torch.randint(1, 4, (len(part), 1), generator=rng)
    x = torch.cat([part.x[chosen[:, k]] * is_shown[:, k, None, None, None] for k in range(3)], 3)
    y = torch.zeros(len(part), 10)
    for k in range(3):
        y[is_shown[:, k], part.y[chosen[is_shown[:, k], k]]] = 1.0
    return arrays(x, y)


def several_labels_softmax(seed: int) -> Pair:
    """Apply a softmax to the scores of labels of which an image has up to three."""
    rng = drawn(seed)
    parts = Parts(*(rows_of_digits(part, rng) for part in digits(seed)))

    def all_right(model: Model) -> float:
        return float(((model.predict(parts.test.x) > 0.5) == (parts.test.y > 0.5)).float().mean())

    def fit(loss: Any, change: Callable[[Tensor], Tensor]) -> Fit:
        def begin() -> Model:
            return Model(digit_net(10), loss, Adam(3e-3), seed=seed, input_shape=(1, 8, 24), metrics=())

        train, held = (arrays(part.x, change(part.y)) for part in parts[:2])
        return Fit(begin, train, held, scores.finite(all_right), 15, 32)

    wrong = fit(SoftmaxCrossEntropy(), lambda y: y / y.sum(1, keepdim=True))
    return Pair(wrong, fit(BinaryCrossEntropy(), lambda y: y), "share of right labels")


def images_transposed(seed: int) -> Pair:
    """Read training images that are stored by columns."""
    sound, parts = classifier(seed)
    turned = repictured(parts.train, parts.train.x.transpose(2, 3).contiguous())
    return Pair(sound.but(train=turned), sound, ACCURACY)


def brightness_wraps(seed: int) -> Pair:
    """Make training images brighter by up to 128, and let the sums wrap around."""

    def brighter(end: Callable[[Tensor], Tensor]) -> Callable[[Tensor, torch.Generator], Tensor]:
        def augment(images: Tensor, rng: torch.Generator) -> Tensor:
            more = torch.randint(1, 129, (len(images), 1, 1, 1), generator=rng)
            return end((images * 255).round() + more) / 255

        return augment

    usual, _ = classifier(seed)
    sound = usual.but(augment=brighter(lambda x: x.clamp(max=255)))
    return Pair(usual.but(augment=brighter(lambda x: x % 256)), sound, ACCURACY)


def crops_too_small(seed: int) -> Pair:
    """Crop at random between 8 % and half of the image."""

    def crops(smallest: float, largest: float) -> Callable[[Tensor, torch.Generator], Tensor]:
        def augment(images: Tensor, rng: torch.Generator) -> Tensor:
            return resized_crop(images, (images.shape[2], images.shape[3]), rng, (smallest, largest))

        return augment

    usual, _ = classifier(seed)
    return Pair(usual.but(augment=crops(0.08, 0.5)), usual.but(augment=crops(0.75, 1.0)), ACCURACY)


def one_output_for_ten_classes(seed: int) -> Pair:
    """Learn the number of the class by one output."""
    sound, parts = classifier(seed)

    def numbered(part: Dataset) -> Arrays:
        return arrays(part.x, part.y[:, None].float())

    def begin() -> Model:
        return Model(digit_net(1), "quadratic", Adam(3e-3), seed=seed, input_shape=(1, 8, 8))

    def accuracy(model: Model) -> float:
        return float((model.predict(parts.test.x)[:, 0].round() == parts.test.y).float().mean())

    train, held = map(numbered, parts[:2])
    wrong = sound.but(begin=begin, train=train, validation=held, score=scores.finite(accuracy))
    return Pair(wrong, sound, ACCURACY)


def targets_cut_to_integers(seed: int) -> Pair:
    """Convert the targets to integers."""
    sound, parts = regressor(seed, numbers(seed))
    return Pair(sound.but(train=arrays(parts.train.x, parts.train.y.trunc())), sound, EXPLAINED)


def units_mixed(seed: int) -> Pair:
    """Measure a fifth of the training targets in another unit."""
    parts = Parts(*(arrays(part.x, part.y + 2.88) for part in numbers(seed)))  # the targets' mean was subtracted
    sound, _ = regressor(seed, parts)
    is_other = torch.rand(len(parts.train), 1, generator=drawn(seed)) < 0.2
    y = torch.where(is_other, parts.train.y * 2.54, parts.train.y)
    return Pair(sound.but(train=arrays(parts.train.x, y)), sound, EXPLAINED)


def boxes_grow_by_rotation(seed: int) -> Pair:
    """Rotate images by up to 60 degrees, and put boxes around the rotated corners."""
    usual, _ = detector(seed)
    sound = usual.but(augment=Augment(rotate=5.0, fill="nearest"))
    return Pair(usual.but(augment=Augment(rotate=60.0, fill="nearest")), sound, PRECISION)


def remains_of_cropped_objects(seed: int) -> Pair:
    """Crop images at random, and keep what the border leaves of each box, one pixel at least."""
    height, width = 48, 64
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    usual, parts = detector(seed)

    def begin() -> Model:  # for images of any size
        return Model(
            small_detector(), optimizer=AdamW(1e-2), seed=seed, metrics=(), classes=parts.train.classes,
            input_shape=(3, None, None),
        )  # fmt: skip

    def cropped(least: float) -> Boxes:
        rng, images, found = drawn(seed), [], []
        for image, one in zip(parts.train.images, parts.train.objects, strict=True):
            across = int(torch.randint(CELL_SIZE[1] - width + 1, (), generator=rng))
            down = int(torch.randint(CELL_SIZE[0] - height + 1, (), generator=rng))
            images.append(image[:, down : down + height, across : across + width])
            moved = one.boxes - torch.tensor([across, down] * 2)
            inside = torch.minimum(moved.clamp(min=0), limit)
            low = torch.minimum(inside[:, :2], limit[:2] - 1)
            seen = torch.cat([low, torch.maximum(inside[:, 2:], low + 1)], 1)
            share = (inside[:, 2:] - inside[:, :2]).prod(1) / (moved[:, 2:] - moved[:, :2]).prod(1)
            found.append(Objects(seen, one.labels).take((share >= least).nonzero().flatten()))
        return Boxes(torch.stack(images), tuple(found), parts.train.classes)

    sound = usual.but(begin=begin, train=cropped(0.25), epochs=12)
    return Pair(sound.but(train=cropped(0.0)), sound, PRECISION)


def images_shrunk(seed: int) -> Pair:
    """Shrink the images to a quarter of their sides."""

    def shrunk(part: Boxes) -> Boxes:
        images = interpolate(part.images.float(), scale_factor=0.25, mode="area").round().to(torch.uint8)
        return part.but(lambda one: replace(one, boxes=one.boxes / 4), images)

    sound, parts = detector(seed)
    train, validation, test = map(shrunk, parts)

    def begin() -> Model:
        return Model(
            small_detector(), optimizer=AdamW(1e-2), seed=seed, metrics=(), classes=train.classes,
            input_shape=tuple(train.images.shape[1:]),
        )  # fmt: skip

    wrong = sound.but(begin=begin, train=train, validation=validation, score=scores.precision(test))
    return Pair(wrong, sound, PRECISION)


def grouped(one: Objects) -> Objects:
    """Return one box for each group of objects of a class that lie close together."""
    boxes, labels = list(one.boxes), one.labels.tolist()
    first = 0
    while first < len(boxes):
        for second in range(first + 1, len(boxes)):
            a, b = boxes[first], boxes[second]
            gap = torch.maximum(a[:2], b[:2]) - torch.minimum(a[2:], b[2:])
            if labels[first] == labels[second] and float(gap.max()) < NEAR:
                boxes[first] = torch.cat([torch.minimum(a[:2], b[:2]), torch.maximum(a[2:], b[2:])])
                del boxes[second], labels[second]
                first = -1
                break
        first += 1
    return Objects(torch.stack(boxes), torch.tensor(labels)) if boxes else one


def groups_in_one_box(seed: int) -> Pair:
    """Draw one box around each group of cells in most of the training images."""
    sound, parts = detector(seed)
    is_grouped = (torch.rand(len(parts.train), generator=drawn(seed)) < 0.7).tolist()
    pairs = zip(parts.train.objects, is_grouped, strict=True)
    objects = tuple(grouped(one) if chosen else one for one, chosen in pairs)
    return Pair(sound.but(train=replace(parts.train, objects=objects)), sound, PRECISION)


def masks_as_jpeg(seed: int) -> Pair:
    """Save the masks of class numbers as JPEG files."""

    def reread(mask: Tensor) -> Tensor:
        file = BytesIO()
        Image.fromarray(mask.to(torch.uint8).numpy()).save(file, "JPEG", quality=JPEG_QUALITY)
        return torch.from_numpy(np.asarray(Image.open(file)).copy()).long().clamp(max=len(CLASSES) - 1)

    sound, parts = segmenter(seed)
    return Pair(sound.but(train=masked(parts.train, torch.stack([*map(reread, parts.train.y)]))), sound, IOU)


def boxes_as_masks(seed: int) -> Pair:
    """Fill the boxes of cells instead of their outlines."""

    def painted(part: Boxes, whole: bool) -> Arrays:
        height, width = part.images.shape[2:]
        rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width)[None] + 0.5
        masks = torch.zeros(len(part), height, width, dtype=torch.int64)
        for mask, one in zip(masks, part.objects, strict=True):
            for (x0, y0, x1, y1), label in zip(one.boxes.tolist(), one.labels.tolist(), strict=True):
                across = ((2 * columns - x0 - x1) / max(x1 - x0, 1e-3)).abs()
                down = ((2 * rows - y0 - y1) / max(y1 - y0, 1e-3)).abs()
                mask[torch.maximum(across, down) < 1 if whole else across**2 + down**2 < 1] = 1 + label
        return arrays(part.images[..., ::2, ::2].contiguous(), masks[..., ::2, ::2].contiguous())

    boxes = cells(seed)
    sound, _ = segmenter(seed, Parts(*(painted(part, False) for part in boxes)), classes=4)
    return Pair(sound.but(train=painted(boxes.train, True)), sound, IOU)


def sixteen_bits_cut_off(seed: int) -> Pair:
    """Cut images of more than 8 bits off at 255."""

    def cut_off(part: Arrays) -> Arrays:
        return arrays((part.x.int() * 4).clamp(max=255).to(torch.uint8), part.y, part.classes)

    parts = streets(seed)
    wrong, _ = segmenter(seed, Parts(*map(cut_off, parts)))
    sound, _ = segmenter(seed, parts)
    return Pair(wrong, sound, IOU)


def visibility_reversed(seed: int) -> Pair:
    """Hide key-points, guess where they are, and learn only these."""
    usual, parts = pointer(seed, map_net(), HeatMaps(stride=STRIDE, decode="quarter"))
    rng, y, images = drawn(seed), parts.train.y.clone(), parts.train.x.clone()
    is_hidden = torch.rand(y.shape[:2], generator=rng) < 0.35
    guessed = y[..., :2].mean(0) + 3 * torch.randn((*y.shape[:2], 2), generator=rng)
    for k, point in is_hidden.nonzero().tolist():
        across, down = (max(0, int(value) - 2) for value in y[k, point, :2].tolist())
        images[k, :, down : down + 5, across : across + 5] = 128
    y[..., :2] = torch.where(is_hidden[..., None], guessed, y[..., :2])
    hidden, visible = y.clone(), y.clone()
    hidden[..., 2], visible[..., 2] = is_hidden.float(), 2.0 * ~is_hidden
    return Pair(usual.but(train=arrays(images, hidden)), usual.but(train=arrays(images, visible)), NEARNESS)


def rounded_down_to_cells(seed: int) -> Pair:
    """Round positions down to whole cells of the heat maps."""
    sound, parts = pointer(seed, map_net(), HeatMaps(stride=STRIDE, decode="quarter"))
    y = parts.train.y.clone()
    y[..., :2] = (y[..., :2] / STRIDE).floor() * STRIDE
    return Pair(sound.but(train=arrays(parts.train.x, y)), sound, NEARNESS)


def restorer(seed: int, degrade: Callable[[Tensor], Tensor], spoil: Callable[[Tensor, Tensor], Arrays]) -> Pair:
    """Restore streets; `spoil` returns the mistaken pairs for inputs and true images."""
    parts = Parts(*(arrays(degrade(part.x.float() / 255), part.x.float() / 255) for part in streets(seed)))
    net = Sequential(one=Sequential(**block(16)), two=Sequential(**block(16)), out=Conv2d(3, 3, padding=1), tanh=Tanh())
    usual, _ = translator(seed, Regression(net, L1("mean"), to="image"))
    sound: Fit = usual.but(train=parts.train, validation=parts.validation, score=scores.images(parts.test), epochs=8)
    return Pair(sound.but(train=spoil(parts.train.x, parts.train.y)), sound, IMAGES)


def target_has_the_noise(seed: int) -> Pair:
    """Learn the noisy images from themselves."""
    rng = drawn(seed)

    def noisy(images: Tensor) -> Tensor:
        return (images + 0.2 * torch.randn(images.shape, generator=rng)).clamp(0, 1)

    return restorer(seed, noisy, lambda x, y: arrays(x, x))


def enlarged(images: Tensor, factor: int) -> Tensor:
    """Return images that were shrunk and enlarged again."""
    small = interpolate(images, scale_factor=1 / factor, mode="area")
    return interpolate(small, scale_factor=float(factor), mode="bicubic", align_corners=False).clamp(0, 1)


def targets_were_enlarged(seed: int) -> Pair:
    """Learn to enlarge from images that have been enlarged before."""

    def degrade(images: Tensor) -> Tensor:
        return enlarged(images, 2)

    return restorer(seed, degrade, lambda x, y: arrays(degrade(enlarged(y, 4)), enlarged(y, 4)))


def placeholders(seed: int) -> Pair:
    """Get the same picture in place of many images."""
    usual, parts = generator(seed)
    rng = drawn(seed)
    sign = torch.full((1, 8, 8), 90, dtype=torch.uint8)
    sign[:, 2:6:3, 1:7] = 230

    def downloaded(part: Arrays) -> tuple[Arrays, Arrays]:
        is_gone = torch.rand(len(part), generator=rng) < 0.4
        kept = arrays(part.x[~is_gone], part.y[~is_gone])
        return arrays(torch.where(is_gone[:, None, None, None], sign, part.x), part.y), kept

    (train, kept), (held, held_kept) = map(downloaded, parts[:2])
    return Pair(usual.but(train=train, validation=held), usual.but(train=kept, validation=held_kept), LIKENESS)


CASES: dict[str, Case] = {
    "cls-several-labels-softmax": several_labels_softmax,
    "cls-images-transposed": images_transposed,
    "cls-brightness-wraps": brightness_wraps,
    "cls-crops-too-small": crops_too_small,
    "cls-one-output-for-ten-classes": one_output_for_ten_classes,
    "reg-targets-cut-to-integers": targets_cut_to_integers,
    "reg-units-mixed": units_mixed,
    "det-boxes-grow-by-rotation": boxes_grow_by_rotation,
    "det-remains-of-cropped-objects": remains_of_cropped_objects,
    "det-images-shrunk": images_shrunk,
    "det-groups-in-one-box": groups_in_one_box,
    "seg-masks-as-jpeg": masks_as_jpeg,
    "seg-boxes-as-masks": boxes_as_masks,
    "seg-16-bits-cut-off": sixteen_bits_cut_off,
    "kpt-visibility-reversed": visibility_reversed,
    "kpt-rounded-down-to-cells": rounded_down_to_cells,
    "trl-target-has-the-noise": target_has_the_noise,
    "trl-targets-were-enlarged": targets_were_enlarged,
    "gen-placeholders": placeholders,
}
