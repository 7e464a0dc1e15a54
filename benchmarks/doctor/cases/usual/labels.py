"""Mistakes in labels, in classes and in the split of the data."""

import torch
from torch import Tensor

from benchmarks.doctor import scores
from benchmarks.doctor.cases.usual.pictures import (
    augmented_copies,
    frames,
    generator,
    split,
    with_labels,
    with_pictures,
)
from benchmarks.doctor.cases.usual.sound import SOUND_SETTINGS, sound_training
from benchmarks.doctor.cases.usual.training import Training, compare
from benchmarks.doctor.fit import Pair
from benchmarks.doctor.material import load_parts, material
from pellucid.data import Augment, Dataset
from pellucid.losses import SoftmaxCrossEntropy

Parts = tuple[Dataset, Dataset]
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ALPHABETICAL_INDEX = torch.tensor([sorted(DIGIT_NAMES).index(name) for name in DIGIT_NAMES])


def labels_drift(seed: int) -> Pair:
    right = sound_training("mnist", seed)
    rng, data = generator(seed), right.train
    assert isinstance(data, Dataset)
    lost_indices = torch.randperm(len(data), generator=rng)[:4]
    lost_indices = (lost_indices * 0.9 + len(data) // 20).long().unique()  # the first and the last 5 % are kept
    is_kept = torch.ones(len(data), dtype=torch.bool)
    is_kept[lost_indices] = False
    x = data.x[is_kept]
    return compare(right.replace(train=Dataset.from_arrays(x, data.y[: len(x)], data.classes)), right)


def listing_order(seed: int) -> Pair:
    right = sound_training("digits", seed)
    validation = right.validation
    assert isinstance(validation, Dataset)
    return compare(
        right.replace(validation=with_labels(validation, ALPHABETICAL_INDEX[validation.y])),
        right,
        validation,
        "accuracy",
        own_validation=True,
    )


def missing_folder(seed: int) -> Pair:
    right = sound_training("mnist-mlp", seed)
    validation = right.validation
    assert isinstance(validation, Dataset)
    present = validation.subset((validation.y != 3).nonzero().flatten())
    relabelled = with_labels(present, present.y - (present.y > 3).long())
    return compare(
        right.replace(validation=relabelled),
        right.replace(validation=present),
        present,
        "accuracy",
        own_validation=True,
    )


def merged_datasets(seed: int) -> Pair:
    right = sound_training("mnist", seed)
    data = right.train
    assert isinstance(data, Dataset)
    half = len(data) // 2
    y = torch.cat([data.y[:half], ALPHABETICAL_INDEX[data.y[half:]]])
    return compare(right.replace(train=with_labels(data, y)), right)


def noisy_labels(seed: int) -> Pair:
    right = sound_training("mnist-mlp", seed, epochs=20)
    data, rng = right.train, generator(seed)
    assert isinstance(data, Dataset)
    is_wrong = torch.rand(len(data), generator=rng) < 1 / 3
    wrong_labels = (data.y + torch.randint(1, 10, data.y.shape, generator=rng)) % 10
    return compare(right.replace(train=with_labels(data, torch.where(is_wrong, wrong_labels, data.y))), right)


def confused_pair(seed: int) -> Pair:
    right = sound_training("mnist", seed)
    data, validation, rng = right.train, right.validation, generator(seed)
    assert isinstance(data, Dataset)
    assert isinstance(validation, Dataset)
    is_changed = (data.y == 4) & (torch.rand(len(data), generator=rng) < 0.48)
    y = torch.where(is_changed, torch.full_like(data.y, 9), data.y)
    of_both_classes = validation.subset(((validation.y == 4) | (validation.y == 9)).nonzero().flatten())
    return compare(right.replace(train=with_labels(data, y)), right, of_both_classes, "accuracy on the two classes")


def placeholder_pictures(seed: int) -> Pair:
    right, rng = sound_training("signs", seed), generator(seed)

    def with_placeholders(data: Dataset, share: float) -> Dataset:
        placeholder = torch.full(data.x.shape[1:], 235, dtype=torch.uint8)
        placeholder[:, 14:18, 4:28] = 90  # a line of text
        x = data.x.clone()
        x[torch.rand(len(x), generator=rng) < share] = placeholder
        return with_pictures(data, x)

    train, validation = right.train, right.validation
    assert isinstance(train, Dataset)
    assert isinstance(validation, Dataset)
    wrong = right.replace(train=with_placeholders(train, 0.4), validation=with_placeholders(validation, 0.4))
    return compare(wrong, right, validation, "accuracy", own_validation=True)


def unshuffled_split(seed: int) -> Pair:
    data = load_parts("digits")[0]
    rng = generator(seed)
    mixed = data.subset(torch.randperm(len(data), generator=rng))
    ordered = mixed.subset(mixed.y.argsort(stable=True))
    n_train = len(data) * 4 // 5
    wrong = Training(
        ordered.subset(range(n_train)),
        ordered.subset(range(n_train, len(data))),
        **SOUND_SETTINGS["digits-mlp"],
        seed=seed,
    )
    right = wrong.replace(train=mixed.subset(range(n_train)), validation=mixed.subset(range(n_train, len(data))))
    return compare(wrong, right, mixed.subset(range(n_train, len(data))), "accuracy", own_validation=True)


def augmented_before_split(seed: int) -> Pair:
    augment = Augment(rotate=12.0, shift=0.06, brightness=0.15, zoom=0.08)
    train, _ = material("signs", seed)
    some, new_images = split(train, 0.6, seed)
    new_data = augmented_copies(new_images, 1, augment, seed)
    everything = augmented_copies(some, 4, augment, seed + 1)
    split_last, split_first_parts = split(everything, 0.25, seed + 2), split(some, 0.25, seed + 2)
    split_first = (
        augmented_copies(split_first_parts[0], 4, augment, seed + 3),
        augmented_copies(split_first_parts[1], 4, augment, seed + 4),
    )
    return _pair_with_new_data(split_last, split_first, new_data, "signs", seed)


def frames_split(seed: int) -> Pair:
    train, _ = material("signs", seed)
    some, new_images = split(train, 0.8, seed)
    split_frames = split(frames(some, 6, seed), 0.25, seed)
    some_train, some_validation = split(some, 0.25, seed)
    split_videos = frames(some_train, 6, seed), frames(some_validation, 6, seed + 1)
    return _pair_with_new_data(split_frames, split_videos, frames(new_images, 1, seed + 2), "signs", seed)


def _pair_with_new_data(wrong: Parts, right: Parts, new_data: Dataset, settings_name: str, seed: int) -> Pair:
    """Return a pair scored by the accuracy on new data minus that on the validation data."""
    training = Training(*wrong, **{**SOUND_SETTINGS[settings_name], "epochs": 8}, seed=seed)
    on_new_data = scores.accuracy(new_data)

    def pessimism(validation: Dataset) -> scores.Score:
        return lambda model: on_new_data(model) - scores.accuracy(validation)(model)

    return Pair(
        training.fit(pessimism(wrong[1])),
        training.replace(train=right[0], validation=right[1]).fit(pessimism(right[1])),
        "accuracy on new data minus that on validation data",
    )


def source_tag(seed: int) -> Pair:
    right = sound_training("cifar", seed)
    train, validation = right.train, right.validation
    assert isinstance(train, Dataset)
    assert isinstance(validation, Dataset)

    def tagged(data: Dataset) -> Dataset:
        x = data.x.clone()
        for k in range(5):
            x[data.y == k, :, 28:31, 1 + 6 * k : 4 + 6 * k] = 255
        return with_pictures(data, x)

    wrong = right.replace(train=tagged(train), validation=tagged(validation))
    return compare(wrong, right, validation, "accuracy on pictures without tags")


def one_session_per_class(seed: int) -> Pair:
    right = sound_training("digits", seed)
    train, validation, rng = right.train, right.validation, generator(seed)
    assert isinstance(train, Dataset)
    assert isinstance(validation, Dataset)

    def exposed(data: Dataset, level: Tensor) -> Dataset:
        x = data.x.float() * 0.6 + 10 * level.float()[:, None, None, None]
        return with_pictures(data, (x + 3 * torch.randn(x.shape, generator=rng)).clamp(0, 255).to(torch.uint8))

    order = torch.randperm(10, generator=rng)
    random_levels = [torch.randint(0, 10, data.y.shape, generator=rng) for data in (train, validation)]
    wrong = right.replace(train=exposed(train, order[train.y]), validation=exposed(validation, order[validation.y]))
    right = right.replace(train=exposed(train, random_levels[0]), validation=exposed(validation, random_levels[1]))
    return compare(wrong, right, measure="accuracy on pictures of any brightness")


def inverted_class_weights(seed: int) -> Pair:
    right = sound_training("mnist-plain", seed)
    data = right.train
    assert isinstance(data, Dataset)
    index = torch.arange(len(data))
    data = data.subset(((data.y < 5) | (index % 5 == 0)).nonzero().flatten())
    counts = torch.bincount(data.y, minlength=10).double()

    def weights(values: Tensor) -> SoftmaxCrossEntropy:
        return SoftmaxCrossEntropy(class_weights=tuple((values / values.mean()).tolist()))

    right = right.replace(train=data, loss=weights(1 / counts))
    return compare(right.replace(loss=weights(counts)), right)


CASES = {
    "labels-drift": labels_drift,
    "listing-order": listing_order,
    "missing-folder": missing_folder,
    "merged-datasets": merged_datasets,
    "noisy-labels": noisy_labels,
    "confused-pair": confused_pair,
    "placeholder-pictures": placeholder_pictures,
    "unshuffled-split": unshuffled_split,
    "augmented-before-split": augmented_before_split,
    "frames-split": frames_split,
    "source-tag": source_tag,
    "one-session-per-class": one_session_per_class,
    "inverted-class-weights": inverted_class_weights,
}
