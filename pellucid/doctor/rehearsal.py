"""Rehearsals: short trainings of a model from its initial weights."""

from copy import copy
from dataclasses import dataclass
from inspect import signature
from itertools import count, islice
from math import inf, isfinite
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.combine.base import buffer_paths
from pellucid.data.source import Source
from pellucid.nested import flatten, map_tree, shared_paths
from pellucid.network.work import objective_work
from pellucid.objective import Supervised, seeded_generator
from pellucid.optim import Progress
from pellucid.training.cached import without_frozen_front
from pellucid.training.device import on_device
from pellucid.training.examples import first_batch
from pellucid.training.layer_statistics import seed_step
from pellucid.training.model import BaseModel
from pellucid.training.reading import Augmentation, batch_loader
from pellucid.training.step import NotFiniteError, TrainingStep

DEFAULT_EPOCHS = 30  # length of the schedule if the number of epochs is unknown
# `regularizers` has another name than its argument; rehearsals draw on the CPU, and then move the model.
MODEL_SETTINGS = tuple(name for name in signature(BaseModel).parameters if name not in ("regularizer", "device"))


def reinitialized(model: BaseModel, **changes: Any) -> BaseModel:
    """Return a model with the same settings, except for `changes` (arguments of BaseModel), and newly drawn weights.

    Tensors that training does not change, such as frozen ones, keep their values if the new network has a tensor with
    the same path and shape. For an objective that is not supervised, all weights are newly drawn. `changes` may contain
    `nets`, the networks of an objective by name.
    """
    if not isinstance(model.objective, Supervised):
        new = with_copied_weights(model)
        new.objective = changes.pop("objective", model.objective).with_nets(changes.pop("nets", {}))
        for name, value in changes.items():
            setattr(new, "regularizers" if name == "regularizer" else name, value)
        with torch.inference_mode(False):
            new.params, _ = new.objective.init(model.nominal_shape, torch.Generator().manual_seed(model.seed))
        return new
    settings: dict[str, Any] = {name: getattr(model, name) for name in MODEL_SETTINGS}
    if "nets" in changes:
        changes["net"] = changes.pop("nets")[""]
    new = BaseModel(**{**settings, "regularizer": model.regularizers, **changes})
    old_params, new_params = flatten(model.params), flatten(new.params)
    shared = {*shared_paths(model.params, new.params)}
    new.frozen = model.frozen & shared
    new.rates = {path: rate for path, rate in model.rates.items() if path in shared}
    for path in _fixed_paths(model) & shared:
        new_params[path].copy_(old_params[path])
    return new


def _fixed_paths(model: BaseModel) -> set[str]:
    """Return the paths of tensors that training does not change: frozen parameters, and buffers of frozen layers."""
    buffers = buffer_paths(model.net)
    trained_paths = flatten(model.params).keys() - buffers - model.frozen
    trained_layers, frozen_layers = (
        {path.rpartition(".")[0] for path in paths} for paths in (trained_paths, model.frozen)
    )
    return model.frozen | {path for path in buffers if path.rpartition(".")[0] in frozen_layers - trained_layers}


def with_copied_weights(model: BaseModel) -> BaseModel:
    """Return the model with a copy of its weights."""
    new = copy(model)
    new.params = map_tree(torch.clone, model.params)
    return new


def model_on(model: BaseModel, device: torch.device) -> BaseModel:
    """Return the model on a device: itself if it is already there, else a copy."""
    if model.device == device:
        return model
    new = copy(model)
    new.device, new.params = device, on_device(model.params, device)
    return new


@dataclass(frozen=True)
class RehearsalSettings:
    """Settings of a rehearsal.

    steps: the number of steps. work: the limit in multiply-adds; if `steps` steps
    exceed it, fewer are made, but at least one. compressed: whether the schedule is compressed into `steps` steps, or
    the part `fraction` of it.
    """

    steps: int
    work: float = inf
    compressed: bool = False
    fraction: float = 1.0


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """The result of a rehearsal.

    losses: the loss of each step before its update. has_failed: whether a loss or the weights were not finite or a step
    raised an error; there may then be fewer losses than requested steps. stopped: the message of the error that a step
    raised, or "". model: the trained model.
    """

    losses: tuple[float, ...]
    has_failed: bool
    model: BaseModel
    stopped: str = ""


def step_work(model: BaseModel, data: Source, batch_size: int) -> float:
    """Return the multiply-adds of a training step, with twice as many for the backward pass as for the forward pass."""
    example_work = objective_work(model.objective, model.params, first_batch(data).images.shape[1:])
    return 3.0 * min(batch_size, len(data)) * example_work


def rehearse(
    model: BaseModel,
    data: Source,
    batch_size: int,
    augment: Augmentation | None,
    settings: RehearsalSettings,
    steps_planned: int = 0,
) -> Rehearsal:
    """Train `model` in place for a few steps, and return the losses.

    steps_planned: the number of steps of the whole training, for its schedule; 0 if unknown.
    """
    work = step_work(model, data, batch_size)
    steps = settings.steps if work * settings.steps <= settings.work else max(int(settings.work / work), 1)
    trained: Any = model
    if augment is None and model.frozen and len(data) <= steps * batch_size:
        trained, data, _ = without_frozen_front(model, data, None)
    step = TrainingStep.of(trained, len(data))
    loader = batch_loader(trained, data, min(batch_size, len(data)), augment)
    steps_planned = steps_planned or DEFAULT_EPOCHS * len(loader)
    is_compressed = settings.compressed and settings.steps
    schedule_stride = max(settings.fraction * steps_planned / settings.steps, 1.0) if is_compressed else 1.0
    seeds = seeded_generator(model.device)
    losses: list[float] = []
    state = model.schedule.begin()
    stream = (batch for epoch in count() for batch in loader.epoch(epoch))
    with torch.inference_mode():
        for index, batch in enumerate(islice(stream, steps)):
            scheduled = min(int(index * schedule_stride), steps_planned - 1)  # after its end, the last rate is used
            progress = Progress(scheduled, steps_planned, len(loader))
            lr = model.optimizer.lr * model.schedule.factor(progress, state)
            try:
                losses_by_name = step(on_device(batch, model.device), lr, seed_step(seeds, model.seed, index))
                loss = model.objective.total({name: float(value) for name, value in losses_by_name.items()})
            except PellucidError as error:  # for example, a batch with one value per channel
                return Rehearsal(tuple(losses), True, model, str(error))
            except NotFiniteError:
                loss = inf
            if not isfinite(loss):
                return Rehearsal(tuple(losses), True, model)
            losses.append(loss)
        if step.average is not None:
            step.average.replace_weights()
    has_failed = not all(bool(torch.isfinite(weight).all()) for weight in step.weights)
    return Rehearsal(tuple(losses), has_failed, model)
