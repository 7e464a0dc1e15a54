"""A few steps of a training, on a copy, watched closely."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from pellucid.data import Loader
from pellucid.doctor.measure.backward import rms
from pellucid.errors import PellucidError
from pellucid.optim import Progress
from pellucid.train.examples import Examples
from pellucid.train.model import Model
from pellucid.train.step import Step

WATCHED = 8  # every so many steps the size of the update is measured


@dataclass(frozen=True)
class Settings:
    """steps: how many. factor: of the learning rate. scheduled: whether the schedule has its say, over these steps."""

    steps: int
    factor: float = 1.0
    scheduled: bool = False


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """What happened.

    losses: of each step before its update; shorter than asked for where one was not finite, which `broke` tells.
    ratios: the median over steps of rms(update) / rms(weights), by the path of what is learned; None for weights of 0.
    model: what became of it.
    """

    losses: tuple[float, ...]
    broke: bool
    ratios: Mapping[str, float | None]
    model: Model

    @property
    def end(self) -> float:
        """The mean loss of the last quarter of the steps; infinite where it broke."""
        last = self.losses[-max(len(self.losses) // 4, 1) :]
        return float("inf") if self.broke or not last else sum(last) / len(last)


def rehearse(
    model: Model,
    data: Examples,
    batch_size: int,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None,
    settings: Settings,
) -> Rehearsal:
    """Train `model`, which changes, for a few steps at its learning rate times a factor."""
    step = Step(
        model.net, model.params, model.loss, model.optimizer, examples=len(data), regularizers=model.regularizers,
        clip=model.clip, precision=model.precision, frozen=model.frozen, rates=model.rates,
    )  # fmt: skip
    transform = None if model.stats is None else model.stats.apply
    loader = Loader(data.x, data.y, min(batch_size, len(data)), model.seed, augment, transform=transform)
    rng = torch.Generator().manual_seed(model.seed)
    losses: list[float] = []
    ratios: dict[str, list[float]] = {path: [] for path in step.paths}
    memory, epoch = model.schedule.begin(), 0
    with torch.inference_mode():
        while len(losses) < settings.steps:
            for x, target in loader.epoch(epoch):
                lr = model.optimizer.lr * settings.factor
                if settings.scheduled:
                    lr *= model.schedule.factor(Progress(len(losses), settings.steps, len(loader)), memory)
                watched = len(losses) % WATCHED == 0
                before = [weight.clone() for weight in step.weights] if watched else []
                try:
                    loss = step(x, target, lr, rng).item()
                except PellucidError:  # a batch that the network cannot learn from, such as one value per channel
                    loss = float("nan")
                if not isfinite(loss):
                    return Rehearsal(tuple(losses), True, _medians(ratios), model)
                losses.append(loss)
                for path, old, new in zip(step.paths, before, step.weights, strict=False):
                    size = rms(old)
                    if size:
                        ratios[path].append(rms(new - old) / size)
                if len(losses) == settings.steps:
                    break
            epoch += 1
    broke = not all(bool(torch.isfinite(weight).all()) for weight in step.weights)
    return Rehearsal(tuple(losses), broke, _medians(ratios), model)


def _medians(found: Mapping[str, list[float]]) -> dict[str, float | None]:
    return {path: sorted(values)[len(values) // 2] if values else None for path, values in found.items()}
