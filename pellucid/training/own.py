"""User-defined parts: registration, and checks before a training that everything can be saved."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from pellucid import config
from pellucid.config import check_fields, check_list
from pellucid.errors import PellucidError
from pellucid.optim import OPTIMIZERS, MaxNorm, Optimizer, Regularizer, Schedule
from pellucid.optim.base import State
from pellucid.run.described import rebuilt
from pellucid.run.weights import check_size
from pellucid.text import shown
from pellucid.training.callbacks import Callback
from pellucid.training.learner import Learner
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
