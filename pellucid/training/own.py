"""User-defined parts: registration, and checks before a training that everything can be saved."""
# What users' own parts return is checked, whatever its type should be.
# pyright: reportUnnecessaryIsInstance=false

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from pellucid import config
from pellucid.config import check_fields, check_list
from pellucid.contract import attempt, changed, copied, form
from pellucid.data.source import Batch
from pellucid.errors import PellucidError, nearest
from pellucid.layers.base import Mode, Params
from pellucid.objective import Objective
from pellucid.optim import OPTIMIZERS, REGULARIZERS, SCHEDULES, MaxNorm, Optimizer, Progress, Regularizer, Schedule
from pellucid.optim.base import State
from pellucid.run.described import rebuilt
from pellucid.run.weights import check_size
from pellucid.text import shown
from pellucid.training.callbacks import Callback
from pellucid.training.learner import Learner
from pellucid.training.step import Step, check_gradients
from pellucid.tree import flatten
from pellucid.weights.match import match

T = TypeVar("T")
GIVEN = (
    Optimizer,
    Schedule,
    Regularizer,
    MaxNorm,
    Callback,
)  # given to each training; files do not name them


def register(part: T, *more: Any) -> T:
    """Let weights files name user-defined classes: `pellucid.register(Scale, Focal)`, or `@pellucid.register`.

    Layers, combinators, losses, objectives, metrics, and functions that are metrics are then saved and loaded like
    Pellucid's own. Optimizers, schedules, regularizers and callbacks are given to each training again, so that files do
    not name them: registering one only checks it. Returns the first of the parts.
    Raises PellucidError for anything else, for a name that is taken, and for a class whose constructor has an argument
    that is not a field, so that it could not be built again.
    """
    config.register(*in_files((part, *more)))
    return part


def in_files(parts: Any) -> tuple[Any, ...]:
    """Return the parts of a list that files name; the others, given to each training again, are only checked.

    Raises PellucidError for anything but a list, and for a part whose constructor has an argument that is not a field.
    """
    check_list(parts)
    named: list[Any] = []
    for part in parts:
        if not inspect.isclass(part) or not issubclass(part, GIVEN):
            named.append(part)
        elif not issubclass(part, Callback):
            check_fields(part)
    return tuple(named)


def check_saves(model: Learner, kind: Callable[..., Any]) -> None:
    """Raise PellucidError, before the first step, for a model that could not be saved, or not be loaded again.

    Also for optimizers, schedules and regularizers that could not be restored: their settings must be in their fields.
    kind: the class Model.
    """
    try:
        about = json.loads(json.dumps(model.about(), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, PellucidError):
            raise
        raise PellucidError(f"the model cannot be saved: {error}; describe it by finite numbers and texts") from error
    entries = {path: [str(tensor.dtype), [*tensor.shape], [0, 0]] for path, tensor in flatten(model.params).items()}
    check_size("the model", len(json.dumps([json.dumps(about), entries])))
    try:
        _, wanted, _, _ = rebuilt(kind, about, {}, model.custom)
    except PellucidError as error:
        raise PellucidError(f"the model could be saved, but not loaded again: {error}") from error
    wrong = match(flatten(wanted), flatten(model.params))
    if wrong:
        raise PellucidError(f"the model could be saved, but not loaded again: {wrong[0]}; keep to what init makes")
    for part in (model.optimizer, *model.optimizers.values(), model.schedule, *model.regularizers):
        check_fields(type(part))
        stray = sorted(set(getattr(part, "__dict__", {})) - set(getattr(part, "__dataclass_fields__", {})))
        if stray:
            raise PellucidError(
                f"{type(part).__name__}: {stray[0]!r} is kept outside the fields of the class, so that a resumed "
                "training would lack it; make it a field, and return what changes from init or begin"
            )


def check_hooks(callback: Callback) -> None:
    """Raise PellucidError for a method of a callback that is called like a hook, but that `fit` never calls."""
    hooks = [name for name in dir(Callback) if name.startswith("on_")]
    for name in dir(callback):
        if name.startswith("on_") and name not in hooks and callable(getattr(callback, name)):
            raise PellucidError(
                f"{type(callback).__name__}: {name} is not a hook, so fit would never call it; hooks: "
                f"{', '.join(hooks)}{nearest(name, hooks)}"
            )


def try_rules(model: Learner, weights: Sequence[Tensor], place: Progress) -> None:
    """Call each method of a user-defined optimizer, schedule and regularizer once, on zeros.

    Raises PellucidError, naming class and method, for an error inside one, and for a factor or cost of another kind.
    """
    trial = [torch.zeros_like(weight) for weight in weights]
    for optimizer in model.optimizers.values() or [model.optimizer]:
        if type(optimizer) not in OPTIMIZERS.values():
            state = attempt(f"{type(optimizer).__name__}: init", optimizer.init, trial)
            what = f"{type(optimizer).__name__}: update"
            attempt(what, optimizer.update, trial, [torch.zeros_like(one) for one in trial], state, 0.0)
    schedule, name = model.schedule, type(model.schedule).__name__
    if type(schedule) not in SCHEDULES.values():
        factor = attempt(f"{name}: factor", schedule.factor, place, attempt(f"{name}: begin", schedule.begin))
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            raise PellucidError(f"{name}: the factor of the learning rate must be a number, not {form(factor)}")
    for one in model.regularizers:
        if isinstance(one, Regularizer) and type(one) not in REGULARIZERS.values() and trial:
            name = type(one).__name__
            cost = attempt(f"{name}: cost", one.cost, trial, 1)
            if not isinstance(cost, Tensor) or cost.dim():
                raise PellucidError(f"{name}: cost must return a tensor of one number, not {form(cost)}")
            attempt(f"{name}: add_gradient", one.add_gradient, trial, [torch.zeros_like(each) for each in trial], 1)
            attempt(f"{name}: shrink", one.shrink, trial, 0.0)


def try_objective(objective: Objective, params: Params, step: Step, batch: Batch, rng: torch.Generator) -> None:
    """Compute the gradients and the predictions of a user-defined objective once; nothing is learned.

    Raises PellucidError, naming the method, for an error inside one and for what it must not return, such as
    predictions of another shape than `init` says.
    """
    name, before = type(objective).__name__, copied(batch.images)
    attempt(
        f"{name}.gradients",
        lambda: check_gradients(objective, step, objective.gradients(params, batch, Mode(rng=rng))),
    )
    found = attempt(f"{name}.predict", objective.predict, params, batch.images)
    if changed(before, batch.images):
        raise PellucidError(f"{name} changes batch.images, which others read too; compute new tensors")
    with torch.device("meta"):  # shapes only
        _, outputs = objective.init(tuple(batch.images.shape[1:]), torch.Generator())
    if isinstance(found, Tensor) and tuple(found.shape) != (len(batch.images), *outputs):
        raise PellucidError(
            f"{name}.predict returned {form(found)} for {len(batch.images)} images, but its init says {outputs} for an "
            "image; let init return the shape of what predict returns"
        )


def check_optimizer(optimizer: Optimizer, weights: Sequence[Tensor]) -> None:
    """Require that `init` of a user-defined optimizer returns its whole state, of types that checkpoints hold."""
    if type(optimizer) in OPTIMIZERS.values():
        return
    name, trial = type(optimizer).__name__, [torch.zeros_like(weight) for weight in weights]
    state = optimizer.init(trial)
    _check_state(name, state, len(trial))
    begun = set(state)
    optimizer.update(trial, [torch.zeros_like(weight) for weight in weights], state, 0.0)
    _check_state(name, state, len(trial))
    if set(state) != begun:
        odd = sorted(set(state) ^ begun)[0]
        raise PellucidError(f"{name}: update adds or removes {odd!r} in its state; let init make the whole state")


def check_memory(schedule: Schedule, memory: Mapping[str, Any]) -> None:
    """Require a schedule's state that checkpoints can hold: finite numbers by name."""
    _check_json(f"{type(schedule).__name__}: its memory", memory)


def callback_state(callback: Callback) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a callback's state and its JSON values; PellucidError, by name, for anything else."""
    name, state = type(callback).__name__, callback.state_dict()
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise PellucidError(f"{name}: state_dict must return values by name, not {shown(state)}")
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    values = {key: value for key, value in state.items() if key not in tensors}
    for key, value in values.items():
        _check_json(f"{name}: state_dict()[{key!r}]", value)
    return tensors, values


def _check_state(name: str, state: State, count: int) -> None:
    if not isinstance(state, dict):
        raise PellucidError(f"{name}: init must return a dict, not {shown(state)}")
    for key, value in state.items():
        tensors = isinstance(value, list) and len(value) == count and all(isinstance(one, Tensor) for one in value)
        if not isinstance(key, str) or (type(value) is not int and not tensors):
            raise PellucidError(
                f"{name}: state[{key!r}] is {shown(value)}; keep a whole number, or a list with one tensor for each "
                "parameter"
            )


def _check_json(what: str, value: Any) -> None:
    try:
        same = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError, RecursionError):
        same = False
    if not same:
        raise PellucidError(
            f"{what} is {shown(value)}, which a checkpoint cannot give back; use tensors, finite numbers, texts, lists "
            "or None"
        )
