"""The settings: healthy trainings on three data sets, into which the faults are injected."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.doctor.material import material
from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data import Augment, Dataset, FeatureStats
from pellucid.doctor import Case, case_of
from pellucid.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU, Sigmoid, Tanh
from pellucid.layers.base import Layer
from pellucid.model import Model
from pellucid.optim import SGD, Adam, Momentum, Optimizer
from pellucid.run.described import scaling_entries


@dataclass(frozen=True, eq=False)
class Setting:
    """One healthy training. net: builds the network for a number of classes. seed: of weights, order and data split."""

    name: str
    data: str
    net: Callable[[int], Layer]
    optimizer: Optimizer
    epochs: int
    batch_size: int = 32
    loss: Any = "softmax_cross_entropy"
    seed: int = 0
    model: dict[str, Any] | None = None  # additional arguments of Model
    augment: Augment | None = None
    change: Callable[[Dataset, str], Dataset] | None = None  # a fault: (data, "train" or "validation")

    def parts(self) -> tuple[Dataset, Dataset]:
        """Return the training and the validation data."""
        train, validation = material(self.data, self.seed)
        if self.change is not None:
            train, validation = self.change(train, "train"), self.change(validation, "validation")
        return train, validation

    def build(self, train: Dataset) -> Model:
        """Return the model before its first step."""
        options: dict[str, Any] = {"preprocess": scaling_entries(FeatureStats.fit(train.x)), **(self.model or {})}
        return Model(
            self.net(len(train.classes)), self.loss, self.optimizer, classes=train.classes, seed=self.seed,
            input_shape=tuple(train.x.shape[1:]), **options,
        )  # fmt: skip

    def train(self) -> Case:
        """Train, and return the case that the doctor examines."""
        train, validation = self.parts()
        model, history, stopped = self.build(train), None, ""
        try:
            history = model.fit(
                train, epochs=self.epochs, batch_size=self.batch_size, validation=validation, augment=self.augment,
                verbose=False,
            )  # fmt: skip
        except PellucidError as error:
            stopped = error.with_traceback(None)
        return case_of(
            model, train, validation=validation, history=history, batch_size=self.batch_size, epochs=self.epochs,
            augment=self.augment, begin=lambda: self.build(train), stopped=stopped,
        )  # fmt: skip

    def replace(self, **changes: Any) -> "Setting":
        """Return the setting with some fields changed."""
        return replace(self, **changes)


def mlp(act: type[Layer], *sizes: int, dropout: float = 0.0) -> Callable[[int], Layer]:
    """Return a function that builds a multilayer perceptron for a number of classes. sizes: units of hidden layers."""

    def build(classes: int) -> Layer:
        layers: list[Layer] = [Flatten()]
        for size in sizes:
            layers += [Dense(size), act(), *([Dropout(dropout)] if dropout else [])]
        return Sequential(*layers, Dense(classes))

    return build


def conv(*filters: int, norm: bool = True, dropout: float = 0.0) -> Callable[[int], Layer]:
    """Return a function that builds a convolutional network for a number of classes; each layer halves the image."""

    def build(classes: int) -> Layer:
        layers: list[Layer] = []
        for count in filters:
            layers += [Conv2d(count, 3, padding=1), *([BatchNorm()] if norm else []), ReLU(), MaxPool2d(2)]
        return Sequential(*layers, Flatten(), *([Dropout(dropout)] if dropout else []), Dense(classes))

    return build


SETTINGS: tuple[Setting, ...] = (
    Setting("digits-sigmoid", "digits", mlp(Sigmoid, 30), Momentum(0.1), 12, 16),
    Setting("digits-relu", "digits", mlp(ReLU, 48, 48), Adam(2e-3), 10),
    Setting("digits-conv", "digits", conv(16, 32), Momentum(0.02), 6),
    Setting("mnist-tanh", "mnist", mlp(Tanh, 64), SGD(0.05), 12, 16),
    Setting("mnist-relu", "mnist", mlp(ReLU, 96, 48, dropout=0.2), Adam(1e-3), 8),
    Setting("mnist-conv", "mnist", conv(8, 16, norm=False), Momentum(0.005), 6),
    Setting("mnist-norm", "mnist", conv(8, 16), Momentum(0.02), 5),
    Setting("signs-norm", "signs", conv(16, 32, 48, dropout=0.3), Momentum(0.02), 10),
)
