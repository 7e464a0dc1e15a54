"""Mistakes in pixel values, in augmentation and in the order of the examples."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.doctor.cases.usual.pictures import generator, with_pictures
from benchmarks.doctor.cases.usual.sound import sound_training
from benchmarks.doctor.cases.usual.training import Training, compare
from benchmarks.doctor.fit import Pair
from pellucid.data import Augment, Dataset, float_images


def _parts(training: Training) -> tuple[Dataset, Dataset]:
    """Return the training and validation data of a training on images."""
    assert isinstance(training.train, Dataset)
    assert isinstance(training.validation, Dataset)
    return training.train, training.validation


def _with_changed_pictures(
    training: Training, change_train: Callable[[Tensor], Tensor], change_validation: Callable[[Tensor], Tensor]
) -> Training:
    """Return the training with changed images, without standardisation."""
    first, second = _parts(training)
    return training.replace(
        train=with_pictures(first, change_train(first.x)),
        validation=with_pictures(second, change_validation(second.x)),
        scale=False,
    )


def cast_to_integers(seed: int) -> Pair:
    right = sound_training("mnist-mlp", seed)

    def cast(x: Tensor) -> Tensor:
        return float_images(x).int().float()

    wrong = _with_changed_pictures(right, cast, cast)
    return compare(wrong, right, _parts(right)[1], "accuracy", own_validation=True)


def integer_wraparound(seed: int) -> Pair:
    right = sound_training("signs", seed)

    def wrapped(x: Tensor) -> Tensor:
        return ((x.int() - 128) % 256).float() / 128

    def subtracted(x: Tensor) -> Tensor:
        return (x.float() - 128) / 128

    return compare(
        _with_changed_pictures(right, wrapped, subtracted), _with_changed_pictures(right, subtracted, subtracted)
    )


def pixelwise_deviation(seed: int) -> Pair:
    right = sound_training("mnist", seed, epochs=15)
    right = right.replace(train=_parts(right)[0].subset(range(250)))
    first = float_images(_parts(right)[0].x)
    mean, deviation = first.mean(0), first.std(0) + 1e-7  # above 0, as Keras's ImageDataGenerator keeps it

    def divided(x: Tensor) -> Tensor:
        return (float_images(x) - mean) / deviation

    return compare(
        _with_changed_pictures(right, divided, divided), right, _parts(right)[1], "accuracy", own_validation=True
    )


def reshape_for_transpose(seed: int) -> Pair:
    right = sound_training("signs", seed)

    def reshaped(x: Tensor) -> Tensor:
        return float_images(x.permute(0, 2, 3, 1).reshape(x.shape))

    wrong = _with_changed_pictures(right, reshaped, reshaped).replace(scale=True)
    return compare(wrong, right, _parts(right)[1], "accuracy", own_validation=True)


def clamped_after_normalising(seed: int) -> Pair:
    right = sound_training("signs", seed)
    first = float_images(_parts(right)[0].x)
    mean, deviation = first.mean((0, 2, 3), keepdim=True), first.std((0, 2, 3), keepdim=True)

    def normalised(x: Tensor) -> Tensor:
        return (float_images(x) - mean) / deviation

    wrong = _with_changed_pictures(right, lambda x: normalised(x).clamp(0, 1), normalised)
    return compare(wrong, _with_changed_pictures(right, normalised, normalised))


def flips_of_left_and_right(seed: int) -> Pair:
    right = sound_training("arrows", seed)
    return compare(right.replace(augment=Augment(flip=True)), right)


def too_much_augmentation(seed: int) -> Pair:
    right = sound_training("digits", seed)
    strong = Augment(rotate=90.0, shift=0.4, zoom=0.7, shear=40.0, brightness=0.9, contrast=0.9, cutout=5)

    def augment(x: Tensor, rng: torch.Generator) -> Tensor:
        return strong(x, rng) + 0.8 * torch.randn(x.shape, generator=rng)

    return compare(right.replace(augment=augment), right)


def sorted_not_shuffled(seed: int) -> Pair:
    right = sound_training("digits-mlp", seed, epochs=6)
    data = _parts(right)[0]
    ordered = data.subset(data.y.argsort(stable=True))
    batches = [ordered.subset(indices) for indices in torch.arange(len(ordered)).split(32)]
    return compare(right.replace(train=ordered, rounds=lambda epoch: batches), right)


def one_class_batches(seed: int) -> Pair:
    right = sound_training("digits", seed, epochs=6)
    data = _parts(right)[0]
    batches = [
        data.subset(indices)
        for k in range(10)
        for indices in (data.y == k).nonzero().flatten().split(32)
        if len(indices) > 1
    ]

    def rounds(epoch: int) -> list[Dataset]:
        order = torch.randperm(len(batches), generator=generator(seed + epoch))
        return [batches[index] for index in order.tolist()]

    return compare(right.replace(rounds=rounds), right)


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
