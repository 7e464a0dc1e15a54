"""Checkpoints: weights files that also contain the state of a training, so that it can be resumed exactly."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import DamagedFileError, PellucidError
from pellucid.base.files import copy_file, set_aside
from pellucid.base.text import note, plural
from pellucid.layers.base import Params
from pellucid.nested import flatten
from pellucid.run.folder import RunFolder
from pellucid.run.history import History
from pellucid.run.weights import nest_like, read_weights, write_weights
from pellucid.training.callbacks import Callback, Training, tensors_of
from pellucid.training.learner import Learner
from pellucid.training.settings import EPOCHS_SETTING, describe_settings, is_unchanged, saved_settings
from pellucid.training.step import TrainingStep
from pellucid.training.user_defined import callback_state, check_json

# Prefixes of names in the file; no path of a network contains "[", so they differ from all names of weights.
OPTIMIZER_PREFIX = "[optimizer]."
CALLBACKS_PREFIX = "[callback]."
# The values that grow with the training, as JSON in bytes, since the size of a file's header is limited.
PROGRESS_TENSOR = "[progress]"
_PROGRESS_TYPES = {  # types of the other entries of the progress
    "rows": list,
    "layers": list,
    "callbacks": dict,
    "schedule": dict,
    "settings": dict,
    "losses": dict,
    "done": bool,
    "stop": str,
}
_TRAINING_FIELDS = ("epoch", "batch", "step", "lr", "lr_factor", "loss_count", "seen", "seconds", "stop")  # of Training


class SavedState:
    """The contents of a checkpoint file: its tensors by name, the model's description, and the training's progress.

    damage: the error of the run's last checkpoint if that is damaged and this is the one before it, otherwise "".
    """

    def __init__(self, path: Path, damage: str = "") -> None:
        self.path = path
        self.damage = damage
        self.tensors, self.about = read_weights(path)
        header_progress = self.about.get("progress")
        if not isinstance(header_progress, dict):
            raise PellucidError(f"{path} contains only weights, no training to resume; give a run folder")
        progress: dict[str, Any] = {**self._read_progress_tensor(), **header_progress}
        if "loss_sum" in progress:  # the format of earlier versions
            progress.setdefault("losses", {"loss": progress["loss_sum"]})
        progress.setdefault("lr_factor", 1.0)  # which earlier versions did not have
        missing_names = [name for name in _TRAINING_FIELDS if name not in progress]
        if missing_names:
            raise PellucidError(f"{path} is of another version: it lacks {', '.join(missing_names)}; start a new run")
        types = {**dict.fromkeys(_TRAINING_FIELDS, int | float), **_PROGRESS_TYPES}
        invalid_names = [name for name, value_type in types.items() if not isinstance(progress.get(name), value_type)]
        if invalid_names:
            raise PellucidError(f"{path}: {invalid_names[0]} is invalid; start a new run")
        self.progress: dict[str, Any] = progress

    @classmethod
    def find(cls, folder: RunFolder) -> "SavedState | None":
        """Return the last checkpoint of a run, or the one before it if the last is damaged or missing; None for none.

        No file is changed, see `restore_files`. Raises PellucidError if no checkpoint is usable, and if the last one
        cannot be read for a reason other than damage.
        """
        if not folder.has_checkpoint:
            return None
        try:
            return cls(folder.last)
        except DamagedFileError as error:
            if not folder.previous.exists():
                raise
            try:
                return cls(folder.previous, str(error))
            except PellucidError as previous_error:
                raise PellucidError(
                    f"{error}; the checkpoint before it cannot be used either: {previous_error}"
                ) from previous_error

    def restore_files(self, folder: RunFolder) -> None:
        """Make this the last checkpoint of its run if that one is damaged, and write a note to stderr.

        The damaged file is renamed. Call this after all checks, when the training continues from this checkpoint, so
        that a check that fails leaves all files unchanged.
        """
        if self.done:
            self.note_finished(folder)
        if not self.damage:
            return
        damaged_file = set_aside(folder.last)
        hint = f"; the damaged file is kept as {damaged_file.name}" if damaged_file is not None else ""
        note(f"{self.damage}; continuing from the checkpoint before it{hint}")
        try:
            self.path = folder.previous.replace(folder.last)
        except OSError as error:
            raise PellucidError(f"{folder.last} cannot be written ({error.strerror}); check its folder") from error

    def _read_progress_tensor(self) -> dict[str, Any]:
        """Return the values that grow with the training; {} for earlier versions, which stored them in the header."""
        json_bytes = self.tensors.get(PROGRESS_TENSOR)
        try:
            values: Any = {} if json_bytes is None else json.loads(json_bytes.numpy().tobytes())
        except (ValueError, TypeError, RecursionError) as error:
            raise PellucidError(f"{self.path}: {PROGRESS_TENSOR} is invalid ({error}); start a new run") from error
        if not isinstance(values, dict):
            raise PellucidError(f"{self.path}: {PROGRESS_TENSOR} is invalid; start a new run")
        return cast(dict[str, Any], values)

    @property
    def done(self) -> bool:
        """Whether the training is finished."""
        return bool(self.progress["done"])

    def note_finished(self, folder: RunFolder) -> None:
        """Write a note that the training is finished, and how to extend it."""
        epochs = self.progress["epoch"]
        note(
            f"{folder.path} is finished: its training ended after {plural(epochs, 'epoch')}, and nothing more is "
            f"trained; more epochs, such as train.epochs={2 * epochs}, extend it"
        )

    def has_ended(self, epochs: int) -> bool:
        """Return whether a training of `epochs` epochs is finished, early or not."""
        return self.done and is_unchanged(self.progress["settings"].get(EPOCHS_SETTING), epochs)

    def check(self, settings: Mapping[str, Any], epochs: int) -> None:
        """Raise PellucidError, naming the settings, unless `settings` are equal to those in the checkpoint.

        epochs: the number of epochs to train; a finished training of fewer epochs is continued.
        """
        settings_of_checkpoint = saved_settings(self.progress, self.about)
        # a schedule depends on the total length, so that of the longer training applies from the old end on
        if self.done and not self.has_ended(epochs) and epochs > self.progress["epoch"]:
            self.progress["done"] = False
            settings_of_checkpoint[EPOCHS_SETTING] = epochs
        different_settings = [
            name
            for name in {**settings, **settings_of_checkpoint}
            if name not in settings
            or name not in settings_of_checkpoint
            or not is_unchanged(settings_of_checkpoint[name], settings[name])
        ]
        if different_settings:
            names = ", ".join("training data" if name == "data" else name for name in different_settings)
            raise PellucidError(
                f"{self.path} was begun with other settings: {names}; resume with the same, or start a new run"
            )

    def restore_params(self, params: Params) -> None:
        """Copy the weights into `params`, in place."""
        weights = {name: tensor for name, tensor in self.tensors.items() if not name.startswith("[")}
        saved_by_path = flatten(nest_like(self.path, params, weights))
        for path, tensor in flatten(params).items():
            tensor.copy_(saved_by_path[path])

    def restore(self, training: Training, step: TrainingStep) -> dict[str, float]:
        """Restore the state of training and optimizer in place, and return the schedule's state."""
        for name in _TRAINING_FIELDS:
            setattr(training, name, self.progress[name])
        training.losses = dict(self.progress["losses"])
        training.history = History(self.progress["rows"], self.progress["layers"])
        step.load_state_dict(tensors_of(self.tensors, OPTIMIZER_PREFIX))
        return self.progress["schedule"]

    def restore_callbacks(self, callbacks: Sequence[Callback]) -> None:
        """Restore the states of callbacks in place; raise PellucidError unless they are those of the checkpoint."""
        callbacks_by_name = _stateful_callbacks(callbacks)
        states = self.progress["callbacks"]
        if list(states) != list(callbacks_by_name):
            raise PellucidError(
                f"{self.path} was begun with the callbacks {', '.join(states) or 'none'}, not "
                f"{', '.join(callbacks_by_name) or 'none'}; resume with the same, in the same order"
            )
        for name, callback in callbacks_by_name.items():
            callback.load_state_dict({**states[name], **tensors_of(self.tensors, f"{CALLBACKS_PREFIX}{name}.")})


def save_checkpoint(
    folder: RunFolder,
    about: Mapping[str, Any],
    training: Training,
    step: TrainingStep,
    callbacks: Sequence[Callback],
    schedule_memory: Mapping[str, float],
    settings: Mapping[str, Any],
    done: bool,
) -> None:
    """Write a checkpoint atomically and durably, and keep the one before it.

    about: the model's description. schedule_memory: the schedule's state. settings: what `SavedState.check` compares.
    done: whether the training is finished.
    """
    check_json(f"{type(training.model.schedule).__name__}: its memory", schedule_memory)
    tensors: dict[str, Tensor] = dict(flatten(training.model.params))
    tensors.update({OPTIMIZER_PREFIX + name: tensor for name, tensor in step.state_dict().items()})
    states: dict[str, dict[str, Any]] = {}
    for name, callback in _stateful_callbacks(callbacks).items():
        state_tensors, states[name] = callback_state(callback)
        tensors.update({f"{CALLBACKS_PREFIX}{name}.{key}": tensor for key, tensor in state_tensors.items()})
    progress = {
        **{name: getattr(training, name) for name in _TRAINING_FIELDS},
        **{
            "losses": training.losses,
            "schedule": dict(schedule_memory),
            "settings": describe_settings(settings),
            "done": done,
        },
    }
    growing_values = {"rows": training.history.rows, "layers": training.history.layers, "callbacks": states}
    try:
        text = json.dumps(growing_values, allow_nan=False)
    except ValueError as error:  # such as a learning rate that a user-defined schedule made NaN
        raise PellucidError(f"{folder.last} cannot be written: NaN or infinity in the history ({error})") from error
    tensors[PROGRESS_TENSOR] = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    copy_file(folder.last, folder.previous)
    write_weights(folder.last, tensors, {**about, "progress": progress})


def prepare_folder(folder: RunFolder, checkpoint: SavedState | None) -> None:
    """Prepare the files of a run whose training begins, or continues from a checkpoint.

    Call this after all checks: a refused training leaves its folder unchanged.
    """
    folder.error.unlink(missing_ok=True)  # the error that stopped an earlier attempt
    if checkpoint is None:
        folder.begin_again()
    else:
        checkpoint.restore_files(folder)


def repair_best(best_path: Path, model: Learner) -> None:
    """Write the model's weights in place of a run's best weights if they are missing or damaged; report this on stderr.

    A damaged file is renamed. Raises PellucidError for a file that cannot be read for a reason other than damage.
    """
    try:
        read_weights(best_path)
    except DamagedFileError as error:
        set_aside(best_path)
        model.save(best_path)
        note(f"{error}; the last weights were written in its place")


def _stateful_callbacks(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Return the callbacks with state, by names such as "0-EarlyStopping": their index and type.

    Callbacks without state, such as a progress bar or a log, do not affect the result of a training, so a resumed
    training may have other ones.
    """
    stateful = [callback for callback in callbacks if type(callback).state_dict is not Callback.state_dict]
    return {f"{index}-{type(callback).__name__}": callback for index, callback in enumerate(stateful)}
