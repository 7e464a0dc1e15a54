"""Mistakes of the second list in data: how they are read, encoded and augmented."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

import torch
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import (
    CLASSES,
    FACE_SIDE,
    Boxes,
    Parts,
    arrays,
    cells,
    digits,
    faces,
    numbers,
    repictured,
    streets,
    tinted,
)
from benchmarks.doctor.cases.unusual.sound import (
    block,
    classifier,
    colorizer,
    detector,
    generator,
    pointer,
    regressor,
    segmenter,
    sketched,
    translator,
)
from benchmarks.doctor.fit import Case, Pair
from pellucid.combine import Sequential
from pellucid.data import Augment, Dataset
from pellucid.data.source import Arrays
from pellucid.layers import Dense, Flatten, ReLU
from pellucid.ops.image_objects import Objects
from pellucid.optim import Momentum

ACCURACY, PRECISION, IOU, NEARNESS = "accuracy", "average precision", "mean IoU", "nearness"
EXPLAINED = "explained variance"
BATCH = 32


def drawn(seed: int) -> torch.Generator:
    """Return a generator of random numbers."""
    return torch.Generator().manual_seed(seed)


def grayscale(seed: int) -> Pair:
    """Read images in shades of grey, although their colours tell the class."""

    def grey(part: Dataset) -> Dataset:
        return repictured(part, part.x.float().mean(1, keepdim=True).round().to(torch.uint8))

    parts = tinted(seed)
    sound, _ = classifier(seed, parts)
    wrong, _ = classifier(seed, Parts(*map(grey, parts)))
    return Pair(wrong, sound, ACCURACY)


def mixup_two_permutations(seed: int) -> Pair:
    """Mix images by one permutation and labels by another one."""
    usual, parts = classifier(seed, metrics=())
    x, y = parts.train.x.float() / 255, one_hot(parts.train.y, 10).float()

    def mixed(rng: torch.Generator, same: bool) -> Iterator[tuple[Tensor, Tensor]]:
        for index in torch.randperm(len(x), generator=rng).split(BATCH):
            images, labels = x[index], y[index]
            first, second = (torch.randperm(len(index), generator=rng) for _ in range(2))
            share = torch.rand(len(index), 1, generator=rng)
            yield (
                share[..., None, None] * images + (1 - share[..., None, None]) * images[first],
                share * labels + (1 - share) * labels[first if same else second],
            )

    def fit(same: bool):
        rng = drawn(seed)
        return usual.but(train=lambda: mixed(rng, same), further={"steps_per_epoch": -(-len(x) // BATCH)})

    return Pair(fit(False), fit(True), ACCURACY)


def not_divided_by_255(seed: int) -> Pair:
    """Give pixels of 0 to 255 as floats."""

    def net() -> Sequential:
        layers = {f"dense{k}": Sequential(dense=Dense(64), relu=ReLU()) for k in range(2)}
        return Sequential(flatten=Flatten(), **layers, out=Dense(10))

    parts = digits(seed)
    raw = Parts(*(repictured(part, part.x.float()) for part in parts))
    sound, _ = classifier(seed, parts, net(), Momentum(0.01))
    wrong, _ = classifier(seed, raw, net(), Momentum(0.01))
    return Pair(wrong, sound, ACCURACY)


def same_batches_each_epoch(seed: int) -> Pair:
    """Begin each epoch of two steps with the first batch."""
    usual, parts = classifier(seed)
    train = parts.train

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for begin in range(0, len(train), BATCH):
            yield train.x[begin : begin + BATCH], train.y[begin : begin + BATCH]

    sound = usual.but(epochs=60, further={"steps_per_epoch": 2})
    return Pair(sound.but(train=batches), sound.but(train=cycle(list(batches()))), ACCURACY)


def missing_as_zero(seed: int) -> Pair:
    """Write 0 for the targets that nobody measured."""
    parts = Parts(*(arrays(part.x, part.y + 2.88) for part in numbers(seed)))  # the targets' mean was subtracted
    sound, _ = regressor(seed, parts)
    missing = torch.rand(len(parts.train), generator=drawn(seed)) < 0.4
    filled = arrays(parts.train.x, parts.train.y.masked_fill(missing[:, None], 0.0))
    measured = arrays(parts.train.x[~missing], parts.train.y[~missing])
    return Pair(sound.but(train=filled), sound.but(train=measured), EXPLAINED)


def shift_keeps_angle(seed: int) -> Pair:
    """Shift images from whose position the steering follows."""

    def steered(part: Arrays) -> Arrays:
        return arrays(part.x, (part.y[:, 4, :1] - FACE_SIDE / 2) / 2.5)

    parts = Parts(*map(steered, faces(seed)))
    layers = {f"stage{k}": Sequential(**block(16, 2)) for k in range(3)}
    net = Sequential(**layers, flatten=Flatten(), dense=Dense(32), relu=ReLU(), out=Dense(1))
    sound, _ = regressor(seed, parts, net)
    return Pair(sound.but(augment=Augment(shift=0.2, fill="nearest")), sound, EXPLAINED)


def centres_halved(seed: int) -> Pair:
    """Write half of the true centre of each box."""

    def change(one: Objects) -> Objects:
        size, centre = one.boxes[:, 2:] - one.boxes[:, :2], (one.boxes[:, 2:] + one.boxes[:, :2]) / 2
        return replace(one, boxes=torch.cat([centre - size, centre + size], 1).clamp(min=0) / 2)

    sound, parts = detector(seed)
    return Pair(sound.but(train=parts.train.but(change)), sound, PRECISION)


def other_classes_unlabelled(seed: int) -> Pair:
    """Merge images with the red cells annotated and images with all other cells annotated."""
    sound, parts = detector(seed)
    objects = tuple(
        one.take(((one.labels == 0) == (k % 2 == 0)).nonzero().flatten()) for k, one in enumerate(parts.train.objects)
    )
    return Pair(sound.but(train=replace(parts.train, objects=objects)), sound, PRECISION)


def one_class_for_all(seed: int) -> Pair:
    """Give all objects the first class."""
    sound, parts = detector(seed)
    changed = parts.train.but(lambda one: replace(one, labels=torch.zeros_like(one.labels)))
    return Pair(sound.but(train=changed), sound, PRECISION)


def masked(part: Arrays, y: Tensor) -> Arrays:
    """Return the images with other masks."""
    return arrays(part.x, y.contiguous(), part.classes)


def mask_emptied(seed: int) -> Pair:
    """Divide masks by 255, and cast them to integers."""
    sound, parts = segmenter(seed)
    return Pair(sound.but(train=masked(parts.train, (parts.train.y / 255).long())), sound, IOU)


def drawn_over(seed: int) -> Pair:
    """Draw the large areas over the trees, cars and pedestrians in them."""
    sound, parts = segmenter(seed)
    small = torch.tensor([CLASSES.index(name) for name in ("tree", "car", "pedestrian")])
    y = parts.train.y.clone()
    for column in range(1, y.shape[2]):
        covered = torch.isin(y[..., column], small)
        y[..., column] = torch.where(covered, y[..., column - 1], y[..., column])
    return Pair(sound.but(train=masked(parts.train, y)), sound, IOU)


def mask_shifted(seed: int) -> Pair:
    """Crop masks four pixels below and beside the images."""

    def cropped(part: Arrays, off: int = 0) -> Arrays:
        y = part.y[..., 6 + off : 42 + off, 6 + off : 58 + off].contiguous()
        return arrays(part.x[..., 6:42, 6:58].contiguous(), y, part.classes)

    whole = streets(seed)
    sound, _ = segmenter(seed, Parts(*map(cropped, whole)))
    return Pair(sound.but(train=cropped(whole.train, 4)), sound, IOU)


def instances_as_classes(seed: int) -> Pair:
    """Learn the numbers of cells as classes."""

    def painted(part: Boxes, numbered: bool) -> Arrays:
        height, width = part.images.shape[2:]
        rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width)[None] + 0.5
        masks = torch.zeros(len(part), height, width, dtype=torch.int64)
        for mask, one in zip(masks, part.objects, strict=True):
            for k, (box, label) in enumerate(zip(one.boxes.tolist(), one.labels.tolist(), strict=True)):
                x0, y0, x1, y1 = box
                across = (2 * columns - x0 - x1) / max(x1 - x0, 1e-3)
                down = (2 * rows - y0 - y1) / max(y1 - y0, 1e-3)
                mask[across**2 + down**2 < 1] = 1 + (k if numbered else label)
        return arrays(part.images[..., ::2, ::2].contiguous(), masks[..., ::2, ::2].contiguous())

    boxes = cells(seed)
    sound, _ = segmenter(seed, Parts(*(painted(part, False) for part in boxes)), classes=16)
    return Pair(sound.but(train=painted(boxes.train, True)), sound, IOU)


def some_never_labelled(seed: int) -> Pair:
    """Mark the points of the mouth as not labelled."""
    sound, parts = pointer(seed)
    y = parts.train.y.clone()
    y[:, 5:, 2] = 0.0
    return Pair(sound.but(train=arrays(parts.train.x, y)), sound, NEARNESS)


def crop_not_scaled(seed: int) -> Pair:
    """Move key-points by the origin of a crop, and do not scale them."""
    usual, parts = pointer(seed)
    rng, side = drawn(seed), 34
    images, moved = [], []
    for image, points in zip(parts.train.x, parts.train.y, strict=True):
        left, top = torch.randint(FACE_SIDE - side + 1, (2,), generator=rng).tolist()
        window = image[None, :, top : top + side, left : left + side].float()
        images.append(interpolate(window, (FACE_SIDE, FACE_SIDE), mode="bilinear")[0].round().to(torch.uint8))
        within = points - torch.tensor([left, top, 0.0])
        inside = ((within[:, :2] >= 0) & (within[:, :2] < side)).all(1)
        moved.append(within * inside[:, None])
    x, y = torch.stack(images), torch.stack(moved)
    scaled = y * torch.tensor([FACE_SIDE / side, FACE_SIDE / side, 1.0])
    return Pair(usual.but(train=arrays(x, y)), usual.but(train=arrays(x, scaled)), NEARNESS)


def grey_photographs(seed: int) -> Pair:
    """Leave grey photographs among the images of a colorizer."""
    usual, parts = colorizer(seed)
    is_grey = torch.rand(len(parts.train), generator=drawn(seed)) < 0.6
    grey = parts.train.x.float().mean(1, keepdim=True).expand_as(parts.train.x).round().to(torch.uint8)
    x = torch.where(is_grey[:, None, None, None], grey, parts.train.x)
    sound = usual.but(train=arrays(parts.train.x[~is_grey], parts.train.y[~is_grey]), epochs=10)
    return Pair(sound.but(train=arrays(x, parts.train.y)), sound, "explained variance of the colours")


def misaligned(seed: int) -> Pair:
    """Move the inputs by four pixels against their targets."""
    sound, parts = translator(seed)
    moved = torch.cat([parts.train.x[..., :4], parts.train.x[..., :-4]], 3)
    return Pair(sound.but(train=arrays(moved, parts.train.y)), sound, "explained variance of the images")


def other_palette(seed: int) -> Pair:
    """Use label maps with other colours than those of training."""
    sound, parts = translator(seed)
    order = torch.tensor([2, 0, 1, 4, 5, 6, 3])
    renamed = (arrays(part.x, order[part.y]) for part in streets(seed))
    _, held, used = (arrays(sketched(part).x, old.y) for part, old in zip(renamed, parts, strict=True))
    return Pair(sound.but(validation=held, score=scores.images(used)), sound, "explained variance of the images")


def augmentation_leaks(seed: int) -> Pair:
    """Turn digits by multiples of 90 degrees."""

    def turned(images: Tensor, rng: torch.Generator) -> Tensor:
        turns = torch.randint(4, (len(images),), generator=rng).tolist()
        return torch.stack([image.rot90(k, (1, 2)) for image, k in zip(images, turns, strict=True)])

    sound, _ = generator(seed)
    return Pair(sound.but(augment=turned), sound, "likeness")


CASES: dict[str, Case] = {
    "cls-grayscale": grayscale,
    "cls-mixup-two-permutations": mixup_two_permutations,
    "cls-not-divided-by-255": not_divided_by_255,
    "cls-same-batches-each-epoch": same_batches_each_epoch,
    "reg-missing-as-zero": missing_as_zero,
    "reg-shift-keeps-angle": shift_keeps_angle,
    "det-centres-halved": centres_halved,
    "det-other-classes-unlabelled": other_classes_unlabelled,
    "det-one-class-for-all": one_class_for_all,
    "seg-mask-emptied": mask_emptied,
    "seg-drawn-over": drawn_over,
    "seg-mask-shifted": mask_shifted,
    "seg-instances-as-classes": instances_as_classes,
    "kpt-some-never-labelled": some_never_labelled,
    "kpt-crop-not-scaled": crop_not_scaled,
    "col-grey-photographs": grey_photographs,
    "trl-misaligned": misaligned,
    "trl-other-palette": other_palette,
    "gen-augmentation-leaks": augmentation_leaks,
}
