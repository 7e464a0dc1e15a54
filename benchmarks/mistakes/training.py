"""Trainings as a user writes them, and the scores with and without a mistake."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pellucid import Callback, Dataset, Model, Optimizer
from pellucid.base.errors import PellucidError
from pellucid.data import FeatureStats
from pellucid.data.augment.standardise import scaled
from pellucid.doctor import Case, case_of
from pellucid.layers.base import Layer, Mode
from pellucid.run.described import scaling_entries

Part = Dataset | tuple[Tensor, Tensor]  # images with labels, or inputs with targets of a regression
ModifyModel = Callable[[Model], None]
EVALUATION = Mode(train=False, keep=False)


@dataclass(frozen=True, eq=False)
class Training:
    """One training: the arguments of `Model`, of `fit` and of the doctor's case.

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
    rounds: Callable[[int], Sequence[Part]] | None = None

    def begin(self) -> Model:
        """Return the model before its first step."""
        x = inputs(self.train)
        classes = self.train.classes if isinstance(self.train, Dataset) else None
        options: dict[str, Any] = {
            "preprocess": scaling_entries(FeatureStats.fit(x)) if self.scale and x.dim() == 4 else {}
        }
        options["metrics"] = () if classes is None else ("accuracy",)
        model = Model(
            self.net(1 if classes is None else len(classes)), self.loss, self.optimizer, seed=self.seed,
            classes=classes, input_shape=tuple(x.shape[1:]), **{**options, **self.options},
        )  # fmt: skip
        self.modify(model)
        return model

    def run(self) -> Case:
        """Train, and return the case that the doctor examines."""
        model, history, stopped = self.begin(), None, ""
        try:
            if self.rounds is None:
                history = model.fit(
                    *fit_arguments(self.train), epochs=self.epochs, batch_size=self.batch_size,
                    validation=self.validation, augment=self.augment, callbacks=self.callbacks(), verbose=False,
                )  # fmt: skip
            else:
                for epoch in range(self.epochs):
                    for part in self.rounds(epoch):
                        model.fit(*fit_arguments(part), epochs=1, batch_size=self.batch_size, verbose=False)
        except PellucidError as error:
            stopped = error.with_traceback(None)
        return case_of(
            model, *fit_arguments(self.train), validation=self.validation, history=history, batch_size=self.batch_size,
            epochs=self.epochs, augment=self.augment, begin=self.begin, stopped=stopped,
        )  # fmt: skip

    def replace(self, **changes: Any) -> "Training":
        """Return the training with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class TrainedPair:
    """The case of a training with a mistake, and the scores with and without the mistake.

    harmed: the score with the mistake. sound: the score of the same training without it. measure: the name of the
    score; higher is better. It is usually the accuracy on data like those of later use.
    """

    case: Case
    harmed: float
    sound: float
    measure: str


def fit_arguments(part: Part) -> tuple[Any, ...]:
    """Return a part as positional arguments of `fit`."""
    return (part,) if isinstance(part, Dataset) else part


def inputs(part: Part) -> Tensor:
    """Return the inputs of a part."""
    return part.x if isinstance(part, Dataset) else part[0]


def accuracy(model: Model, data: Part, batch_size: int = 256) -> float:
    """Return the accuracy; 0 for a model whose outputs are NaN."""
    try:
        return float(model.evaluate(*fit_arguments(data), batch_size=batch_size)["accuracy"])
    except PellucidError:
        return 0.0


def explained_variance(model: Model, part: tuple[Tensor, Tensor]) -> float:
    """Return the fraction of the targets' variance that the model explains (R²)."""
    x, y = part
    with torch.inference_mode():
        predictions = model.loss.predict(model.net.forward(model.params, scaled(x, model.stats), EVALUATION)[0])
    y = y.reshape(len(y), -1)
    unexplained = (predictions.reshape(len(y), -1) - y).square().mean() / (y - y.mean()).square().mean()
    return 1 - float(unexplained)


def score_of(model: Model, part: Part) -> float:
    """Return the accuracy on a classification data set, or the explained variance of a regression."""
    return accuracy(model, part) if isinstance(part, Dataset) else explained_variance(model, part)


def compare(wrong: Training, right: Training, test: Part | None = None, measure: str = "accuracy") -> TrainedPair:
    """Train with and without a mistake, and score both models on `test` (default: the validation data of `right`)."""
    return compare_on(wrong, right, right.validation if test is None else test, measure)


def compare_on(wrong: Training, right: Training, test: Part, measure: str, own_validation: bool = False) -> TrainedPair:
    """Train with and without a mistake, and score both models on `test`.

    own_validation: whether the model with the mistake is scored on its own validation data instead.
    """
    case, sound = wrong.run(), right.run().model
    harmed = score_of(case.model, wrong.validation if own_validation else test)
    return TrainedPair(
        case, harmed, score_of(sound, test), measure if isinstance(test, Dataset) else "explained variance"
    )
