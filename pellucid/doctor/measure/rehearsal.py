"""A few steps of a training, on a copy, watched closely."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from statistics import median_high

import torch

from pellucid.data.source import Arrays
from pellucid.doctor.measure.backward import rms
from pellucid.errors import PellucidError
from pellucid.objective import seeded
from pellucid.optim import Progress
from pellucid.training.batches import Augmentation, batches
from pellucid.training.device import on_device
from pellucid.training.draws import draws
from pellucid.training.model import BaseModel
from pellucid.training.step import NotFiniteError, Step

WATCHED = 8  # every so many steps the size of the update is measured
USUAL = 30  # epochs that a schedule goes over where nothing tells how many there are


@dataclass(frozen=True)
class Settings:
    """steps: how many, fewer where they would take more than `seconds`. factor: of the learning rate.

    whole: whether the schedule is run through in these steps, however many the training has.
    """

    steps: int
    factor: float = 1.0
    seconds: float = inf
    whole: bool = False


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """What happened.

    losses: of each step before its update; shorter than asked for where one was not finite, or where the step could not
    be taken, which `broke` tells, and where the time was over, which `late` tells. stopped: the error of a step that
    could not be taken, "" where numbers broke it. ratios: the median over steps of rms(update) / rms(weights), by the
    path of what is learned; None for weights of 0. model: what became of it.
    """

    losses: tuple[float, ...]
    broke: bool
    ratios: Mapping[str, float | None]
    model: BaseModel
    stopped: str = ""
    late: bool = False

    @property
    def end(self) -> float:
        """The mean loss of the last quarter of the steps; infinite where it broke."""
        last = self.losses[-max(len(self.losses) // 4, 1) :]
        return inf if self.broke or not last else sum(last) / len(last)


def rehearse(
    model: BaseModel,
    data: Arrays,
    batch_size: int,
    augment: Augmentation | None,
    settings: Settings,
    planned: int = 0,
) -> Rehearsal:
    """Train `model`, which changes, for a few steps at its learning rate times a factor.

    planned: the steps of the whole training, which its schedule goes by; 0 where they are unknown.
    """
    step = Step.of(model, len(data))
    loader = batches(model, data, min(batch_size, len(data)), augment)
    planned = planned or USUAL * len(loader)
    pace = max(planned / settings.steps, 1.0) if settings.whole and settings.steps else 1.0
    rng = seeded(model.device)
    losses: list[float] = []
    ratios: dict[str, list[float]] = {path: [] for path in step.paths}
    memory, epoch = model.schedule.begin(), 0
    begun = time.perf_counter()
    with torch.inference_mode():
        while len(losses) < settings.steps:
            for batch in loader.epoch(epoch):
                number = len(losses)
                place = Progress(
                    min(int(number * pace), planned - 1), planned, len(loader)
                )  # past the end, the last rate stays
                lr = model.optimizer.lr * settings.factor * model.schedule.factor(place, memory)
                watched = number % WATCHED == 0
                before = [weight.clone() for weight in step.weights] if watched else []
                try:
                    loss = float(step(on_device(batch, model.device), lr, draws(rng, model.seed, number))["loss"])
                except NotFiniteError:
                    return Rehearsal(tuple(losses), True, _medians(ratios), model)
                except PellucidError as error:  # a batch to learn nothing from, such as one value per channel
                    return Rehearsal(tuple(losses), True, _medians(ratios), model, str(error))
                if not isfinite(loss):
                    return Rehearsal(tuple(losses), True, _medians(ratios), model)
                losses.append(loss)
                for path, old, new in zip(step.paths, before, step.weights, strict=False):
                    size = rms(old)
                    if size:
                        ratios[path].append(rms(new - old) / size)
                if len(losses) == settings.steps or time.perf_counter() - begun > settings.seconds:
                    break
            if time.perf_counter() - begun > settings.seconds:
                break
            epoch += 1
    broke = not all(bool(torch.isfinite(weight).all()) for weight in step.weights)
    late = len(losses) < settings.steps
    return Rehearsal(tuple(losses), broke, _medians(ratios), model, "", late)


def _medians(found: Mapping[str, list[float]]) -> dict[str, float | None]:
    return {path: median_high(values) if values else None for path, values in found.items()}
