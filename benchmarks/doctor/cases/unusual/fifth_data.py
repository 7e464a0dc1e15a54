"""Mistakes of the fifth list in data: how they are collected, annotated, read and augmented."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d, pad

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import (
    CELL_SIZE,
    CLASSES,
    FACE_SIDE,
    POINTS,
    Boxes,
    Parts,
    arrays,
    digits,
    numbers,
    repictured,
    take,
    tinted,
)
from benchmarks.doctor.cases.unusual.fourth_data import enlarged, restorer
from benchmarks.doctor.cases.unusual.second_data import ACCURACY, EXPLAINED, IOU, NEARNESS, PRECISION, drawn, masked
from benchmarks.doctor.cases.unusual.sound import (
    IGNORE,
    block,
    classifier,
    detector,
    pointer,
    regressor,
    segmenter,
    small_detector,
    small_unet,
)
from benchmarks.doctor.cases.unusual.unopened_keypoints import STRIDE, map_net
from benchmarks.doctor.cases.unusual.unopened_segmentation import two_kinds
from benchmarks.doctor.fit import Case, Pair
from pellucid import AdamW, Model
from pellucid.combine import Sequential
from pellucid.data import Augment, Dataset
from pellucid.data.source import Arrays, Batch
from pellucid.layers import Dense, Flatten
from pellucid.losses import HeatMaps, SoftmaxCrossEntropy
from pellucid.ops.image_objects import Objects

LIMIT = torch.tensor([CELL_SIZE[1], CELL_SIZE[0]] * 2, dtype=torch.float32)  # of boxes in whole images


def palette_indices(seed: int) -> Pair:
    """Read the numbers of palette entries for colours."""

    def read(image: Tensor) -> Tensor:
        file = Image.fromarray(image.permute(1, 2, 0).numpy()).quantize(16)
        return torch.from_numpy(np.asarray(file).copy())[None]

    parts = tinted(seed)
    sound, _ = classifier(seed, parts)
    read_parts = (repictured(part, torch.stack([*map(read, part.x)])) for part in parts)
    return Pair(classifier(seed, Parts(*read_parts))[0], sound, ACCURACY)


def two_spellings(seed: int) -> Pair:
    """Write the names of the digits with a capital letter in four of ten images."""
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    plain = Parts(*(Dataset.from_arrays(part.x, part.y, classes=names) for part in digits(seed)))
    rng = drawn(seed)

    def spelled(part: Dataset) -> Dataset:
        y = part.y + 10 * (torch.rand(len(part), generator=rng) < 0.4)
        return Dataset.from_arrays(part.x, y, classes=[*names, *map(str.capitalize, names)])

    wrong, _ = classifier(seed, Parts(spelled(plain.train), spelled(plain.validation), plain.test))
    return Pair(wrong, classifier(seed, plain)[0], ACCURACY)


def noise_of_0_to_255(seed: int) -> Pair:
    """Add noise with a standard deviation of 25 to pixels from 0 to 1."""

    def noisy(deviation: float):
        def augment(images: Tensor, rng: torch.Generator) -> Tensor:
            return (images + deviation * torch.randn(images.shape, generator=rng)).clamp(0, 1)

        return augment

    usual, _ = classifier(seed)
    return Pair(usual.but(augment=noisy(25.0)), usual.but(augment=noisy(25 / 255)), ACCURACY)


def always_centred(seed: int) -> Pair:
    """Train with digits in the middle of the images, and use the network for digits anywhere."""
    rng = drawn(seed)

    def framed(part: Dataset) -> Dataset:
        return repictured(part, pad(part.x, (4, 4, 4, 4)))

    def anywhere(part: Dataset) -> Dataset:
        x = torch.zeros(len(part), 1, 16, 16, dtype=torch.uint8)
        for image, digit in zip(x, part.x, strict=True):
            across, down = torch.randint(0, 9, (2,), generator=rng).tolist()
            image[:, down : down + 8, across : across + 8] = digit
        return repictured(part, x)

    train, validation, test = digits(seed)
    stages = {"one": Sequential(**block(16)), "two": Sequential(**block(32, 2)), "three": Sequential(**block(32, 2))}
    net = Sequential(**stages, flatten=Flatten(), out=Dense(10))
    usual, _ = classifier(seed, Parts(framed(train), anywhere(validation), anywhere(test)), net)
    wrong = usual.but(epochs=12)
    return Pair(wrong, wrong.but(augment=Augment(shift=0.25)), ACCURACY)


def rare_classes(seed: int) -> Pair:
    """Train with three images of each of five digits and all images of the others."""
    train, validation, test = digits(seed)
    common = (train.y < 5).nonzero().flatten()
    rare = torch.cat([(train.y == k).nonzero().flatten()[:3] for k in range(5, 10)])
    sound, _ = classifier(seed, Parts(train.subset(torch.cat([common, rare.repeat(30)])), validation, test))
    return Pair(sound.but(train=train.subset(torch.cat([common, rare]))), sound, ACCURACY)


def turned_by_any_angle(seed: int) -> Pair:
    """Rotate digits by up to 180 degrees."""
    usual, _ = classifier(seed)
    return Pair(usual.but(augment=Augment(rotate=180.0)), usual.but(augment=Augment(rotate=10.0)), ACCURACY)


def logarithm_not_undone(seed: int) -> Pair:
    """Learn logarithms, and take them for the values."""
    parts = Parts(*(arrays(part.x, (part.y + 2.88).clamp(min=0.1)) for part in numbers(seed)))
    logarithms = Parts(*(arrays(part.x, part.y.log()) for part in parts))
    usual, _ = regressor(seed, logarithms)
    true = parts.test.y

    def explained(model: Model) -> float:
        wrong = (model.predict(parts.test.x).exp() - true).square().mean() / (true - true.mean(0)).square().mean()
        return max(-1.0, 1 - float(wrong))

    wrong = usual.but(validation=parts.validation, score=scores.explained(parts.test))
    return Pair(wrong, usual.but(score=scores.finite(explained)), EXPLAINED)


def absurd_targets(seed: int) -> Pair:
    """Give two of a hundred training targets values of forty standard deviations."""
    usual, parts = regressor(seed, numbers(seed))
    is_absurd = torch.rand(len(parts.train), generator=drawn(seed)) < 0.02
    y = torch.where(is_absurd[:, None], 40.0, parts.train.y)
    kept = take(parts.train, (~is_absurd).nonzero().flatten())
    return Pair(usual.but(train=arrays(parts.train.x, y)), usual.but(train=kept), EXPLAINED)


def width_and_height_exchanged(seed: int) -> Pair:
    """Multiply relative x by the height and relative y by the width."""
    sound, parts = detector(seed)

    def change(one: Objects) -> Objects:
        return replace(one, boxes=one.boxes / LIMIT * LIMIT[[1, 0, 3, 2]])

    return Pair(sound.but(train=parts.train.but(change)), sound, PRECISION)


def loose_boxes(seed: int) -> Pair:
    """Draw boxes with a margin of a quarter of the object's sides."""

    def change(one: Objects) -> Objects:
        margin = 0.25 * (one.boxes[:, 2:] - one.boxes[:, :2])
        boxes = one.boxes + torch.cat([-margin, margin], 1)
        return replace(one, boxes=torch.minimum(boxes.clamp(min=0), LIMIT))

    sound, parts = detector(seed)
    return Pair(sound.but(train=parts.train.but(change)), sound, PRECISION)


def moved(one: Objects, step: Tensor) -> Objects:
    """Return the objects moved by `step`, x and y; of each box the part that is inside the image, if it has one."""
    boxes = torch.minimum((one.boxes + step.repeat(2)).clamp(min=0), LIMIT)
    return Objects(boxes, one.labels).take(((boxes[:, 2:] - boxes[:, :2]).amin(1) > 1).nonzero().flatten())


def boxes_of_another_frame(seed: int) -> Pair:
    """Take the boxes that were drawn before the camera moved on, in a direction of its own in each video."""
    sound, parts = detector(seed)
    angle = 6.3 * torch.rand(len(parts.train), generator=drawn(seed))
    steps = 7 * torch.stack([angle.cos(), angle.sin()], 1)
    objects = tuple(map(moved, parts.train.objects, steps))
    return Pair(sound.but(train=replace(parts.train, objects=objects)), sound, PRECISION)


def cut_objects_unlabelled(seed: int) -> Pair:
    """Cut each image into six tiles, and drop the boxes that a cut goes through."""
    height, width = CELL_SIZE[0] // 2, CELL_SIZE[1] // 3
    limit = torch.tensor([width, height] * 2, dtype=torch.float32)
    usual, parts = detector(seed)

    def begin() -> Model:  # for images of any size
        return Model(
            small_detector(), optimizer=AdamW(1e-2), seed=seed, metrics=(), classes=parts.train.classes,
            input_shape=(3, None, None),
        )  # fmt: skip

    def tiles(only_whole: bool) -> Boxes:
        images, found = [], []
        for image, one in zip(parts.train.images, parts.train.objects, strict=True):
            for down, across in product(range(0, 2 * height, height), range(0, 3 * width, width)):
                images.append(image[:, down : down + height, across : across + width])
                whole = one.boxes - torch.tensor([across, down] * 2)
                inside = torch.minimum(whole.clamp(min=0), limit)
                share = (inside[:, 2:] - inside[:, :2]).prod(1) / (whole[:, 2:] - whole[:, :2]).prod(1)
                is_kept = share > (0.99 if only_whole else 0.25)
                found.append(Objects(inside[is_kept], one.labels[is_kept]))
        return Boxes(torch.stack(images), tuple(found), parts.train.classes)

    sound = usual.but(begin=begin, train=tiles(False), batch_size=32)
    return Pair(sound.but(train=tiles(True)), sound, PRECISION)


@dataclass(frozen=True, eq=False)
class Shaken(Boxes):
    """Images that are shifted at random each time they are read; in_place: the stored boxes are shifted with them."""

    in_place: bool = False

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return shifted images and their objects."""
        images, found = [], []
        for k in map(int, indices):
            across, down = torch.randint(-6, 7, (2,), generator=rng).tolist()
            framed = pad(self.images[k].float()[None], (6, 6, 6, 6), mode="replicate")[0].to(torch.uint8)
            images.append(framed[:, 6 - down : 6 - down + CELL_SIZE[0], 6 - across : 6 - across + CELL_SIZE[1]])
            stored, step = self.objects[k], torch.tensor([across, down])
            found.append(moved(stored, step))
            if self.in_place:
                stored.boxes.add_(step.repeat(2))
        return Batch(torch.stack(images), found)


def boxes_changed_in_place(seed: int) -> Pair:
    """Shift the stored boxes with each image that is read."""
    usual, parts = detector(seed)

    def train(in_place: bool) -> Boxes:
        own = parts.train.but(lambda one: Objects(one.boxes.clone(), one.labels))
        return Shaken(own.images, own.objects, own.classes, in_place)

    return Pair(usual.but(train=train(True)), usual.but(train=train(False)), PRECISION)


def masks_too_large(seed: int) -> Pair:
    """Widen the masks of trees, cars and pedestrians by two pixels."""
    sound, parts = segmenter(seed)
    y = parts.train.y.clone()
    for name in ("tree", "car", "pedestrian"):
        is_object = (parts.train.y == CLASSES.index(name)).float()[:, None]
        y[max_pool2d(is_object, 5, 1, 2)[:, 0] > 0] = CLASSES.index(name)
    return Pair(sound.but(train=masked(parts.train, y)), sound, IOU)


@dataclass(frozen=True)
class CutMix:
    """Pastes a part of the next image of the batch; with_masks: also of its mask."""

    joint: ClassVar[bool] = True
    with_masks: bool = True

    def __call__(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Return the mixed batch."""
        images, masks = batch.images.clone(), batch.targets.clone()
        height, width = images.shape[2:]
        for k in range(len(images)):
            down = int(torch.randint(height // 3, (), generator=rng))
            across = int(torch.randint(width // 3, (), generator=rng))
            rows, columns = slice(down, down + 2 * height // 3), slice(across, across + 2 * width // 3)
            images[k, :, rows, columns] = batch.images[k - 1, :, rows, columns]
            if self.with_masks:
                masks[k, rows, columns] = batch.targets[k - 1, rows, columns]
        return Batch(images, masks)


def cutmix_without_masks(seed: int) -> Pair:
    """Paste parts of other images, and leave the masks."""
    usual, _ = segmenter(seed)
    return Pair(usual.but(augment=CutMix(with_masks=False)), usual.but(augment=CutMix()), IOU)


COLOURS_OF_CLASSES = ((0, 0, 255), (96, 0, 0), (128, 128, 128), (255, 0, 255), (0, 130, 0), (255, 0, 0), (255, 255, 0))


def colours_to_grey(seed: int) -> Pair:
    """Find the classes by the grey values of their colours."""
    greys = [int(np.asarray(Image.new("RGB", (1, 1), colour).convert("L"))[0, 0]) for colour in COLOURS_OF_CLASSES]
    class_of_grey = {grey: k for k, grey in enumerate(greys)}
    found = torch.tensor([class_of_grey[grey] for grey in greys])
    sound, parts = segmenter(seed)
    train, held = (masked(part, found[part.y]) for part in parts[:2])
    return Pair(sound.but(train=train, validation=held), sound, IOU)


def only_crops_of_objects(seed: int) -> Pair:
    """Cut small crops around cars and trees."""
    parts, side = two_kinds(seed), 8
    usual, _ = segmenter(seed, parts, classes=3)

    def begin() -> Model:  # for images of any size
        return Model(
            small_unet(3), SoftmaxCrossEntropy(ignore=IGNORE), AdamW(1e-2), seed=seed, classes=parts.train.classes,
            input_shape=(3, None, None),
        )  # fmt: skip

    def crops(share_of_objects: float) -> Arrays:
        rng, images, masks = drawn(seed), [], []
        for image, mask in zip(parts.train.x, parts.train.y, strict=True):
            for _ in range(10):
                is_wanted = mask > 0 if torch.rand((), generator=rng) < share_of_objects else mask >= 0
                places = is_wanted.nonzero()
                place = places[int(torch.randint(len(places), (), generator=rng))]
                down, across = (
                    min(max(0, at - side // 2), size - side)
                    for at, size in zip(place.tolist(), mask.shape, strict=True)
                )
                images.append(image[:, down : down + side, across : across + side])
                masks.append(mask[down : down + side, across : across + side])
        return arrays(torch.stack(images), torch.stack(masks), parts.train.classes)

    sound = usual.but(begin=begin, train=crops(0.3), batch_size=32)
    return Pair(sound.but(train=crops(1.0)), sound, IOU)


def crops_of_other_detector(seed: int) -> Pair:
    """Crop faces in use with boxes that are half as wide again as those of training."""
    margin = FACE_SIDE // 4

    def widened(part: Arrays) -> Arrays:
        x = pad(part.x.float(), (margin,) * 4, mode="replicate")
        y = part.y.clone()
        y[..., :2] = (y[..., :2] + margin) * FACE_SIDE / (FACE_SIDE + 2 * margin)
        return arrays(interpolate(x, (FACE_SIDE, FACE_SIDE), mode="area").round().to(torch.uint8), y)

    usual, parts = pointer(seed)
    train, held, used = map(widened, parts)
    sound = usual.but(train=train, validation=held, score=scores.nearness(used))
    return Pair(sound.but(train=parts.train), sound, NEARNESS)


def two_definitions(seed: int) -> Pair:
    """Take the ends of the eyebrows for the outer corners of the eyes in one of two merged data sets."""
    sound, parts = pointer(seed, map_net(), HeatMaps(stride=STRIDE))
    y = parts.train.y.clone()
    for outer, inner in (("left_outer", "left_inner"), ("right_outer", "right_inner")):
        size = y[:, POINTS.index(outer), 0] - y[:, POINTS.index(inner), 0]
        y[:, POINTS.index(outer), 0] += 0.7 * size
        y[:, POINTS.index(outer), 1] -= 1.2 * size.abs()
    mouth = [POINTS.index("left_mouth"), POINTS.index("right_mouth")]
    y[:, mouth, 1] += 0.5 * (y[:, mouth[1], 0] - y[:, mouth[0], 0]).abs()[:, None]
    is_second = torch.rand(len(y), generator=drawn(seed)) < 0.45
    y = torch.where(is_second[:, None, None], y, parts.train.y)
    return Pair(sound.but(train=arrays(parts.train.x, y)), sound, NEARNESS)


def other_shrinking(seed: int) -> Pair:
    """Shrink the images of training by averages, and those in use by leaving pixels out."""

    def skipped(images: Tensor) -> Tensor:
        return interpolate(images[..., ::4, ::4], scale_factor=4.0, mode="bicubic", align_corners=False).clamp(0, 1)

    return restorer(seed, skipped, lambda x, y: arrays(enlarged(y, 4), y))


CASES: dict[str, Case] = {
    "cls-palette-indices": palette_indices,
    "cls-two-spellings": two_spellings,
    "cls-noise-of-0-to-255": noise_of_0_to_255,
    "cls-always-centred": always_centred,
    "cls-rare-classes": rare_classes,
    "cls-turned-by-any-angle": turned_by_any_angle,
    "reg-logarithm-not-undone": logarithm_not_undone,
    "reg-absurd-targets": absurd_targets,
    "det-width-and-height-exchanged": width_and_height_exchanged,
    "det-loose-boxes": loose_boxes,
    "det-boxes-of-another-frame": boxes_of_another_frame,
    "det-cut-objects-unlabelled": cut_objects_unlabelled,
    "det-boxes-changed-in-place": boxes_changed_in_place,
    "seg-masks-too-large": masks_too_large,
    "seg-cutmix-without-masks": cutmix_without_masks,
    "seg-colours-to-grey": colours_to_grey,
    "seg-only-crops-of-objects": only_crops_of_objects,
    "kpt-crops-of-other-detector": crops_of_other_detector,
    "kpt-two-definitions": two_definitions,
    "trl-other-shrinking": other_shrinking,
}
