"""A case for the doctor: a model, its data, its predictions, and the settings and history of its training."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, isfinite
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.data.loader import steps_per_epoch
from pellucid.data.seeds import generator
from pellucid.data.source import Arrays
from pellucid.doctor.inputs import InputChange, own_nearest, random_moves, subsample
from pellucid.doctor.passes import example_losses, is_pretrained, rms, trainable_layers
from pellucid.doctor.rehearsal import (
    Rehearsal,
    RehearsalSettings,
    model_on,
    rehearse,
)
from pellucid.doctor.simple_classifier import KernelClassifier, fit_simple_classifier
from pellucid.losses import L1, Huber, Quadratic
from pellucid.metrics import classes_of
from pellucid.nested import flatten
from pellucid.objective import Supervised
from pellucid.run.history import History
from pellucid.training.device import CPU
from pellucid.training.evaluate import loss_and_predictions
from pellucid.training.measures import boundary
from pellucid.training.model import BaseModel
from pellucid.training.reading import Augmentation

MAX_SAMPLE = 1_000  # examples for predictions; labels, statistics and duplicates use all examples
# A network predicts examples if their mean loss is at most MAX_KNOWN_LOSS of that with targets of other examples.
MAX_KNOWN_LOSS = 0.5
MIN_COMPARED, MAX_COMPARED = 24, 400  # examples of each part whose losses are compared
MAX_PROBE = 128  # examples of a forward and backward pass
MIN_SURVIVING = 0.8  # fraction of training examples, two draws of which are more alike than draws of different ones
REHEARSAL_STEPS = 40  # steps of a rehearsal, a short training from the initial weights
MAX_REHEARSAL_WORK = 8e11  # multiply-adds; two processor cores need about a second for 4e10 of them


class FirstLosses(NamedTuple):
    """Losses of a network that predicts the validation examples before its first step.

    train, validation: the means before the first step. exchanged: that of validation examples with targets of others.
    lower_before, lower_now: by how many standard deviations validation examples have lower losses than training
    examples, by ranks, before the first step and now.
    """

    train: float
    validation: float
    exchanged: float
    lower_before: float
    lower_now: float


class UnansweredError(PellucidError):
    """Raised if a check cannot be made for a case, with the reason; the check is then skipped."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of a model for N examples.

    y: the outputs after the loss's `predict`, such as probabilities. loss: the mean loss. examples: without those that
    the loss ignores. boundary: the threshold from which a single output predicts the second of two classes.
    """

    y: Tensor
    loss: float
    examples: Arrays
    boundary: float = 0.5

    @property
    def classes(self) -> Tensor:
        """The predicted classes, (N,)."""
        return classes_of(self.y, self.boundary)

    @property
    def accuracy(self) -> float:
        """The fraction of correctly predicted classes."""
        return (self.classes == self.examples.y).float().mean().item()


def predictions(model: BaseModel, data: Arrays) -> Predictions:
    """Return the model's predictions in evaluation mode; raises UnansweredError if the outputs are not finite."""
    try:
        with torch.inference_mode():
            loss, y = loss_and_predictions(model, data)
    except PellucidError as error:
        raise UnansweredError(f"the model has no predictions: {error}") from error
    if not isinstance(model.objective, Supervised):
        return Predictions(y, loss, data)
    valid = model.objective.loss.valid_mask(data.y)
    if valid is not None:
        data = replace(data, x=data.x[valid], y=data.y[valid])
    return Predictions(y, loss, data, boundary(model.objective.net, model.objective.loss))


@dataclass(frozen=True, eq=False)
class Case:
    """A model with its data, and the settings and history of its training.

    model: the model in its present state, trained or not; its weights are never changed. train, validation: training
    and validation data. begin: returns a new copy of the model before its first step at each call. history: the history
    of the training, if there was one. stopped: the error that ended the training, or its message. augment: the
    augmentation in training. epochs: the number of epochs trained or planned, 0 if unknown. trainable: whether
    optimizer, learning rate and batch size are known; a weights file does not contain them, so `rehearse` raises an
    error. notes: sentences to print before the findings. steps: the number of steps made, used if there is no history.
    resampled: whether an epoch draws examples more than once, so that copies are no fault. redrawn: two draws of the
    same training inputs, if `train` is one draw of data that change at random, as by an augmentation. plain: the
    training data without these changes, if they can be read so. redrawn_pairs: two draws of inputs and two of their
    targets, if both change at random. redrawn_validation: several readings of the same validation examples, if these
    change at random. plain_validation: the same examples without that, if they can be read so. device: the device for
    training and prediction; the models and data of a case are on the CPU, where all other computations run.
    Measurements are computed once, when a check first needs them.
    """

    model: BaseModel
    train: Arrays
    validation: Arrays | None
    begin: Callable[[], BaseModel]
    batch_size: int = 32
    epochs: int = 0
    history: History | None = None
    stopped: PellucidError | str = ""
    augment: Augmentation | None = None
    trainable: bool = True
    notes: tuple[str, ...] = ()
    steps: int = 0
    resampled: bool = False
    device: torch.device = CPU
    redrawn: tuple[Tensor, Tensor] | None = None
    plain: Arrays | None = None
    redrawn_pairs: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    redrawn_validation: tuple[Arrays, ...] = ()
    plain_validation: Arrays | None = None
    __repr__ = brief_repr

    @cached_property
    def surviving(self) -> float:
        """The fraction of the training examples of which two draws are more alike than draws of different examples."""
        return 1.0 if self.redrawn is None else own_nearest(*self.redrawn)

    @cached_property
    def changes_much(self) -> bool:
        """Whether the training inputs change so much at random that their neighbours tell nothing of their labels.

        Also if a simple classifier of inputs without random changes often takes two draws for different classes.
        """
        if self.redrawn is None or self.surviving < MIN_SURVIVING:
            return self.surviving < MIN_SURVIVING
        classifier = self.unchanged_classifier
        return classifier is not None and classifier.distinguishes(*self.redrawn)

    @property
    def unchanged(self) -> Arrays | None:
        """Examples that do not change at random: of the training data, or else of the validation data."""
        return self.validation if self.plain is None else self.plain

    @cached_property
    def unchanged_classifier(self) -> KernelClassifier | None:
        """A simple classifier fitted to `unchanged` examples; None unless the targets are classes."""
        data = self.unchanged
        return None if data is None or not self.classifies else fit_simple_classifier(data, self.model.seed)

    @cached_property
    def moves(self) -> dict[str, InputChange]:
        """The mirrorings and turns by which draws of the same training images differ."""
        return {} if self.redrawn is None else random_moves(*self.redrawn)

    @property
    def hides_labels(self) -> bool:
        """Whether labels cannot be judged, since the inputs change much and are not known without that."""
        return self.plain is None and self.changes_much

    @cached_property
    def judged(self) -> "Case":
        """The case whose training inputs show whether labels are wrong: without random changes, if they are known.

        Raises UnansweredError if labels cannot be judged.
        """
        if self.hides_labels:
            raise UnansweredError("the training inputs change too much from draw to draw")
        return self if self.plain is None else replace(self, train=self.plain)

    @cached_property
    def classifies(self) -> bool:
        """Whether the targets are class indices and the model outputs class scores, (N, classes).

        With a single output, integer targets count as classes only if all of them are 0 or 1.
        """
        y, shape = self.train.y, self.model.output_shape
        main_shape = shape[0] if shape and isinstance(shape[0], tuple) else shape
        if y.is_floating_point() or y.dim() != 1 or len(main_shape) != 1:
            return False
        return main_shape[0] > 1 or 0 <= int(y.min()) <= int(y.max()) <= 1

    @property
    def compares(self) -> bool:
        """Whether the loss is a regression loss, which compares outputs and targets elementwise."""
        return isinstance(self.model.loss, Quadratic | L1 | Huber)

    @cached_property
    def initial(self) -> BaseModel:
        """The model before its first step, with newly drawn weights if the initial weights are unknown."""
        return self.begin()

    @property
    def trained(self) -> bool:
        """Whether the weights differ from those before the first step."""
        return self._is_trained

    @cached_property
    def _is_trained(self) -> bool:
        weights, initial = flatten(self.model.params), flatten(self.initial.params)
        return any(not torch.equal(value, initial[path]) for path, value in weights.items())

    @cached_property
    def weight_growth(self) -> float:
        """The sum of the root mean squares of all trainable weights, divided by the same sum before the first step."""
        weights, initial = flatten(self.model.params), flatten(self.initial.params)
        paths = [path for _, path in trainable_layers(self.model)]
        return sum(rms(weights[path]) for path in paths) / (sum(rms(initial[path]) for path in paths) or 1.0)

    @cached_property
    def sample(self) -> Arrays:
        """At most MAX_SAMPLE training examples, drawn with the model's seed."""
        return subsample(self.train, MAX_SAMPLE, self.model.seed)

    @cached_property
    def validation_sample(self) -> Arrays | None:
        """At most MAX_SAMPLE validation examples, drawn with the model's seed."""
        return None if self.validation is None else subsample(self.validation, MAX_SAMPLE, self.model.seed)

    @cached_property
    def probe(self) -> Arrays:
        """The training examples for one forward and backward pass, at most MAX_PROBE."""
        return subsample(self.train, MAX_PROBE, self.model.seed)

    def class_name(self, label: int) -> str:
        """Return the name of a class, or its index if it has no name."""
        class_names = self.train.classes or self.model.classes
        return class_names[label] if class_names is not None and label < len(class_names) else str(label)

    def inputs(self, data: Arrays) -> Tensor:
        """Return the network's inputs for the examples of `data`."""
        return self.model.scaled(data.x)

    @cached_property
    def train_predictions(self) -> Predictions:
        """The model's predictions for the sample of training examples."""
        return predictions(model_on(self.model, self.device), self.sample)

    @cached_property
    def validation_predictions(self) -> Predictions | None:
        """The model's predictions for the sample of validation examples."""
        data = self.validation_sample
        return None if data is None else predictions(model_on(self.model, self.device), data)

    @cached_property
    def class_predictions(self) -> tuple[Predictions, Predictions | None] | None:
        """A trained model's class predictions for the samples of training and validation examples.

        None if the model is not trained, does not classify, or outputs values that are not finite. The validation
        predictions are None without validation data.
        """
        if not self.classifies or not self.trained:
            return None
        try:
            train, validation = self.train_predictions, self.validation_predictions
        except UnansweredError:
            return None
        return (train, validation) if train.y.dim() == 2 else None

    @cached_property
    def first_losses(self) -> FirstLosses | None:
        """The losses of a network that predicts the validation examples before its first step; None for others."""
        model, data = self.initial, self.validation
        if not self.trained or data is None or min(len(self.train), len(data)) < MIN_COMPARED:
            return None
        if not isinstance(model.objective, Supervised) or not is_pretrained(model, is_frozen=False):
            return None
        train, validation = (subsample(part, MAX_COMPARED, model.seed) for part in (self.train, data))
        order = torch.randperm(len(validation), generator=generator(model.seed))
        try:
            own, of_others = example_losses(model, validation.x, validation.y, validation.y[order])
            exchanged = float(of_others.mean())
            if not float(own.mean()) <= MAX_KNOWN_LOSS * exchanged:
                return None
            train_losses, now, train_now = (
                example_losses(one, part.x, part.y)[0]
                for one, part in ((model, train), (self.model, validation), (self.model, train))
            )
        except (PellucidError, TypeError):  # of losses of whole batches, or of several outputs
            return None
        lower_before, lower_now = _deviations_below(own, train_losses), _deviations_below(now, train_now)
        return FirstLosses(float(train_losses.mean()), float(own.mean()), exchanged, lower_before, lower_now)

    @cached_property
    def simple_classifier(self) -> KernelClassifier | None:
        """A simple classifier fitted to training examples; None unless the targets are classes."""
        return fit_simple_classifier(self.train, self.model.seed) if self.classifies else None

    @cached_property
    def loss(self) -> float:
        """The model's loss on `sample`, in evaluation mode; infinite if its outputs are not finite."""
        try:
            return self.train_predictions.loss
        except UnansweredError:
            return inf

    def column(self, name: str) -> list[float]:
        """Return a column of the history with inf for missing and non-finite values; [] if there is no such column."""
        if self.history is None or not self.history.rows or name not in self.history.rows[0]:
            return []
        values = [row.get(name) for row in self.history.rows]
        return [float(value) if isinstance(value, int | float) and isfinite(value) else inf for value in values]

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps in one epoch."""
        return steps_per_epoch(len(self.train), self.batch_size)

    @property
    def steps_made(self) -> int:
        """The number of steps that the training made, 0 if unknown."""
        return self.steps if self.history is None or not self.history.rows else int(self.history.last.get("step") or 0)

    @property
    def steps_planned(self) -> int:
        """The number of steps of the whole training: from its epochs if known, else the steps made; 0 if unknown."""
        return self.epochs * self.steps_per_epoch or self.steps_made

    @property
    def steps_to_repeat(self) -> int:
        """The number of steps of the epochs that were made, or of all planned ones if an error ended the training."""
        epochs_made = 0 if self.history is None or self.stopped else len(self.history.rows)
        return (min(epochs_made, self.epochs) or self.epochs) * self.steps_per_epoch or self.steps_made

    def rehearse(self, settings: RehearsalSettings) -> Rehearsal:
        """Train a copy of the model from its initial weights for a few steps.

        The model of the result is on the CPU. Raises UnansweredError if the case is not `trainable`.
        """
        if not self.trainable:
            raise UnansweredError("a weights file does not contain the training settings; give the run folder")
        model = model_on(self.begin(), self.device)
        rehearsal = rehearse(model, self.train, self.batch_size, self.augment, settings, self.steps_planned)
        return replace(rehearsal, model=model_on(rehearsal.model, CPU))

    @cached_property
    def rehearsal(self) -> Rehearsal:
        """A rehearsal of REHEARSAL_STEPS steps with the training's settings, or fewer to fit MAX_REHEARSAL_WORK."""
        return self.rehearse(RehearsalSettings(REHEARSAL_STEPS, work=MAX_REHEARSAL_WORK))


def _deviations_below(first: Tensor, second: Tensor) -> float:
    """Return by how many standard deviations the ranks of the first values are below chance (Mann and Whitney 1947)."""
    is_below = (first[:, None] < second).double() + 0.5 * (first[:, None] == second)
    deviation = ((len(first) + len(second) + 1) / (12 * len(first) * len(second))) ** 0.5
    return (float(is_below.mean()) - 0.5) / deviation


def has_flat_targets(case: object) -> TypeGuard[Case]:
    """Return whether it is a Case with a class or a vector as the target of each example, as the small network has."""
    if not isinstance(case, Case) or not isinstance(case.model.objective, Supervised):
        return False
    y = case.train.y
    return y.dim() == 1 or (y.is_floating_point() and y.dim() == 2)
