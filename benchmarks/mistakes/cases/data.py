"""Mistakes in pixels, in augmentation and in the order of the examples."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.mistakes.cases.usual import usual
from benchmarks.mistakes.pictures import generator, pictured
from benchmarks.mistakes.training import Made, Training, compared, judged
from pellucid.data import Augment, Dataset, float_images


def _of(training: Training) -> tuple[Dataset, Dataset]:
    """Return both parts of a training on pictures."""
    assert isinstance(training.train, Dataset)
    assert isinstance(training.validation, Dataset)
    return training.train, training.validation


def _changed(training: Training, train: Callable[[Tensor], Tensor], held: Callable[[Tensor], Tensor]) -> Training:
    """Return the training on other pictures, which it does not standardise further."""
    first, second = _of(training)
    return training.but(train=pictured(first, train(first.x)), validation=pictured(second, held(second.x)), scale=False)


def cast_to_integers(seed: int) -> Made:
    right = usual("mnist-mlp", seed)

    def cast(x: Tensor) -> Tensor:
        return float_images(x).int().float()

    wrong = _changed(right, cast, cast)
    return judged(wrong, right, _of(right)[1], "accuracy", own=True)


def integer_wraparound(seed: int) -> Made:
    right = usual("signs", seed)

    def wrapped(x: Tensor) -> Tensor:
        return ((x.int() - 128) % 256).float() / 128

    def subtracted(x: Tensor) -> Tensor:
        return (x.float() - 128) / 128

    return compared(_changed(right, wrapped, subtracted), _changed(right, subtracted, subtracted))


def pixelwise_deviation(seed: int) -> Made:
    right = usual("mnist", seed, epochs=15)
    right = right.but(train=_of(right)[0].subset(range(250)))
    first = float_images(_of(right)[0].x)
    mean, deviation = first.mean(0), first.std(0) + 1e-7  # as Keras keeps it above 0

    def divided(x: Tensor) -> Tensor:
        return (float_images(x) - mean) / deviation

    return judged(_changed(right, divided, divided), right, _of(right)[1], "accuracy", own=True)


def reshape_for_transpose(seed: int) -> Made:
    right = usual("signs", seed)

    def reshaped(x: Tensor) -> Tensor:
        return float_images(x.permute(0, 2, 3, 1).reshape(x.shape))

    wrong = _changed(right, reshaped, reshaped).but(scale=True)
    return judged(wrong, right, _of(right)[1], "accuracy", own=True)


def clamped_after_normalising(seed: int) -> Made:
    right = usual("signs", seed)
    first = float_images(_of(right)[0].x)
    mean, deviation = first.mean((0, 2, 3), keepdim=True), first.std((0, 2, 3), keepdim=True)

    def normalised(x: Tensor) -> Tensor:
        return (float_images(x) - mean) / deviation

    wrong = _changed(right, lambda x: normalised(x).clamp(0, 1), normalised)
    return compared(wrong, _changed(right, normalised, normalised))


def flips_of_left_and_right(seed: int) -> Made:
    right = usual("arrows", seed)
    return compared(right.but(augment=Augment(flip=True)), right)


def too_much_augmentation(seed: int) -> Made:
    right = usual("digits", seed)
    strong = Augment(rotate=90.0, shift=0.4, zoom=0.7, shear=40.0, brightness=0.9, contrast=0.9, cutout=5)

    def augment(x: Tensor, rng: torch.Generator) -> Tensor:
        return strong(x, rng) + 0.8 * torch.randn(x.shape, generator=rng)

    return compared(right.but(augment=augment), right)


def sorted_not_shuffled(seed: int) -> Made:
    right = usual("digits-mlp", seed, epochs=6)
    data = _of(right)[0]
    ordered = data.subset(data.y.argsort(stable=True))
    pieces = [ordered.subset(places) for places in torch.arange(len(ordered)).split(32)]
    return compared(right.but(train=ordered, rounds=lambda epoch: pieces), right)


def one_class_batches(seed: int) -> Made:
    right = usual("digits", seed, epochs=6)
    data = _of(right)[0]
    pieces = [
        data.subset(places)
        for k in range(10)
        for places in (data.y == k).nonzero().flatten().split(32)
        if len(places) > 1
    ]

    def rounds(epoch: int) -> list[Dataset]:
        order = torch.randperm(len(pieces), generator=generator(seed + epoch))
        return [pieces[place] for place in order.tolist()]

    return compared(right.but(rounds=rounds), right)


CASES = {
    "cast-to-integers": cast_to_integers,
    "integer-wraparound": integer_wraparound,
    "pixelwise-deviation": pixelwise_deviation,
    "reshape-for-transpose": reshape_for_transpose,
    "clamped-after-normalising": clamped_after_normalising,
    "flips-of-left-and-right": flips_of_left_and_right,
    "too-much-augmentation": too_much_augmentation,
    "sorted-not-shuffled": sorted_not_shuffled,
    "one-class-batches": one_class_batches,
}
