"""Faults of the data: labels, inputs, preprocessing, class frequencies, and leakage between the parts."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.doctor.fault import Fault
from benchmarks.doctor.faults.ways import Make, alter_trained, train_with, trainable_tensors
from benchmarks.doctor.settings import SETTINGS, Setting
from pellucid.data import Dataset, FeatureStats
from pellucid.data.dataset import float_images
from pellucid.doctor import Case, case_of
from pellucid.model import Model

Alter = Callable[[Dataset, torch.Generator], Dataset]

SETTING_NAMES = tuple(setting.name for setting in SETTINGS)
ONLY_SIGNS = tuple(name for name in SETTING_NAMES if name.startswith("signs")), "only signs have colours"
NO_SIGNS = (
    tuple(name for name in SETTING_NAMES if not name.startswith("signs")),
    "signs lie in the order of their classes, so that a neighbour's label is nearly always right",
)


def _train_on(alter: Alter, *parts: str, **changes: object) -> Make:
    """Return a function that trains with `alter` applied to some parts of the data, and `changes` to the setting."""

    def make(setting: Setting) -> Case:
        def change(data: Dataset, part: str) -> Dataset:
            rng = torch.Generator().manual_seed(setting.seed)
            return alter(data, rng) if part in parts else data

        return train_with(change=change, **changes)(setting)

    return make


def _train_on_raw(alter: Alter, *parts: str) -> Make:
    """Return the same as `_train_on`, with a model that does not standardise its inputs."""
    return _train_on(alter, *parts, model={"preprocess": {}})


def _inputs(change: Callable[[Tensor], Tensor]) -> Alter:
    """Return a function that replaces the inputs by `change` of the inputs as floats."""
    return lambda data, rng: replace(data, x=change(float_images(data.x)).contiguous())


def _labels(change: Callable[[Tensor, torch.Generator], Tensor]) -> Alter:
    return lambda data, rng: replace(data, y=change(data.y, rng))


def _random_indices(n: int, share: float, rng: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=rng)[: round(n * share)]


# Labels


def _shuffle(share: float) -> Alter:
    def change(y: Tensor, rng: torch.Generator) -> Tensor:
        y, indices = y.clone(), _random_indices(len(y), share, rng)
        y[indices] = y[indices[torch.randperm(len(indices), generator=rng)]]
        return y

    return _labels(change)


def _swap_two(y: Tensor, rng: torch.Generator) -> Tensor:
    a, b = torch.randperm(10, generator=rng)[:2].tolist()
    order = torch.arange(10)
    order[a], order[b] = b, a
    return order[y]


def _permute(y: Tensor, rng: torch.Generator) -> Tensor:
    order = torch.randperm(10, generator=rng)
    return (order if not torch.equal(order, torch.arange(10)) else order.roll(1))[y]


def _shift(offset: int) -> Alter:
    return _labels(lambda y, rng: (y + offset) % 10)


def _decrease(y: Tensor, rng: torch.Generator) -> Tensor:
    return (y - 1).clamp_min(0)


LABELS = (
    Fault("shuffled-labels", "all training labels shuffled", _train_on(_shuffle(1.0), "train")),
    Fault("shuffled-labels", "all labels shuffled", _train_on(_shuffle(1.0), "train", "validation")),
    Fault("shuffled-labels", "validation labels shuffled", _train_on(_shuffle(1.0), "validation")),
    Fault("shuffled-labels", "half of the training labels shuffled", _train_on(_shuffle(0.5), "train")),
    Fault(
        "shuffled-labels",
        "labels one row late",
        _train_on(_labels(lambda y, rng: y.roll(1)), "train", "validation"),
        *NO_SIGNS,
    ),
    Fault(
        "shuffled-labels",
        "training labels 16 rows late",
        _train_on(_labels(lambda y, rng: y.roll(16)), "train"),
        *NO_SIGNS,
    ),
    Fault("shifted-labels", "validation labels count from one", _train_on(_shift(1), "validation")),
    Fault("shifted-labels", "training labels off by one", _train_on(_shift(-1), "train")),
    Fault("shifted-labels", "validation labels one less, at least 0", _train_on(_labels(_decrease), "validation")),
    Fault("shifted-labels", "two classes swapped in validation", _train_on(_labels(_swap_two), "validation")),
    Fault("shifted-labels", "two classes swapped in training", _train_on(_labels(_swap_two), "train")),
    Fault("shifted-labels", "validation classes in another order", _train_on(_labels(_permute), "validation")),
)


# Inputs


def _blank_some(data: Dataset, rng: torch.Generator) -> Dataset:
    x = data.x.clone()
    x[_random_indices(len(x), 0.3, rng)] = 0
    return replace(data, x=x)


def _blank_blue(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 2] = 0
    return x


def _triplicate(data: Dataset, rng: torch.Generator) -> Dataset:
    indices = _random_indices(len(data), 1 / 3, rng).repeat(3)
    return data.subset(indices[torch.randperm(len(indices), generator=rng)])


def _append_copies(share: float, other_labels: bool = False) -> Alter:
    def alter(data: Dataset, rng: torch.Generator) -> Dataset:
        indices = _random_indices(len(data), share, rng)
        y = data.y[indices]
        if other_labels:
            y = (y + torch.randint(1, 10, y.shape, generator=rng)) % 10
        return replace(data, x=torch.cat([data.x, data.x[indices]]), y=torch.cat([data.y, y]))

    return alter


def _one_channel_in_bytes(x: Tensor) -> Tensor:
    return x * torch.tensor([255.0, 1.0, 1.0])[:, None, None]


PARTS = ("train", "validation")
INPUTS = (
    Fault("constant-inputs", "all inputs black", _train_on(_inputs(torch.zeros_like), *PARTS)),
    Fault("constant-inputs", "three in ten training inputs black", _train_on(_blank_some, "train")),
    Fault("constant-inputs", "a channel lost", _train_on(_inputs(_blank_blue), *PARTS), *ONLY_SIGNS),
    Fault("duplicated-inputs", "a third of the examples, each three times", _train_on(_triplicate, "train")),
    Fault("duplicated-inputs", "a fifth of the examples twice", _train_on(_append_copies(0.2), "train")),
    Fault("duplicated-inputs", "copies with other labels", _train_on(_append_copies(0.08, True), "train")),
    Fault("unnormalised-inputs", "0 to 255", _train_on_raw(_inputs(lambda x: x * 255), *PARTS)),
    Fault(
        "unnormalised-inputs", "0 to 16, as scikit-learn has digits", _train_on_raw(_inputs(lambda x: x * 16), *PARTS)
    ),
    Fault("unnormalised-inputs", "divided by 255 twice", _train_on_raw(_inputs(lambda x: x / 255), *PARTS)),
    Fault("unnormalised-inputs", "100 to 101", _train_on_raw(_inputs(lambda x: x + 100), *PARTS)),
    Fault(
        "unnormalised-inputs",
        "one channel in bytes",
        _train_on_raw(_inputs(_one_channel_in_bytes), *PARTS),
        *ONLY_SIGNS,
    ),
)


# Preprocessing


def _standardise_apart(change_validation: Callable[[Tensor, FeatureStats], Tensor]) -> Make:
    """Return a function that trains on standardised inputs, with `change_validation` of the validation inputs."""

    def make(setting: Setting) -> Case:
        train_stats: list[FeatureStats] = []

        def change(data: Dataset, part: str) -> Dataset:
            if part == "train":
                train_stats[:] = [FeatureStats.fit(data.x)]
                return replace(data, x=train_stats[0].apply(data.x))
            return replace(data, x=change_validation(float_images(data.x), train_stats[0]).contiguous())

        return setting.replace(change=change, model={"preprocess": {}}).train()

    return make


MISMATCHES = (
    Fault("preprocessing-mismatch", "validation 0 to 255", _train_on(_inputs(lambda x: x * 255), "validation")),
    Fault("preprocessing-mismatch", "validation divided twice", _train_on(_inputs(lambda x: x / 255), "validation")),
    Fault("preprocessing-mismatch", "validation not standardised", _standardise_apart(lambda x, stats: x)),
    Fault(
        "preprocessing-mismatch",
        "validation by ImageNet's mean",
        _standardise_apart(lambda x, stats: (x - 0.449) / 0.226),
    ),
    Fault("preprocessing-mismatch", "validation inverted", _train_on(_inputs(lambda x: 1 - x), "validation")),
    Fault(
        "preprocessing-mismatch", "validation BGR", _train_on(_inputs(lambda x: x.flip(1)), "validation"), *ONLY_SIGNS
    ),
    Fault(
        "preprocessing-mismatch", "validation transposed", _train_on(_inputs(lambda x: x.transpose(2, 3)), "validation")
    ),
    Fault(
        "preprocessing-mismatch",
        "validation on its side",
        _train_on(_inputs(lambda x: x.rot90(1, (2, 3))), "validation"),
    ),
)


# Classes


def _keep_shares(keep: Callable[[int], float]) -> Alter:
    """Return a function that keeps the fraction `keep(rank)` of each class, with the classes ranked at random."""

    def alter(data: Dataset, rng: torch.Generator) -> Dataset:
        order = torch.randperm(10, generator=rng).tolist()
        index_lists: list[Tensor] = []
        for rank, label in enumerate(order):
            members = (data.y == label).nonzero().flatten()
            index_lists.append(members[: max(round(len(members) * keep(rank)), 0)])
        return data.subset(torch.cat(index_lists).sort().values)

    return alter


def _class_after_class(setting: Setting) -> Case:
    """Train on one class after the other, as without shuffling."""
    return _fit_in_turn(setting, [partial(_one_class, label) for label in range(10)])


def _one_class(label: int, data: Dataset) -> Dataset:
    return data.subset((data.y == label).nonzero().flatten())


def _mostly_zero_labels(setting: Setting) -> Case:
    """Train with 97 % of the labels replaced by 0, and return a case with the right labels."""

    def zero_labels(data: Dataset) -> Dataset:
        rng = torch.Generator().manual_seed(setting.seed)
        y = torch.zeros_like(data.y)
        right_indices = _random_indices(len(y), 0.03, rng)
        y[right_indices] = data.y[right_indices]
        return replace(data, y=y)

    return _fit_in_turn(setting, [zero_labels])


def _fit_in_turn(setting: Setting, selections: list[Callable[[Dataset], Dataset]]) -> Case:
    train, validation = setting.parts()
    model = setting.build(train)
    for select in selections:
        model.fit(select(train), epochs=setting.epochs, batch_size=setting.batch_size, verbose=False)
    return case_of(
        model, train, validation=validation, batch_size=setting.batch_size, epochs=setting.epochs,
        begin=lambda: setting.build(train),
    )  # fmt: skip


def _zero_last_weight(model: Model) -> None:
    """Set the weights of the last layer to 0, and keep its bias."""
    trainable_tensors(model)[-1].zero_()


CLASSES = (
    Fault(
        "class-imbalance",
        "one class has nine of ten",
        _train_on(_keep_shares(lambda k: 1.0 if k == 0 else 1 / 80), "train"),
    ),
    Fault("class-imbalance", "from 1 to 1/20, evenly", _train_on(_keep_shares(lambda k: 20 ** (-k / 9)), *PARTS)),
    Fault(
        "class-imbalance",
        "three classes of a twentieth",
        _train_on(_keep_shares(lambda k: 0.05 if k < 3 else 1.0), "train"),
    ),
    Fault("class-imbalance", "a class without examples", _train_on(_keep_shares(lambda k: float(k > 0)), "train")),
    Fault(
        "class-imbalance",
        "validation without two classes",
        _train_on(_keep_shares(lambda k: float(k > 1)), "validation"),
    ),
    Fault("examples-in-order", "class after class", _class_after_class),
    Fault("underfitting", "labels read as 0", _mostly_zero_labels),
    Fault("replaced-weights", "the last weights lost", alter_trained(_zero_last_weight)),
)


# Leakage


def _leak(share: float, change: Callable[[Tensor, torch.Generator], Tensor] = lambda x, rng: x) -> Make:
    """Return a function that replaces a share of the validation examples by slightly changed training examples."""

    def make(setting: Setting) -> Case:
        train_data: list[Dataset] = []

        def alter(data: Dataset, part: str) -> Dataset:
            if part == "train":
                train_data[:] = [data]
                return data
            rng = torch.Generator().manual_seed(setting.seed)
            validation_indices = _random_indices(len(data), share, rng)
            train_indices = torch.randperm(len(train_data[0]), generator=rng)[: len(validation_indices)]
            validation_indices = validation_indices[: len(train_indices)]
            x, y = data.x.clone(), data.y.clone()
            x[validation_indices], y[validation_indices] = (
                _to_uint8(change(float_images(train_data[0].x[train_indices]), rng)),
                train_data[0].y[train_indices],
            )
            return replace(data, x=x, y=y)

        return setting.replace(change=alter).train()

    return make


def _to_uint8(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def _add_noise(x: Tensor, rng: torch.Generator) -> Tensor:
    return x + 0.03 * torch.randn(x.shape, generator=rng)


def _shift_right(x: Tensor, rng: torch.Generator) -> Tensor:
    return F.pad(x, (1, 0, 0, 0), mode="replicate")[..., :-1]


def _enlarge(x: Tensor, rng: torch.Generator) -> Tensor:
    grid = F.affine_grid(torch.eye(2, 3)[None].expand(len(x), 2, 3) / 1.04, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


LEAKS = (
    Fault("leakage", "all of validation is training", _leak(1.0)),
    Fault("leakage", "a third of validation", _leak(1 / 3)),
    Fault("leakage", "3 % of validation", _leak(0.03)),
    Fault("leakage", "a third, with noise", _leak(1 / 3, _add_noise)),
    Fault("leakage", "a fifth, darker", _leak(0.2, lambda x, rng: 0.8 * x)),
    Fault("leakage", "a third, moved by a pixel", _leak(1 / 3, _shift_right)),
    Fault("leakage", "a third, 4 % larger", _leak(1 / 3, _enlarge)),
)

FAULTS: tuple[Fault, ...] = (*LABELS, *INPUTS, *MISMATCHES, *CLASSES, *LEAKS)
