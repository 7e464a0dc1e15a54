"""Healthy trainings of other kinds, without injected faults: the doctor should report nothing on these, either."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.doctor.material import friedman, rotated_digits
from benchmarks.doctor.settings import SETTINGS, Setting, conv, mlp
from pellucid.combine import Sequential
from pellucid.data import Augment, Dataset
from pellucid.data.source import Arrays
from pellucid.doctor import Case, case_of
from pellucid.doctor.passes import trainable_layers
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, Identity, MaxPool2d, ReLU
from pellucid.layers.base import Layer
from pellucid.model import Model
from pellucid.models.resnet import basic_body, residual_block
from pellucid.optim import Adam, Momentum
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import Cosine, Warmup

LoadNumbers = Callable[[int], tuple[Arrays, Arrays]]


@dataclass(frozen=True, eq=False)
class Regression(Setting):
    """A regression training. flat: whether the targets have the shape (N,) instead of (N, 1)."""

    numbers: LoadNumbers = friedman
    flat: bool = False

    def train(self) -> Case:
        """Train, and return the case that the doctor examines."""
        pairs = [(part.x, part.y if self.flat else part.y[:, None]) for part in self.numbers(self.seed)]
        shape = tuple(pairs[0][0].shape[1:])

        def begin() -> Model:
            return Model(self.net(1), "quadratic", self.optimizer, metrics=(), seed=self.seed, input_shape=shape)

        model = begin()
        history = model.fit(
            *pairs[0], epochs=self.epochs, batch_size=self.batch_size, validation=pairs[1], verbose=False
        )
        return case_of(
            model, *pairs[0], validation=pairs[1], history=history, batch_size=self.batch_size, epochs=self.epochs,
            begin=begin,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Transferred(Setting):
    """A new last layer on frozen features trained on the first five classes; the case has no `begin`."""

    def train(self) -> Case:
        """Train, and return the case that the doctor examines."""
        train, validation = self.parts()
        source_model = self.build(train)
        first_classes = train.subset((train.y < 5).nonzero().flatten())
        source_model.fit(first_classes, epochs=self.epochs, batch_size=self.batch_size, verbose=False)
        model = self.build(train)
        head = {f"{trainable_layers(model)[-1][0]}.{name}" for name in ("weight", "bias")}
        for path in model.weights.keys() - head:
            model.weights[path].copy_(source_model.weights[path])
        model.freeze("*")
        model.unfreeze(*head)
        history = model.fit(train, epochs=self.epochs, batch_size=self.batch_size, validation=validation, verbose=False)
        return case_of(
            model, train, validation=validation, history=history, batch_size=self.batch_size, epochs=self.epochs
        )


def _residual(classes: int) -> Layer:
    blocks = [residual_block(Identity(), basic_body(12, 1)) for _ in range(2)]
    return Sequential(
        Conv2d(12, 3, padding=1), BatchNorm(), ReLU(), *blocks, MaxPool2d(2), Flatten(), Dense(classes)
    )  # fmt: skip


def _halve_first_classes(data: Dataset, part: str) -> Dataset:
    """Keep every second example of the first five classes, and all examples of the others."""
    index = torch.arange(len(data))
    return data.subset(((data.y >= 5) | (index % 2 == 0)).nonzero().flatten())


OTHER_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "warm-up and cosine", "digits", mlp(ReLU, 48, 48), Adam(5e-3), 10, model={"schedule": Warmup(80, Cosine())}
    ),
    Setting("augmented", "digits", conv(12, 24), Momentum(0.02), 10, augment=Augment(rotate=10.0, shift=0.08)),
    Setting("L2", "mnist", mlp(ReLU, 96), Momentum(0.02), 8, model={"regularizer": L2(1.0)}),
    Setting("residual", "digits", _residual, Momentum(0.02), 6),
    Setting("imbalanced 2:1", "mnist", mlp(ReLU, 64), Momentum(0.02), 10, change=_halve_first_classes),
    Setting("30 clusters", "clusters", mlp(ReLU, 64), Adam(2e-3), 12),
    Setting("40 digits in corners", "places", conv(12, 24), Momentum(0.02), 6),
    Setting("bf16", "digits", conv(16, 32), Momentum(0.02), 6, model={"precision": "bf16"}),
    Transferred("frozen features", "digits", conv(16, 32), Momentum(0.02), 6),
    Regression("numbers (N, 1)", "friedman", mlp(ReLU, 32), Adam(3e-3), 25),
    Regression("numbers (N,)", "friedman", mlp(ReLU, 32), Adam(3e-3), 25, flat=True),
    Regression("tilt of pictures", "mnist", conv(8, 16), Adam(3e-3), 6, 64, numbers=rotated_digits),
)
HEALTHY = (*SETTINGS, *OTHER_SETTINGS)
