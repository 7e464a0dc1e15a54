"""Mistakes in classification."""

from collections.abc import Mapping

import torch
from torch.nn.functional import interpolate, pad

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import Parts, digits, relabelled, repictured, sided, tinted
from benchmarks.doctor.cases.unusual.parts import OwnAverage
from benchmarks.doctor.cases.unusual.sound import classifier, digit_net
from benchmarks.doctor.fit import Case, Pair
from pellucid.combine import Sequential
from pellucid.data import Augment, Dataset
from pellucid.layers import Dense, Dropout, Flatten, ReLU
from pellucid.optim.schedules import Step

MEASURE = "accuracy"


def validation_bgr(seed: int) -> Pair:
    """Read the images in use with red and blue exchanged."""
    sound, parts = classifier(seed, tinted(seed))
    swapped, used = (repictured(part, part.x.flip(1).contiguous()) for part in (parts.validation, parts.test))
    return Pair(sound.but(validation=swapped, score=scores.accuracy(used)), sound, MEASURE)


def schedule_per_batch(seed: int) -> Pair:
    """Halve the learning rate after each batch instead of each epoch."""
    wrong, _ = classifier(seed, schedule=Step(0.5, every=1, unit="steps"))
    sound, _ = classifier(seed, schedule=Step(0.5, every=1, unit="epochs"))
    return Pair(wrong, sound, MEASURE)


def labels_unsorted(seed: int) -> Pair:
    """Give the images the labels of other images."""
    sound, parts = classifier(seed)
    order = torch.randperm(len(parts.train), generator=torch.Generator().manual_seed(seed))
    return Pair(sound.but(train=relabelled(parts.train, parts.train.y[order])), sound, MEASURE)


def augmented_validation(seed: int) -> Pair:
    """Validate on images that are moved and turned at random."""
    sound, parts = classifier(seed)
    moved = Augment(rotate=40.0, shift=0.25, zoom=0.3)
    rng = torch.Generator().manual_seed(seed)
    held, used = (repictured(part, moved(part.x.float() / 255, rng)) for part in (parts.validation, parts.test))
    return Pair(sound.but(validation=held, score=scores.accuracy(used)), sound, MEASURE)


def flip_left_right(seed: int) -> Pair:
    """Mirror signs that point to the left or to the right."""
    sound, _ = classifier(seed, sided(seed))
    return Pair(sound.but(augment=Augment(flip=True)), sound, MEASURE)


def dropout_kept_for_dropped(seed: int) -> Pair:
    """Drop nine units of ten."""

    def net(rate: float) -> Sequential:
        layers = {f"dense{k}": Sequential(dense=Dense(48), relu=ReLU(), dropout=Dropout(rate)) for k in range(3)}
        return Sequential(flatten=Flatten(), **layers, out=Dense(10))

    wrong, _ = classifier(seed, net=net(0.9))
    sound, _ = classifier(seed, net=net(0.1))
    return Pair(wrong, sound, MEASURE)


def average_too_slow(seed: int) -> Pair:
    """Average the weights of 192 steps as those of hundreds of thousands."""
    sound, _ = classifier(seed, net=digit_net(norm=False))
    return Pair(sound.but(further={"callbacks": [OwnAverage(0.9999)]}), sound, MEASURE)


def validation_inverted(seed: int) -> Pair:
    """Read black digits on white where white ones on black were learned."""
    sound, parts = classifier(seed)
    held, used = (repictured(part, 255 - part.x) for part in (parts.validation, parts.test))
    return Pair(sound.but(validation=held, score=scores.accuracy(used)), sound, MEASURE)


def test_stretched(seed: int) -> Pair:
    """Squeeze wider pictures into the size of training."""

    def framed(part: Dataset) -> Dataset:
        return repictured(part, pad(part.x, (2, 2, 2, 2)))

    def squeezed(part: Dataset) -> Dataset:
        wide = pad(part.x, (8, 8, 2, 2)).float()
        return repictured(part, interpolate(wide, (12, 12), mode="area").round().to(torch.uint8))

    plain = digits(seed)
    sound, _ = classifier(seed, Parts(*map(framed, plain)))
    wrong = sound.but(validation=squeezed(plain.validation), score=scores.accuracy(squeezed(plain.test)))
    return Pair(wrong, sound, MEASURE)


def std_divided_by_255(seed: int) -> Pair:
    """Divide mean and deviation by 255 for images that are between 0 and 1 already."""
    right = {"mean": [0.305], "std": [0.376]}
    shrunk = {name: [value / 255 for value in values] for name, values in right.items()}
    wrong, _ = classifier(seed, net=digit_net(norm=False), preprocess=shrunk)
    sound, _ = classifier(seed, net=digit_net(norm=False), preprocess=right)
    return Pair(wrong, sound, MEASURE)


CASES: Mapping[str, Case] = {
    "cls-validation-bgr": validation_bgr,
    "cls-schedule-per-batch": schedule_per_batch,
    "cls-labels-unsorted": labels_unsorted,
    "cls-augmented-validation": augmented_validation,
    "cls-flip-left-right": flip_left_right,
    "cls-dropout-kept-for-dropped": dropout_kept_for_dropped,
    "cls-average-too-slow": average_too_slow,
    "cls-validation-inverted": validation_inverted,
    "cls-test-stretched": test_stretched,
    "cls-std-divided-by-255": std_divided_by_255,
}
