"""The learning-rate range test: the losses of a short training whose learning rate rises from step to step."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, integer
from pellucid.base.text import plural
from pellucid.data.source import Batch, Source
from pellucid.nested import flatten
from pellucid.objective import seeded_generator
from pellucid.training.device import on_device
from pellucid.training.layer_statistics import seed_step
from pellucid.training.learner import Learner
from pellucid.training.reading import Augmentation, batch_loader
from pellucid.training.step import NotFiniteError, TrainingStep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOWEST_RATE = 1e-6
HIGHEST_RATE = 10.0
DEFAULT_STEPS = 100
MIN_STEPS = 20
SMOOTHING = 0.9  # decay of the moving average of the losses
DIVERGENCE_FACTOR = 4.0  # the test ends at a smoothed loss of this multiple of the lowest one


@dataclass(frozen=True)
class LearningRateRange:
    """The result of a range test."""

    rates: tuple[float, ...]  # of each step
    losses: tuple[float, ...]  # the moving average of the loss before each step
    suggestion: float  # the rate at which the loss falls fastest with the logarithm of the rate
    lowest: float  # the rate at the lowest loss, above which training becomes unstable
    __repr__ = brief_repr

    def __str__(self) -> str:
        """Return the two rates in words."""
        return (
            f"the loss falls fastest at {self.suggestion:.2g}, which is a good learning rate to begin with; it is "
            f"lowest at {self.lowest:.2g}, above which it rises"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        values = {"suggestion": self.suggestion, "lowest": self.lowest}
        return {**values, "rates": [*self.rates], "losses": [*self.losses]}

    def plot(self) -> "Figure":
        """Return the plot of the loss against the learning rate, with the two rates marked."""
        from pellucid.report.figures.curves import range_test_curve

        return range_test_curve(self.rates, self.losses, self.suggestion, self.lowest)


def range_test(
    model: Learner,
    data: Source,
    *,
    batch_size: int = 32,
    augment: Augmentation | None = None,
    lowest: float = LOWEST_RATE,
    highest: float = HIGHEST_RATE,
    steps: int = DEFAULT_STEPS,
) -> LearningRateRange:
    """Train for some steps with learning rates from `lowest` to `highest`, and restore the weights.

    The rate grows by the same factor from step to step; the optimizer is the model's, without its schedule. The test
    ends early when the loss diverges. Raises PellucidError for invalid arguments, and if the loss is not finite before
    MIN_STEPS steps.
    Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3.
    """
    steps = integer(steps, "find_lr: steps", MIN_STEPS)
    check(0 < lowest < highest < math.inf, "find_lr: lowest and highest", "0 < lowest < highest", (lowest, highest))
    initial_weights = {path: tensor.clone() for path, tensor in flatten(model.params).items()}
    try:
        rates, losses = _train_with_rates(
            model, data, batch_size, augment, np.geomspace(lowest, highest, steps).tolist()
        )
    finally:
        with torch.inference_mode():
            for path, tensor in flatten(model.params).items():
                tensor.copy_(initial_weights[path])
    if len(losses) < MIN_STEPS:
        raise PellucidError(
            f"find_lr: the loss is not finite after {plural(len(losses), 'step')}, at a learning rate of "
            f"{rates[-1]:.2g}; give a "
            "lower `lowest`, or look for very large values in the data"
        )
    best_index = int(np.argmin(losses))
    # The slope per step is proportional to the slope over the logarithm of the rate.
    slopes = np.gradient(np.array(losses[: best_index + 1])) if best_index else np.zeros(1)
    return LearningRateRange(tuple(rates), tuple(losses), rates[int(np.argmin(slopes))], rates[best_index])


def _train_with_rates(
    model: Learner, data: Source, batch_size: int, augment: Augmentation | None, rates: list[float]
) -> tuple[list[float], list[float]]:
    """Return the rates that were used, and the smoothed loss before each step."""
    step = TrainingStep.of(model, len(data))
    rng = seeded_generator(model.device)
    used_rates: list[float] = []
    losses: list[float] = []
    average = 0.0
    with torch.inference_mode():
        for step_number, (rate, batch) in enumerate(
            zip(rates, _endless_batches(model, data, batch_size, augment), strict=False), 1
        ):
            seed_step(rng, model.seed, step_number)
            used_rates.append(rate)
            try:
                values = step(on_device(batch, model.device), rate, rng)
            except NotFiniteError:
                break
            loss = model.objective.total({name: float(value) for name, value in values.items()})
            if not math.isfinite(loss):
                break
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            losses.append(average / (1 - SMOOTHING**step_number))
            if step_number > MIN_STEPS and losses[-1] > DIVERGENCE_FACTOR * min(losses):
                break
    return used_rates[: len(losses)] or used_rates, losses


def _endless_batches(model: Learner, data: Source, batch_size: int, augment: Augmentation | None) -> Iterator[Batch]:
    """Yield training batches, epoch after epoch."""
    loader = batch_loader(model, data, integer(batch_size, "find_lr: batch_size", 1), augment)
    for epoch in range(10**6):  # more than are needed, but not endless if a stream yields nothing
        yield from loader.epoch(epoch, 0)
