"""Checks of user-defined parts before a training: that they run, and that the model can be saved."""
# Return values of user-defined classes are checked at run time, regardless of their annotations.
# pyright: reportUnnecessaryIsInstance=false

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.text import plural, shown
from pellucid.combine.base import walk
from pellucid.data.source import Batch, Source
from pellucid.extend import config
from pellucid.extend.registry import check_fields, check_list, is_ours
from pellucid.extend.user_defined import attempt, copy_of, describe, has_changed, try_network
from pellucid.layers.base import Mode, Params
from pellucid.nested import dtype_of, flatten
from pellucid.objective import Objective, Supervised
from pellucid.optim import OPTIMIZERS, REGULARIZERS, SCHEDULES, MaxNorm, Optimizer, Progress, Regularizer, Schedule
from pellucid.optim.base import State
from pellucid.run.described import rebuild_model
from pellucid.run.weights import check_size
from pellucid.training.callbacks import Callback
from pellucid.training.learner import Learner
from pellucid.training.reading import read_batches
from pellucid.training.step import TrainingStep
from pellucid.weights.match import match

# Classes of parts that are passed to each training, so weights files do not name them.
NOT_IN_FILES = (Optimizer, Schedule, Regularizer, MaxNorm, Callback)


def parts_for_files(parts: Any) -> tuple[Any, ...]:
    """Return the parts of a list that weights files can contain: all but subclasses of those in NOT_IN_FILES.

    Such subclasses are only checked: raises PellucidError for an optimizer, schedule or regularizer whose constructor
    has an argument that is not a field, and for anything but a list.
    """
    check_list(parts)
    file_parts: list[Any] = []
    for part in parts:
        if not inspect.isclass(part) or not issubclass(part, NOT_IN_FILES):
            file_parts.append(part)
        elif not issubclass(part, Callback):
            check_fields(part)
    return tuple(file_parts)


def check_saves(model: Learner, model_class: Callable[..., Any]) -> None:
    """Raise PellucidError unless the model can be saved and loaded.

    This includes optimizers, schedules and regularizers, whose settings must be in their fields. model_class: the class
    Model.
    """
    try:
        description = json.loads(json.dumps(model.about(), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        if isinstance(error, PellucidError):
            raise
        raise PellucidError(f"the model cannot be saved: {error}; use finite numbers and texts in it") from error
    header_entries = {
        path: [str(tensor.dtype), [*tensor.shape], [0, 0]] for path, tensor in flatten(model.params).items()
    }
    config.note_unsaved(model.metrics, model.custom)
    check_size("the model", len(json.dumps([json.dumps(description), header_entries])))
    try:
        _, rebuilt_params, _, _ = rebuild_model(model_class, description, {}, model.custom)
    except PellucidError as error:
        raise PellucidError(f"the model could be saved, but not loaded again: {error}") from error
    mismatches = match(flatten(rebuilt_params), flatten(model.params))
    if mismatches:
        raise PellucidError(
            f"the model could be saved, but not loaded again: {mismatches[0]}; keep the parameters that init returns"
        )
    for part in (model.optimizer, *model.optimizers.values(), model.schedule, *model.regularizers):
        check_fields(type(part))
        extra_attributes = sorted(set(getattr(part, "__dict__", {})) - set(getattr(part, "__dataclass_fields__", {})))
        if extra_attributes:
            raise PellucidError(
                f"{type(part).__name__}: the attribute {extra_attributes[0]!r} is not a field of the class, so a "
                "resumed training would lack it; make it a field, or a part of the state that init or begin returns"
            )


def check_hooks(callback: Callback) -> None:
    """Raise PellucidError for a method of a callback whose name begins with "on_", but which `fit` never calls."""
    hooks = [name for name in dir(Callback) if name.startswith("on_")]
    for name in dir(callback):
        if name.startswith("on_") and name not in hooks and callable(getattr(callback, name)):
            raise PellucidError(
                f"{type(callback).__name__}: {name} is not a hook, so fit would never call it; hooks: "
                f"{', '.join(hooks)}{nearest(name, hooks)}"
            )


def try_parts(model: Learner, step: TrainingStep, data: Source, progress: Progress, rng: torch.Generator) -> None:
    """Run user-defined classes once, so that errors in them appear before the first step."""
    objective = model.objective
    try_optimization_parts(model, step.weights, progress)
    batch = next(read_batches(data, range(min(2, len(data))), 2, model.stats, model.device, dtype_of(model.params)))
    if not isinstance(objective, Supervised):
        try_objective(objective, model.params, step, batch, rng)
    elif not all(map(is_ours, (objective.loss, *(layer for _, layer in walk(objective.net))))):
        try_network(objective.net, model.params, objective.loss, batch.images, batch.targets)


def try_optimization_parts(model: Learner, weights: Sequence[Tensor], progress: Progress) -> None:
    """Call the methods of user-defined optimizers, schedules (but not `observe`) and regularizers once, with zeros.

    Raises PellucidError, naming class and method, for an error inside one, and for a factor or cost of the wrong type.
    """
    zero_weights = [torch.zeros_like(weight) for weight in weights]
    for optimizer in model.optimizers.values() or [model.optimizer]:
        if type(optimizer) not in OPTIMIZERS.values():
            state = attempt(f"{type(optimizer).__name__}: init", optimizer.init, zero_weights)
            method_name = f"{type(optimizer).__name__}: update"
            attempt(
                method_name,
                optimizer.update,
                zero_weights,
                [torch.zeros_like(tensor) for tensor in zero_weights],
                state,
                0.0,
            )
    schedule = model.schedule
    name = type(model.schedule).__name__
    if type(schedule) not in SCHEDULES.values():
        factor = attempt(f"{name}: factor", schedule.factor, progress, attempt(f"{name}: begin", schedule.begin))
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            raise PellucidError(f"{name}: the factor of the learning rate must be a number, not {describe(factor)}")
    for regularizer in model.regularizers:
        if isinstance(regularizer, Regularizer) and type(regularizer) not in REGULARIZERS.values() and zero_weights:
            name = type(regularizer).__name__
            cost = attempt(f"{name}: cost", regularizer.cost, zero_weights, 1)
            if not isinstance(cost, Tensor) or cost.dim():
                raise PellucidError(f"{name}: cost must return a tensor of one number, not {describe(cost)}")
            zeros = [torch.zeros_like(tensor) for tensor in zero_weights]
            attempt(f"{name}: add_gradient", regularizer.add_gradient, zero_weights, zeros, 1)
            attempt(f"{name}: shrink", regularizer.shrink, zero_weights, 0.0)


def try_objective(objective: Objective, params: Params, step: TrainingStep, batch: Batch, rng: torch.Generator) -> None:
    """Compute the gradients and the predictions of a user-defined objective once, without an update.

    Raises PellucidError, naming the method, for an error inside one and for invalid results, such as predictions of
    another shape than `init` returns.
    """
    name = type(objective).__name__
    images_before = copy_of(batch.images)
    attempt(
        f"{name}.gradients",
        lambda: _check_result(objective, step, objective.gradients(params, batch, Mode(rng=rng))),
    )
    predictions = attempt(f"{name}.predict", objective.predict, params, batch.images)
    if has_changed(images_before, batch.images):
        raise PellucidError(f"{name} changes batch.images, which is used again later; compute new tensors")
    with torch.device("meta"):  # shapes only
        _, outputs = objective.init(tuple(batch.images.shape[1:]), torch.Generator())
    if isinstance(predictions, Tensor) and tuple(predictions.shape) != (len(batch.images), *outputs):
        raise PellucidError(
            f"{name}.predict returned {describe(predictions)} for {plural(len(batch.images), 'image')}, but its "
            "init returned "
            f"{outputs} for an image; let init return the shape of one prediction"
        )


def check_optimizer(optimizer: Optimizer, weights: Sequence[Tensor]) -> None:
    """Raise PellucidError unless a user-defined optimizer's `init` returns its whole state, of valid types.

    Checkpoints can contain whole numbers, and lists with one tensor for each parameter.
    """
    if type(optimizer) in OPTIMIZERS.values():
        return
    name = type(optimizer).__name__
    zero_weights = [torch.zeros_like(weight) for weight in weights]
    state = optimizer.init(zero_weights)
    _check_state(name, state, len(zero_weights))
    initial_keys = set(state)
    optimizer.update(zero_weights, [torch.zeros_like(weight) for weight in weights], state, 0.0)
    _check_state(name, state, len(zero_weights))
    if set(state) != initial_keys:
        key = sorted(set(state) ^ initial_keys)[0]
        raise PellucidError(f"{name}: update adds or removes {key!r} in its state; let init return the whole state")


def callback_state(callback: Callback) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the JSON values of a callback's state; raises PellucidError for anything else."""
    name = type(callback).__name__
    state = callback.state_dict()
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise PellucidError(f"{name}: state_dict must return values by name, not {shown(state)}")
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    json_values = {key: value for key, value in state.items() if key not in tensors}
    for key, value in json_values.items():
        check_json(f"{name}: state_dict()[{key!r}]", value)
    return tensors, json_values


def _check_state(name: str, state: State, n_weights: int) -> None:
    if not isinstance(state, dict):
        raise PellucidError(f"{name}: init must return a dict, not {shown(state)}")
    for key, value in state.items():
        is_tensor_list = (
            isinstance(value, list) and len(value) == n_weights and all(isinstance(item, Tensor) for item in value)
        )
        if not isinstance(key, str) or (type(value) is not int and not is_tensor_list):
            raise PellucidError(
                f"{name}: state[{key!r}] is {shown(value)}; store a whole number, or a list with one tensor for each "
                "parameter"
            )


def check_json(name: str, value: Any) -> None:
    """Raise PellucidError for a part of a training's state that JSON cannot represent exactly."""
    try:
        is_exact = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError, RecursionError):
        is_exact = False
    if not is_exact:
        raise PellucidError(
            f"{name} is {shown(value)}, which a checkpoint cannot restore; use finite numbers, "
            "texts, lists, dicts or None, and tensors only by name in a callback's state"
        )


def _check_result(objective: Objective, step: TrainingStep, result: object) -> None:
    """Raise PellucidError unless `result` is a valid result of `Objective.gradients`."""
    method = f"{type(objective).__name__}.gradients"
    names: list[str] = []
    for turn in cast(Iterator[Any], result) if isinstance(result, Iterator) else (result,):
        pair = cast(tuple[Any, ...], turn) if isinstance(turn, tuple) else ()
        if len(pair) != 2 or not all(isinstance(mapping, Mapping) for mapping in pair):
            raise PellucidError(
                f"{method} must return (losses, dparams), two dicts, or yield such pairs, not "
                f"{shown(cast(object, turn))}"
            )
        losses, dparams = pair
        _check_turn(method, step, losses, dparams)
        names += losses
    if not names or ("loss" in names and len(set(names)) > 1):
        raise PellucidError(f"{method}: name each loss; 'loss' is the name of their sum, or of the only one")
    objective.total(dict.fromkeys(names, 0.0))


def _check_turn(method: str, step: TrainingStep, losses: Mapping[str, Any], dparams: Params) -> None:
    for name, value in losses.items():
        if not isinstance(value, Tensor) or value.dim():
            raise PellucidError(f"{method}: the loss {name!r} must be a tensor of one number, not {shown(value)}")
    learned = dict(zip(step.paths, step.weights, strict=True))
    for path, gradient in flatten(dparams).items():
        if path not in learned and path not in step.excluded_paths:
            hint = nearest(path, learned) or f"; parameters: {', '.join(learned):.200}"
            raise PellucidError(f"{method} returned a gradient of {path!r}, which is not a parameter{hint}")
        if path in learned and gradient.shape != learned[path].shape:
            shapes = f"{tuple(gradient.shape)}, but the parameter has {tuple(learned[path].shape)}"
            raise PellucidError(f"{method}: the gradient of {path} has the shape {shapes}")
