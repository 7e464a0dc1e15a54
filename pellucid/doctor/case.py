"""What the doctor examines: a model, its data, and how it was or is to be trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pellucid.combine.base import walk
from pellucid.data.augment.standardise import scaled
from pellucid.data.seeds import generator
from pellucid.data.source import Arrays
from pellucid.doctor.finding import UnansweredError
from pellucid.doctor.measure.activity import Activity, activity
from pellucid.doctor.measure.answers import Answers, answers
from pellucid.doctor.measure.backward import Flow, flow
from pellucid.doctor.measure.reached import loss_on
from pellucid.doctor.measure.rehearsal import Rehearsal, Settings, rehearse
from pellucid.doctor.measure.simple import Simple, simple
from pellucid.doctor.remade import remade
from pellucid.errors import PellucidError
from pellucid.layers import Dropout
from pellucid.losses import L1, Huber, Quadratic
from pellucid.run.history import History
from pellucid.training.batches import Augmentation
from pellucid.training.model import BaseModel
from pellucid.tree import flatten

SAMPLE = 1_000  # examples that are looked at; of all of them only labels, statistics and duplicates are
PROBE = 128  # examples of a pass forward and backward
STEPS = 40  # of a rehearsal
FACTORS = (1 / 100, 1 / 30, 1 / 10, 1 / 3, 1.0, 3.0, 10.0, 30.0, 100.0)  # of the learning rate, in the range test
SHORT = 25  # steps at each of them
LEVEL = 1.2  # times the lowest loss of a range test: the first batches alone make such a difference
FARTHEST = 1e6  # how far rates are tried where these do not reach: mistakes of units (1e3) twice over
# Seconds of the rehearsal, of each rate of the range test and of a trial: together they take two minutes at most.
REHEARSING, RANGING, TRYING = 20.0, 2.5, 20.0


@dataclass(frozen=True, eq=False)
class Case:
    """A model with its data.

    model: as it is now, trained or not; its weights are never changed. train, validation: what it learns from and what
    it is measured on. begin: returns the model as it is before the first step, each time anew. history: what a training
    measured, if there was one. stopped: the error that ended it, or its words. augment: what the training did to each
    batch. epochs: how many were or are to be trained, 0 where that is unknown. trainable: whether optimizer, learning
    rate and batch size are those of a training; a file of weights alone does not tell them, and then nothing is
    rehearsed. notes: what a reader should know before the findings, a sentence each. steps: how many were made, where
    the history does not tell. go_on: the command that goes on with a training that was cut short; "" of others.
    What is measured is measured once, when a check first asks for it.
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
    go_on: str = ""

    @cached_property
    def classifies(self) -> bool:
        """Whether the targets are classes and the model's answers scores of them, (N, classes).

        Integers can be numbers too: with one output they are classes only if there are two, 0 and 1.
        """
        y, shape = self.train.y, self.model.output_shape
        main = shape[0] if shape and isinstance(shape[0], tuple) else shape
        if y.is_floating_point() or y.dim() != 1 or len(main) != 1:
            return False
        return main[0] > 1 or 0 <= int(y.min()) <= int(y.max()) <= 1

    @property
    def compares(self) -> bool:
        """Whether the loss compares outputs with targets as they are, number by number."""
        return isinstance(self.model.loss, Quadratic | L1 | Huber)

    @property
    def dropout(self) -> float:
        """The largest rate of the network's dropout layers, 0 without any."""
        return max((layer.rate for _, layer in walk(self.model.net) if isinstance(layer, Dropout)), default=0.0)

    @cached_property
    def first(self) -> BaseModel:
        """The model before its first step; of weights whose training is unknown, drawn anew by the seed."""
        return self.begin()

    @cached_property
    def trained(self) -> bool:
        """Whether the weights are other than they were before the first step."""
        now, then = flatten(self.model.params), flatten(self.first.params)
        return any(not torch.equal(value, then[path]) for path, value in now.items())

    @cached_property
    def sample(self) -> Arrays:
        """At most SAMPLE training examples, drawn by the seed."""
        return some(self.train, SAMPLE, self.model.seed)

    @cached_property
    def held(self) -> Arrays | None:
        """At most SAMPLE validation examples, drawn by the seed."""
        return None if self.validation is None else some(self.validation, SAMPLE, self.model.seed)

    @cached_property
    def probe(self) -> Arrays:
        """The training examples of a pass forward and backward, at most PROBE."""
        return some(self.train, PROBE, self.model.seed)

    @cached_property
    def watched(self) -> Arrays:
        """The training examples for which outputs of layers are measured, at most twice as many."""
        return some(self.train, 2 * PROBE, self.model.seed)

    def class_name(self, label: int) -> str:
        """Return the name of a class, its number where it has none."""
        names = self.train.classes or self.model.classes
        return names[label] if names is not None and label < len(names) else str(label)

    def inputs(self, part: Arrays) -> Tensor:
        """Return examples as the network reads them."""
        return scaled(part.x, self.model.stats)

    @cached_property
    def activity(self) -> dict[str, Activity]:
        """What each layer of the model puts out for `watched` in evaluation mode, by path in forward order."""
        return activity(self.model, self.inputs(self.watched))

    @cached_property
    def first_activity(self) -> dict[str, Activity]:
        """The same of the model before its first step, in training mode, for `probe`."""
        return activity(self.first, self.inputs(self.probe), train=True)

    def by_chance(self, path: str, count: Callable[[Activity], int]) -> int:
        """Return a count of a layer's units with weights drawn anew; 0 where these put out no finite numbers."""
        seen = self._redrawn_activity.get(path)
        return count(seen) if seen is not None and seen.finite else 0

    @cached_property
    def _redrawn_activity(self) -> dict[str, Activity]:
        return activity(remade(self.model), self.inputs(self.watched))

    @cached_property
    def flow(self) -> Flow:
        """Gradients at the model's weights, over one batch."""
        return flow(self.model, self.inputs(self.probe), self.probe.y)

    @cached_property
    def first_flow(self) -> Flow:
        """Gradients before the first step, over one batch."""
        return flow(self.first, self.inputs(self.probe), self.probe.y)

    @cached_property
    def seen(self) -> Answers:
        """What the model says of the sample of what it learned from."""
        return answers(self.model, self.sample)

    @cached_property
    def unseen(self) -> Answers | None:
        """What the model says of the sample of the validation data."""
        return None if self.held is None else answers(self.model, self.held)

    @cached_property
    def rehearsal(self) -> Rehearsal:
        """The first STEPS steps of the training, as it is set, or as many of them as REHEARSING allows."""
        return self.rehearse(Settings(STEPS, seconds=REHEARSING))

    @cached_property
    def rates(self) -> Sequence[tuple[float, Rehearsal]]:
        """A range test: the first SHORT steps at each of FACTORS times the learning rate."""
        return [(factor, self._whole(Settings(SHORT, factor, RANGING))) for factor in FACTORS]

    def rehearse(self, settings: Settings) -> Rehearsal:
        """Train the model from its beginning for a few steps, on a copy; UnansweredError if not `trainable`."""
        if not self.trainable:
            raise UnansweredError("a file of weights does not tell how they are trained; give the run folder")
        return rehearse(self.begin(), self.train, self.batch_size, self.augment, settings, self.steps_planned)

    @property
    def steps_per_epoch(self) -> int:
        """The steps in which each training example is seen once."""
        return -(-len(self.train) // self.batch_size)

    @property
    def steps_made(self) -> int:
        """The steps that the training made, 0 where it made none or they are unknown."""
        return self.steps if self.history is None or not self.history.rows else int(self.history.last.get("step") or 0)

    @property
    def steps_planned(self) -> int:
        """The steps of the whole training, which its schedule goes by: by its epochs, else those made; 0 if unknown."""
        return self.epochs * self.steps_per_epoch or self.steps_made

    def _whole(self, settings: Settings) -> Rehearsal:
        """Rehearse all steps; UnansweredError where they take too long."""
        done = self.rehearse(settings)
        if done.late:
            raise UnansweredError(f"{settings.steps} steps take longer than {settings.seconds:g} s here")
        return done

    @cached_property
    def simple(self) -> Simple | None:
        """A simple classifier of the training examples, where there are classes."""
        return simple(self.train, self.model.seed) if self.classifies else None

    @cached_property
    def reached(self) -> float:
        """The loss of the model on the sample, in evaluation mode; infinite where its outputs are not finite."""
        try:
            return self.seen.loss
        except UnansweredError:
            return float("inf")

    @cached_property
    def ends(self) -> dict[float, float]:
        """The loss at the end of the range test by factor, beyond FACTORS where their last is as good as any."""
        found = {factor: done.end for factor, done in self.rates}
        for by in (1 / 10, 10.0):
            factor = min(found) if by < 1 else max(found)
            while FARTHEST > factor > 1 / FARTHEST:
                if found[factor] > LEVEL * min(found.values()) and not (by < 1 and found[factor] == float("inf")):
                    break
                factor *= by
                found[factor] = self._whole(Settings(SHORT, factor, RANGING)).end
        return found

    def outcome(self, factor: float, steps: int) -> float:
        """Return the loss on the sample after so many steps from the beginning at a factor of the learning rate."""
        if (factor, steps) not in self._outcomes:
            done = self._whole(Settings(steps, factor, TRYING))
            self._outcomes[factor, steps] = float("inf") if done.broke else loss_on(done.model, self.sample)
        return self._outcomes[factor, steps]

    @cached_property
    def _outcomes(self) -> dict[tuple[float, int], float]:
        return {}


def some(part: Arrays, most: int, seed: int) -> Arrays:
    """Return at most `most` examples, drawn by the seed, in their order."""
    if len(part) <= most:
        return part
    places = torch.randperm(len(part), generator=generator(seed))[:most].sort().values
    return Arrays(part.x[places], part.y[places], part.classes, "")
