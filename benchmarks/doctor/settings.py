"""The trainings that faults are put into: three data sets, seven networks, each healthy as it stands."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from pellucid.combine import Sequential
from pellucid.data import Augment, Dataset, FeatureStats, data_root, load, load_splits
from pellucid.doctor import Case, case_of
from pellucid.errors import PellucidError
from pellucid.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU, Sigmoid, Tanh
from pellucid.layers.base import Layer
from pellucid.optim import SGD, Adam, Momentum, Optimizer
from pellucid.train.model import Model


@dataclass(frozen=True, eq=False)
class Setting:
    """One healthy training. net: makes the network, of some classes. seed: of weights, order and the data's split."""

    name: str
    data: str
    net: Callable[[int], Layer]
    optimizer: Optimizer
    epochs: int
    batch_size: int = 32
    loss: Any = "softmax_cross_entropy"
    seed: int = 0
    model: dict[str, Any] | None = None  # further arguments of Model
    augment: Augment | None = None
    change: Callable[[Dataset, str], Dataset] | None = None  # what a fault does to the data: (data, "train")

    def parts(self) -> tuple[Dataset, Dataset]:
        """Return the training and the validation data."""
        train, held = material(self.data, self.seed)
        if self.change is not None:
            train, held = self.change(train, "train"), self.change(held, "validation")
        return train, held

    def build(self, train: Dataset) -> Model:
        """Return the model before its first step."""
        stats = FeatureStats.fit(train.x)
        scaling = {"mean": stats.mean.flatten().tolist(), "std": stats.std.flatten().tolist()}
        options: dict[str, Any] = {"preprocess": scaling, **(self.model or {})}
        return Model(
            self.net(len(train.classes)), self.loss, self.optimizer, classes=train.classes, seed=self.seed,
            input_shape=tuple(train.x.shape[1:]), **options,
        )  # fmt: skip

    def train(self) -> Case:
        """Train, and return what the doctor is to examine."""
        train, held = self.parts()
        model, history, stopped = self.build(train), None, ""
        try:
            history = model.fit(
                train, epochs=self.epochs, batch_size=self.batch_size, validation=held, augment=self.augment,
                verbose=False,
            )  # fmt: skip
        except PellucidError as error:
            stopped = str(error)
        return case_of(
            model, train, validation=held, history=history, batch_size=self.batch_size, epochs=self.epochs,
            augment=self.augment, begin=lambda: self.build(train), stopped=stopped,
        )  # fmt: skip

    def but(self, **changes: Any) -> "Setting":
        """Return the setting with other values."""
        return replace(self, **changes)


@cache
def whole(name: str) -> tuple[Dataset, ...]:
    """Return a data set's parts: "digits" (one), "mnist" and "signs" (two)."""
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        return (Dataset.from_arrays((x.reshape(-1, 1, 8, 8) * 255 / 16).astype("uint8"), y, name="digits"),)
    parts = load_splits(data_root() / name, size=(32, 32)) if name == "signs" else load(name)
    return (parts.train, parts.test)


def material(name: str, seed: int) -> tuple[Dataset, Dataset]:
    """Return training and validation data drawn by the seed: of digits 1,297 and 500, MNIST 3,000 and 1,000."""
    parts = whole(name)
    if name == "signs":
        return parts[0], parts[1]
    draw = torch.randperm(len(parts[0]), generator=torch.Generator().manual_seed(seed))
    if name == "digits":
        return parts[0].subset(draw[500:]), parts[0].subset(draw[:500])
    return parts[0].subset(draw[:3000]), parts[0].subset(draw[3000:4000])


def _mlp(act: type[Layer], *sizes: int, dropout: float = 0.0) -> Callable[[int], Layer]:
    def build(classes: int) -> Layer:
        layers: list[Layer] = [Flatten()]
        for size in sizes:
            layers += [Dense(size), act(), *([Dropout(dropout)] if dropout else [])]
        return Sequential(*layers, Dense(classes))

    return build


def _conv(*filters: int, norm: bool = True, dropout: float = 0.0) -> Callable[[int], Layer]:
    def build(classes: int) -> Layer:
        layers: list[Layer] = []
        for count in filters:
            layers += [Conv2d(count, 3, padding=1), *([BatchNorm()] if norm else []), ReLU(), MaxPool2d(2)]
        return Sequential(*layers, Flatten(), *([Dropout(dropout)] if dropout else []), Dense(classes))

    return build


SETTINGS: tuple[Setting, ...] = (
    Setting("digits-sigmoid", "digits", _mlp(Sigmoid, 30), Momentum(0.1), 12, 16),
    Setting("digits-relu", "digits", _mlp(ReLU, 48, 48), Adam(2e-3), 10),
    Setting("digits-conv", "digits", _conv(16, 32), Momentum(0.02), 6),
    Setting("mnist-tanh", "mnist", _mlp(Tanh, 64), SGD(0.05), 12, 16),
    Setting("mnist-relu", "mnist", _mlp(ReLU, 96, 48, dropout=0.2), Adam(1e-3), 8),
    Setting("mnist-conv", "mnist", _conv(12, 24, norm=False), Momentum(0.005), 6),
    Setting("mnist-norm", "mnist", _conv(12, 24), Momentum(0.02), 5),
    Setting("signs-norm", "signs", _conv(16, 32, 48, dropout=0.3), Momentum(0.02), 10),
)
