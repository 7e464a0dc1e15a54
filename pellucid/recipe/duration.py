"""The time that a training will take, measured by its first steps, and the number of epochs that a time permits."""

import resource
import sys
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, cast

import torch

from pellucid.base.allocator import keeping_freed_memory
from pellucid.base.errors import PellucidError
from pellucid.base.text import note, plural
from pellucid.data import Arrays, Batch, Source, Subset
from pellucid.data.stream import Stream
from pellucid.model import Model
from pellucid.nested import map_tree
from pellucid.objective import seeded_generator
from pellucid.recipe.material import Material
from pellucid.recipe.recipe import Recipe
from pellucid.training.cached import without_frozen_front
from pellucid.training.distributed import processes
from pellucid.training.evaluate import batch_within_memory, evaluate
from pellucid.training.layer_statistics import seed_step
from pellucid.training.learner import Learner
from pellucid.training.process import torch_threads
from pellucid.training.reading import Augmentation, batch_loader, sample_indices
from pellucid.training.step import NotFiniteError, TrainingStep

WARM_UP, SLOW_STEP = 2, 0.5  # steps that are not timed: they start threads and choose kernels; of slow ones, one
MAX_SECONDS, MAX_STEPS = 1.5, 30  # of all steps, after which one timed step is enough; and of the timed ones
MAX_TIMED_EVALUATIONS, EVALUATION_SECONDS = 32, 0.5  # images whose evaluation is timed: those trained on in this time
MAX_EPOCHS = 1_000


@dataclass(frozen=True)
class TrainingCost:
    """What a training takes on this machine.

    epoch_seconds: of an epoch, with its evaluation. memory: bytes of this process at its peak so far.
    """

    epoch_seconds: float
    memory: int

    def epochs_within(self, minutes: float) -> int:
        """Return the number of epochs that fit, at least 1."""
        return max(1, min(MAX_EPOCHS, int(60 * minutes / self.epoch_seconds)))

    def text(self, epochs: int) -> str:
        """Return the time of a training, and the memory, in words."""
        minutes = epochs * self.epoch_seconds / 60
        time_text = f"{minutes:.0f} min" if minutes >= 2 else f"{max(1, round(60 * minutes))} s"
        return f"about {time_text} and {self.memory / 2**30:.1f} GB on this machine"


def training_cost(
    model: Model, train: Source, held_out: Source, batch_size: int, augment: Augmentation | None
) -> TrainingCost | None:
    """Measure a few steps on copies of the weights, with the reading of their images, and the evaluation of some.

    None for a stream, whose length is unknown, and for a loss that is not finite, which the training reports.
    """
    if isinstance(train, Stream) or isinstance(held_out, Stream):
        return None
    measured_model: Any = copy(model)
    measured_model.params = map_tree(torch.clone, model.params)
    steps_per_epoch = len(batch_loader(measured_model, train, batch_size, augment))
    n_evaluated = len(held_out) + len(sample_indices(train, held_out, model.seed))
    if augment is None and model.frozen and isinstance(train, Arrays):  # their features are computed only once
        sample = Arrays(train.x[: 2 * batch_size], train.y[: 2 * batch_size], train.classes)
        measured_model, train, _ = without_frozen_front(cast(Learner, measured_model), sample, validation=None)
    loader = batch_loader(measured_model, train, batch_size, augment)
    step, rng = TrainingStep.of(measured_model, len(train)), seeded_generator(model.device)
    try:
        # memory is kept as in the training, whose time and peak this predicts
        with torch.inference_mode(), keeping_freed_memory():
            step_seconds = _seconds_per_batch(loader, lambda batch: step(batch, 0.0, seed_step(rng, model.seed, 0)))
            affordable = max(1, int(batch_size * EVALUATION_SECONDS / step_seconds))
            timed_images = Subset(held_out, torch.arange(min(MAX_TIMED_EVALUATIONS, affordable, len(held_out))))
            start = perf_counter()
            evaluate(model, timed_images, batch_within_memory(model, timed_images))
            evaluation_seconds = (perf_counter() - start) / len(timed_images)
    except NotFiniteError:
        return None
    return TrainingCost(steps_per_epoch * step_seconds + n_evaluated * evaluation_seconds, _peak_memory())


def _seconds_per_batch(loader: Any, process_batch: Callable[[Batch], object]) -> float:
    """Return the mean time of reading a batch and of `process_batch` on it."""
    seconds = list[float]()
    while True:
        start = perf_counter()
        for batch in loader.epoch(0):
            process_batch(batch)
            seconds.append(perf_counter() - start)
            timed_seconds = seconds[1 if seconds[0] >= SLOW_STEP else WARM_UP :]
            if len(timed_seconds) >= MAX_STEPS or (timed_seconds and sum(seconds) >= MAX_SECONDS):
                return sum(timed_seconds) / len(timed_seconds)
            start = perf_counter()


def cost_of_run(
    recipe: Recipe, model: Model, material: Material[Any], augment: Augmentation | None
) -> TrainingCost | None:
    """Return the cost of a training by a recipe, see `training_cost`; None with many processes."""
    if processes().count > 1:
        return None
    batch_size = min(recipe.train.batch_size, len(material.train))
    with torch_threads(recipe.recipe.fixed_threads):
        return training_cost(model, material.train, material.validation or material.test, batch_size, augment)


def within_minutes(recipe: Recipe, model: Model, material: Material[Any], augment: Augmentation | None) -> Recipe:
    """Return the recipe with the number of epochs that fits into train.minutes; unchanged without that key.

    The run's recipe has this number instead of the time, so repeating the run gives the same weights.
    """
    minutes = recipe.train.minutes
    if not minutes:
        return recipe
    cost = cost_of_run(recipe, model, material, augment)
    if cost is None:
        raise PellucidError(
            "train.minutes: the time is not known of a training on a stream, of many processes, and of one whose loss "
            "is not finite; give train.epochs=N"
        )
    epochs = cost.epochs_within(minutes)
    text = f"train.minutes={minutes:g}: {plural(epochs, 'epoch')}"
    if epochs < recipe.train.epochs:
        text += f" in place of {recipe.train.epochs:,}"
    text += f", {cost.text(epochs)}"
    if epochs * cost.epoch_seconds > 60 * minutes:
        text += "; more than asked for, since an epoch is the shortest training"
    note(text)
    return replace(recipe, train=replace(recipe.train, epochs=epochs, minutes=0.0))


def _peak_memory() -> int:
    """Return the bytes of main memory that this process took at most; macOS reports bytes, Linux kibibytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
