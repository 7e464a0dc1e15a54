"""Mistakes in labels, in classes and in how data are split."""

import torch
from torch import Tensor

from benchmarks.mistakes.cases.usual import NETS, usual
from benchmarks.mistakes.pictures import (
    altered,
    digits,
    frames,
    generator,
    labelled,
    parts,
    pictured,
    split,
)
from benchmarks.mistakes.training import Made, Training, accuracy, compared, judged
from pellucid.data import Augment, Dataset
from pellucid.losses import SoftmaxCrossEntropy

Pair = tuple[Dataset, Dataset]
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
BY_ALPHABET = torch.tensor([sorted(NAMES).index(name) for name in NAMES])


def labels_drift(seed: int) -> Made:
    right = usual("mnist", seed)
    rng, data = generator(seed), right.train
    assert isinstance(data, Dataset)
    lost = torch.randperm(len(data), generator=rng)[:4]
    lost = (lost * 0.9 + len(data) // 20).long().unique()  # the first is lost early, but not at once
    kept = torch.ones(len(data), dtype=torch.bool)
    kept[lost] = False
    x = data.x[kept]
    return compared(right.but(train=Dataset.from_arrays(x, data.y[: len(x)], data.classes)), right)


def listing_order(seed: int) -> Made:
    right = usual("digits", seed)
    held = right.validation
    assert isinstance(held, Dataset)
    return judged(right.but(validation=labelled(held, BY_ALPHABET[held.y])), right, held, "accuracy", own=True)


def missing_folder(seed: int) -> Made:
    right = usual("mnist-mlp", seed)
    held = right.validation
    assert isinstance(held, Dataset)
    there = held.subset((held.y != 3).nonzero().flatten())
    moved = labelled(there, there.y - (there.y > 3).long())
    return judged(right.but(validation=moved), right.but(validation=there), there, "accuracy", own=True)


def merged_datasets(seed: int) -> Made:
    right = usual("mnist", seed)
    data = right.train
    assert isinstance(data, Dataset)
    half = len(data) // 2
    y = torch.cat([data.y[:half], BY_ALPHABET[data.y[half:]]])
    return compared(right.but(train=labelled(data, y)), right)


def noisy_labels(seed: int) -> Made:
    right = usual("mnist-mlp", seed, epochs=20)
    data, rng = right.train, generator(seed)
    assert isinstance(data, Dataset)
    wrong = torch.rand(len(data), generator=rng) < 1 / 3
    other = (data.y + torch.randint(1, 10, data.y.shape, generator=rng)) % 10
    return compared(right.but(train=labelled(data, torch.where(wrong, other, data.y))), right)


def confused_pair(seed: int) -> Made:
    right = usual("mnist", seed)
    data, held, rng = right.train, right.validation, generator(seed)
    assert isinstance(data, Dataset)
    assert isinstance(held, Dataset)
    taken = (data.y == 4) & (torch.rand(len(data), generator=rng) < 0.48)
    y = torch.where(taken, torch.full_like(data.y, 9), data.y)
    pair = held.subset(((held.y == 4) | (held.y == 9)).nonzero().flatten())
    return compared(right.but(train=labelled(data, y)), right, pair, "accuracy on the two classes")


def placeholder_pictures(seed: int) -> Made:
    right, rng = usual("signs", seed), generator(seed)

    def failed(data: Dataset, share: float) -> Dataset:
        notice = torch.full(data.x.shape[1:], 235, dtype=torch.uint8)
        notice[:, 14:18, 4:28] = 90  # a line of text
        x = data.x.clone()
        x[torch.rand(len(x), generator=rng) < share] = notice
        return pictured(data, x)

    train, held = right.train, right.validation
    assert isinstance(train, Dataset)
    assert isinstance(held, Dataset)
    wrong = right.but(train=failed(train, 0.4), validation=failed(held, 0.4))
    return judged(wrong, right, held, "accuracy", own=True)


def unshuffled_split(seed: int) -> Made:
    data = digits()
    rng = generator(seed)
    mixed = data.subset(torch.randperm(len(data), generator=rng))
    ordered = mixed.subset(mixed.y.argsort(stable=True))
    cut = len(data) * 4 // 5
    wrong = Training(ordered.subset(range(cut)), ordered.subset(range(cut, len(data))), **NETS["digits-mlp"], seed=seed)
    right = wrong.but(train=mixed.subset(range(cut)), validation=mixed.subset(range(cut, len(data))))
    return judged(wrong, right, mixed.subset(range(cut, len(data))), "accuracy", own=True)


def augmented_before_split(seed: int) -> Made:
    augment = Augment(rotate=12.0, shift=0.06, brightness=0.15, zoom=0.08)
    train, _ = parts("signs", seed)
    few, rest = split(train, 0.6, seed)
    new = altered(rest, 1, augment, seed)
    everything = altered(few, 4, augment, seed + 1)
    before, after = split(everything, 0.25, seed + 2), split(few, 0.25, seed + 2)
    apart = altered(after[0], 4, augment, seed + 3), altered(after[1], 4, augment, seed + 4)
    return _overestimate(before, apart, new, "signs", seed)


def frames_split(seed: int) -> Made:
    train, _ = parts("signs", seed)
    some, rest = split(train, 0.8, seed)
    together = split(frames(some, 6, seed), 0.25, seed)
    some_train, some_held = split(some, 0.25, seed)
    apart = frames(some_train, 6, seed), frames(some_held, 6, seed + 1)
    return _overestimate(together, apart, frames(rest, 1, seed + 2), "signs", seed)


def _overestimate(
    wrong: tuple[Dataset, Dataset], right: tuple[Dataset, Dataset], new: Dataset, net: str, seed: int
) -> Made:
    """Measure how much lower the accuracy on new data is than on the validation data."""
    first = Training(*wrong, **{**NETS[net], "epochs": 8}, seed=seed)
    case, sound = first.run(), first.but(train=right[0], validation=right[1]).run()
    scores = [
        accuracy(model, new) - accuracy(model, held)
        for model, held in ((case.model, wrong[1]), (sound.model, right[1]))
    ]
    return Made(case, *scores, "accuracy on new data minus that on validation data")


def source_tag(seed: int) -> Made:
    right = usual("cifar", seed)
    train, held = right.train, right.validation
    assert isinstance(train, Dataset)
    assert isinstance(held, Dataset)

    def tagged(data: Dataset) -> Dataset:
        x = data.x.clone()
        for k in range(5):
            x[data.y == k, :, 28:31, 1 + 6 * k : 4 + 6 * k] = 255
        return pictured(data, x)

    wrong = right.but(train=tagged(train), validation=tagged(held))
    return compared(wrong, right, held, "accuracy on pictures without tags")


def one_session_per_class(seed: int) -> Made:
    right = usual("digits", seed)
    train, held, rng = right.train, right.validation, generator(seed)
    assert isinstance(train, Dataset)
    assert isinstance(held, Dataset)

    def exposed(data: Dataset, level: Tensor) -> Dataset:
        x = data.x.float() * 0.6 + 10 * level.float()[:, None, None, None]
        return pictured(data, (x + 3 * torch.randn(x.shape, generator=rng)).clamp(0, 255).to(torch.uint8))

    order = torch.randperm(10, generator=rng)
    other = [torch.randint(0, 10, data.y.shape, generator=rng) for data in (train, held)]
    wrong = right.but(train=exposed(train, order[train.y]), validation=exposed(held, order[held.y]))
    right = right.but(train=exposed(train, other[0]), validation=exposed(held, other[1]))
    return compared(wrong, right, measure="accuracy on pictures of any brightness")


def inverted_class_weights(seed: int) -> Made:
    right = usual("mnist-plain", seed)
    data = right.train
    assert isinstance(data, Dataset)
    turn = torch.arange(len(data))
    data = data.subset(((data.y < 5) | (turn % 5 == 0)).nonzero().flatten())
    counts = torch.bincount(data.y, minlength=10).double()

    def weights(values: Tensor) -> SoftmaxCrossEntropy:
        return SoftmaxCrossEntropy(class_weights=tuple((values / values.mean()).tolist()))

    right = right.but(train=data, loss=weights(1 / counts), optimizer=right.optimizer, epochs=6)
    return compared(right.but(loss=weights(counts)), right)


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
