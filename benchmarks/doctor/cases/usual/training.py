"""Trainings as a user writes them, and pairs of them with and without a mistake."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.doctor import scores
from benchmarks.doctor.fit import Fit, Pair
from pellucid import Callback, Dataset, Model, Optimizer
from pellucid.data import FeatureStats
from pellucid.data.source import Arrays
from pellucid.layers.base import Layer
from pellucid.run.described import scaling_entries

Part = Dataset | Arrays  # images with labels, or inputs with targets of a regression
ModifyModel = Callable[[Model], None]


@dataclass(frozen=True, eq=False)
class Training:
    """One training: the arguments of `Model` and of `fit`.

    scale: whether each channel is standardised by the training data. options: additional arguments of Model. modify:
    changes the model before its first step. rounds: returns the parts of the training data for an epoch, for each of
    which `fit` is called once; None means one call of `fit` with the training data.
    """

    train: Part
    validation: Part
    net: Callable[[int], Layer]
    optimizer: Optimizer
    epochs: int
    batch_size: int = 32
    loss: Any = "softmax_cross_entropy"
    seed: int = 0
    scale: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    callbacks: Callable[[], Sequence[Callback]] = list
    modify: ModifyModel = lambda model: None
    rounds: Callable[[int], Sequence[Dataset]] | None = None

    def begin(self) -> Model:
        """Return the model before its first step."""
        x, classes = self.train.x, self.train.classes
        scaled = scaling_entries(FeatureStats.fit(x)) if self.scale and x.dim() == 4 else {}
        metrics = () if classes is None else ("accuracy",)
        model = Model(
            self.net(1 if classes is None else len(classes)), self.loss, self.optimizer, seed=self.seed,
            classes=classes, input_shape=tuple(x.shape[1:]),
            **{"preprocess": scaled, "metrics": metrics, **self.options},
        )  # fmt: skip
        self.modify(model)
        return model

    def fit(self, score: scores.Score | None = None) -> Fit:
        """Return the training as it is examined. score: by default on the validation data."""
        arguments = (
            self.begin, given(self.train), given(self.validation), score or score_on(self.validation), self.epochs,
            self.batch_size, self.augment,
        )  # fmt: skip
        if self.rounds is None:
            return Fit(*arguments, {"callbacks": self.callbacks()})
        return InRounds(*arguments, rounds=self.rounds)

    def replace(self, **changes: Any) -> "Training":
        """Return the training with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class InRounds(Fit):
    """A training that calls `fit` for each part of an epoch."""

    rounds: Callable[[int], Sequence[Dataset]] = lambda epoch: ()

    def learn(self, model: Model) -> None:
        """Train a model part by part."""
        for epoch in range(self.epochs):
            for part in self.rounds(epoch):
                model.fit(part, epochs=1, batch_size=self.batch_size, verbose=False)


def given(part: Part) -> Dataset | tuple[Tensor, Tensor]:
    """Return a part as `fit` is given it."""
    return part if isinstance(part, Dataset) else (part.x, part.y)


def score_on(part: Part) -> scores.Score:
    """Return the accuracy of a classification, or the explained variance of a regression."""
    return scores.accuracy(part) if isinstance(part, Dataset) else scores.explained(part)


def compare(
    wrong: Training,
    right: Training,
    test: Part | None = None,
    measure: str = "accuracy",
    own_validation: bool = False,
) -> Pair:
    """Return the trainings with and without a mistake, both scored on `test` (by default the validation data of right).

    own_validation: whether the model with the mistake is scored on its own validation data instead.
    """
    test = right.validation if test is None else test
    return Pair(wrong.fit(score_on(wrong.validation if own_validation else test)), right.fit(score_on(test)), measure)
