"""Checkpoints: a weights file that also holds everything an exact resumption needs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.data import Source
from pellucid.errors import DamagedFileError, PellucidError
from pellucid.files import keep_as, set_aside
from pellucid.layers.base import Params
from pellucid.metrics import Metric, MetricLike, function_name
from pellucid.objective import Objective, Supervised
from pellucid.run.folder import RunFolder
from pellucid.run.history import History
from pellucid.run.weights import fill, read_weights, write_weights
from pellucid.text import note
from pellucid.training.callbacks import Callback, Training, tensors_of
from pellucid.training.device import usable_precision
from pellucid.training.learner import Learner
from pellucid.training.own import callback_state, check_memory
from pellucid.training.step import Step
from pellucid.tree import flatten

OPTIMIZER = "[optimizer]."  # "[" is in no path of a network, so these names never meet those of weights
CALLBACKS = "[callback]."
GROWING = "[progress]"  # bytes of JSON: what grows with the training, since the size of a file's header is limited
_PARTS = {
    "rows": list,
    "layers": list,
    "callbacks": dict,
    "schedule": dict,
    "settings": dict,
    "losses": dict,
    "done": bool,
    "stop": str,
}
_COUNTS = ("epoch", "batch", "step", "lr", "loss_count", "seen", "seconds", "stop")


class Checkpoint:
    """The contents of a checkpoint file: `tensors` by name, and the description, which contains "progress".

    damage: what is wrong with the last checkpoint of the run, where this is the one before it.
    """

    def __init__(self, path: Path, damage: str = "") -> None:
        self.path, self.damage = path, damage
        self.tensors, self.about = read_weights(path)
        stored = self.about.get("progress")
        if not isinstance(stored, dict):
            raise PellucidError(f"{path} holds weights only, no training to resume; give a run folder's last weights")
        progress: dict[str, Any] = {**self._growing(), **stored}
        if "loss_sum" in progress:  # as earlier versions wrote it
            progress.setdefault("losses", {"loss": progress["loss_sum"]})
        missing = [name for name in _COUNTS if name not in progress]
        if missing:
            raise PellucidError(f"{path} is of another version: it lacks {', '.join(missing)}; start a new run")
        kinds = {**dict.fromkeys(_COUNTS, int | float), **_PARTS}
        wrong = [name for name, kind in kinds.items() if not isinstance(progress.get(name), kind)]
        if wrong:
            raise PellucidError(f"{path}: {wrong[0]} is invalid; start a new run")
        self.progress = progress

    @classmethod
    def find(cls, folder: RunFolder) -> "Checkpoint | None":
        """Return the last checkpoint of a run, or the one before if the last is damaged or missing; None without any.

        No checkpoint is changed: see `adopt`. Raises PellucidError where there are checkpoints but no good one, and
        where the last cannot be read now.
        """
        if not folder.begun:
            folder.begin_again()
            return None
        try:
            return cls(folder.last)
        except DamagedFileError as error:
            if not folder.previous.exists():
                raise
            try:
                return cls(folder.previous, str(error))
            except PellucidError as other:
                raise PellucidError(f"{error}; the checkpoint before is no better: {other}") from other

    def adopt(self, folder: RunFolder) -> None:
        """Make this the last checkpoint of its run, where that one is damaged, and say so on stderr.

        The damaged file is kept under another name. To be called once the training continues from this checkpoint: a
        refusal leaves all files as they are.
        """
        if not self.damage:
            return
        aside = set_aside(folder.last)
        kept = f"; the damaged file is kept as {aside.name}" if aside is not None else ""
        note(f"{self.damage}; going on from the checkpoint before it{kept}")
        try:
            self.path = folder.previous.replace(folder.last)
        except OSError as error:
            raise PellucidError(f"{folder.last} cannot be written ({error.strerror}); check its folder") from error

    def _growing(self) -> dict[str, Any]:
        """Return the part that grows with the training; {} for earlier versions, which have it in the header."""
        held = self.tensors.get(GROWING)
        try:
            found: Any = {} if held is None else json.loads(held.numpy().tobytes())
        except (ValueError, TypeError, RecursionError) as error:
            raise PellucidError(f"{self.path}: {GROWING} is invalid ({error}); start a new run") from error
        if not isinstance(found, dict):
            raise PellucidError(f"{self.path}: {GROWING} is invalid; start a new run")
        return cast(dict[str, Any], found)

    @property
    def done(self) -> bool:
        """Whether the training was finished."""
        return bool(self.progress["done"])

    def check(self, settings: Mapping[str, str]) -> None:
        """Raise PellucidError that names what differs between this training and the one that was begun."""
        begun = self.progress["settings"]
        differs = [name for name in settings if begun.get(name) != settings[name]]
        if differs:
            names = ", ".join("training data" if name == "data" else name for name in differs)
            raise PellucidError(
                f"{self.path} was begun with other settings: {names}; resume with the same, or start a new run"
            )

    def restore_params(self, params: Params) -> None:
        """Copy the weights into `params`, in place."""
        saved = {name: tensor for name, tensor in self.tensors.items() if not name.startswith("[")}
        flat = flatten(fill(self.path, params, saved))
        for path, tensor in flatten(params).items():
            tensor.copy_(flat[path])

    def restore(self, training: Training, step: Step, callbacks: Sequence[Callback]) -> dict[str, float]:
        """Restore the state of training, optimizer and callbacks, and return that of the schedule."""
        for name in _COUNTS:
            setattr(training, name, self.progress[name])
        training.losses = dict(self.progress["losses"])
        training.history = History(self.progress["rows"], self.progress["layers"])
        step.load_state_dict(tensors_of(self.tensors, OPTIMIZER))
        named, states = _remembering(callbacks), self.progress["callbacks"]
        if list(states) != list(named):
            raise PellucidError(
                f"{self.path} was begun with the callbacks {', '.join(states) or 'none'}, not "
                f"{', '.join(named) or 'none'}; resume with the same, in the same order"
            )
        for name, callback in named.items():
            callback.load_state_dict({**states[name], **tensors_of(self.tensors, f"{CALLBACKS}{name}.")})
        return self.progress["schedule"]


def save_checkpoint(
    folder: RunFolder,
    about: Mapping[str, Any],
    training: Training,
    step: Step,
    callbacks: Sequence[Callback],
    memory: Mapping[str, float],
    settings: Mapping[str, str],
    done: bool,
) -> None:
    """Write the whole state of a training; the file is replaced as a whole and reaches the disk, and one earlier stays.

    about: the model's own description; memory: the schedule's; settings: what `Checkpoint.check` compares.
    """
    check_memory(training.model.schedule, memory)
    tensors: dict[str, Tensor] = dict(flatten(training.model.params))
    tensors.update({OPTIMIZER + name: tensor for name, tensor in step.state_dict().items()})
    states: dict[str, dict[str, Any]] = {}
    for name, callback in _remembering(callbacks).items():
        held, states[name] = callback_state(callback)
        tensors.update({f"{CALLBACKS}{name}.{key}": tensor for key, tensor in held.items()})
    progress = {
        **{name: getattr(training, name) for name in _COUNTS},
        **{"losses": training.losses, "schedule": dict(memory), "settings": dict(settings), "done": done},
    }
    growing = {"rows": training.history.rows, "layers": training.history.layers, "callbacks": states}
    try:
        text = json.dumps(growing, allow_nan=False)
    except ValueError as error:  # of a schedule, as the learning rate
        raise PellucidError(f"{folder.last} cannot be written: the history holds NaN or infinity ({error})") from error
    tensors[GROWING] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    keep_as(folder.last, folder.previous)
    write_weights(folder.last, tensors, {**about, "progress": progress})


def repair_best(best: Path, model: Learner) -> None:
    """Rewrite a run's best weights, from the last ones, where they are missing or damaged; say so on stderr.

    A damaged file is kept under another name. Raises PellucidError for one that cannot be read now.
    """
    try:
        read_weights(best)
    except DamagedFileError as error:
        set_aside(best)
        model.save(best)
        note(f"{error}; written anew from the last weights")


def digest(value: Any) -> str:
    """Return a short hash of a value whose repr is complete, for `settings`."""
    text = value if isinstance(value, str) else repr(value)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _remembering(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Return the callbacks with state, by their index among these and their type.

    Others, such as a progress bar or a log, do not change a training, so a resumed one may have other ones.
    """
    kept = [callback for callback in callbacks if type(callback).state_dict is not Callback.state_dict]
    return {f"{place}-{type(callback).__name__}": callback for place, callback in enumerate(kept)}


def settings(
    model: Learner, preprocess: object, data: Source, held: Source | None, epochs: int, batch_size: int, augment: object
) -> dict[str, str]:
    """Return the hash of each setting that affects the result of a training, by name; a resumed one has the same."""
    values = {
        "data": data.checksum,
        "validation data": "" if held is None else held.checksum,
        **_objective(model.objective),
        "optimizer": model.optimizers or model.optimizer,
        "schedule": model.schedule,
        "regularizer": model.regularizers,
        "augmentation": augment if is_dataclass(augment) else getattr(augment, "__qualname__", type(augment)),
        "preprocessing": preprocess,
        "number of epochs": epochs,
        "batch size": batch_size,
        "clipping": model.clip,
        **({} if model.average is None else {"average of the weights": model.average}),
        "precision": usable_precision(model.precision, model.device)[0],
        "seed": model.seed,
        "metrics": tuple(map(_metric, model.metrics)),
        "frozen parameters": sorted(model.frozen),
        "rates by path": sorted(model.rates.items()),
    }
    if model.device.type != "cpu":
        values["device"] = model.device.type
    return {name: digest(value) for name, value in values.items()}


def _objective(objective: Objective) -> dict[str, object]:
    """Return the objective by name; a Supervised one as its network and its loss."""
    if isinstance(objective, Supervised):
        return {"network": objective.net, "loss": objective.loss}
    return {"objective": objective}


def _metric(metric: MetricLike) -> Any:
    """Return a value that identifies a metric, the same in every process."""
    if isinstance(metric, str):
        return metric
    return (type(metric).__qualname__, vars(metric)) if isinstance(metric, Metric) else function_name(metric)
