"""The training loop."""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.allocator import keeping_freed_memory
from pellucid.base.text import note
from pellucid.data.source import Batch
from pellucid.fuse import BatchParts
from pellucid.layers.base import Mode
from pellucid.nested import flatten, map_tree
from pellucid.objective import Objective, seeded_generator
from pellucid.optim.schedules import Constant
from pellucid.run.folder import RunFolder
from pellucid.run.history import Row
from pellucid.training.cached import without_frozen_front
from pellucid.training.callbacks import Callback, Training, check_monitors
from pellucid.training.checkpoint import SavedState, prepare_folder, repair_best, save_checkpoint
from pellucid.training.device import on_device
from pellucid.training.diagnose import (
    NotFinite,
    StoppedError,
    fault_advice,
    learned_fault,
    learned_is_finite,
    update_note,
    weights_fault,
    weights_of,
)
from pellucid.training.distributed import ALONE, processes, versions
from pellucid.training.evaluate import batch_within_memory, epoch_columns, loss_columns, try_metrics
from pellucid.training.layer_statistics import layer_rows, seed_step
from pellucid.training.learner import Learner
from pellucid.training.plan import FitPlan
from pellucid.training.process import StopSignals, naming_batch_size, stop_exception
from pellucid.training.reading import batch_loader, check_single_examples, sample_indices
from pellucid.training.settings import describe, digest
from pellucid.training.shard_loaders import loader_of_shards
from pellucid.training.shards import ShardedStep
from pellucid.training.step import NotFiniteError, TrainingStep, training_form
from pellucid.training.user_defined import callback_state, check_json, check_optimizer, try_parts
from pellucid.training.whole_batch import WholeBatchStep

TICK = 0.25  # seconds between calls of `on_tick`, and between checks of the time since the last checkpoint
# Fraction of the training's time that checks of the parameters may take; with the cache misses that they cause in the
# steps after them, they cost 0.03 of it.
CHECK_FRACTION = 0.02
PAUSED_TICK = 0.05  # seconds between calls of `on_tick` while a training is paused
BASE_COLUMNS = ("epoch", "step", "lr", "seconds", "images_per_second")  # columns other than losses and metrics
SAVE_INTERVAL = 20  # minimum time between checkpoints at ends of epochs, as a multiple of the time to write one


class Loop:
    """One training, from its first step or a checkpoint to its end.

    The loss of every step is checked before the parameters are updated (on accelerators, at the next check). The
    parameters and the optimizers' states are checked for NaN and infinity as often as CHECK_FRACTION of the time
    permits: after every step if steps take at least a millisecond, after about every sixth step for the fastest. If a
    check fails, the error names the range of steps since the last check. `on_tick` runs a few times a second.
    """

    def __init__(self, full_model: Learner, plan: FitPlan) -> None:
        options, folder = plan.options, plan.folder
        self.processes = processes()
        self.checkpoint = self.processes.from_first(lambda: None if folder is None else SavedState.find(folder))
        if self.checkpoint is not None:
            self.checkpoint.check(plan.settings, options.epochs)
            self.checkpoint.restore_params(full_model.params)
        self.full_model = full_model  # which is saved; `model` may lack the frozen layers at its beginning
        self.plan = plan
        self.options = options
        self.model, self.data, self.validation = full_model, plan.data, plan.validation
        start_time = time.perf_counter()
        # augmented images have other features in each epoch, and a finished training needs none
        if options.augment is None and full_model.frozen and not (self.checkpoint is not None and self.checkpoint.done):
            self.model, self.data, self.validation = without_frozen_front(full_model, plan.data, plan.validation)
        model, data = self.model, self.data
        # Statistics of the whole batch need no second example in each shard.
        separate_shards = 1 if options.batch_norm == "sync" else plan.shards
        check_single_examples(model, data, options.batch_size, separate_shards)
        self.loader = batch_loader(model, data, options.batch_size, options.augment, separate_shards)
        if plan.shards > 1:
            self.loader = loader_of_shards(self.loader, self.processes, plan.shards)
        self.training = Training(full_model, options.epochs, len(self.loader), options.batch_size)
        if self.model is not full_model:  # computing the features is part of the first epoch
            self.training.seconds = time.perf_counter() - start_time
        self.schedule_memory = model.schedule.begin()  # the schedule's state
        self.signals = StopSignals()
        self.rng = seeded_generator(model.device)
        self.step_hooks = [callback for callback in plan.callbacks if type(callback).on_step is not Callback.on_step]
        self.saved_at = 0.0
        self.save_seconds = 0.0
        self.saved_step = -1
        self.tick_at = 0.0  # when `on_tick` is called next
        self.check_steps = 1  # steps between checks of the parameters
        self.check_seconds = math.inf  # seconds of a check
        self.last_finite_step = 0  # the last step after which the parameters were found to be finite
        self.sample_indices = sample_indices(data, self.validation, model.seed)
        self.measured_objective: Objective | None = None  # a separate form for training, for `_measure_layers`

    def run(self) -> Training:
        """Train, and return the state of the training at its end."""
        plan, training = self.plan, self.training
        self._make_step()
        self._restore(plan.folder)
        if self.checkpoint is not None and self.checkpoint.done:
            if plan.folder is not None:
                self.checkpoint.restore_files(plan.folder)
            self._repair_best()
            return training
        batch_size = self.options.batch_size
        with torch.inference_mode(), keeping_freed_memory(), naming_batch_size(batch_size), ExitStack() as stack:
            if plan.folder is not None or self.processes.count > 1:
                stack.enter_context(self.signals.handling_signals())
            self.saved_at = time.perf_counter()
            self.last_finite_step = training.step
            self._check_learned()
            try_parts(self.model, self.model_step, self.data, training.progress, self.rng)
            # The batch size for evaluation: at least that of training, which takes more memory.
            self.evaluation_batch_size = batch_size = max(batch_size, batch_within_memory(self.model, self.data))
            columns = try_metrics(self.model, self.data, self.sample_indices, batch_size, self.validation is not None)
            check_monitors(plan.callbacks, self.model, [*BASE_COLUMNS, *columns] if columns else [])
            if plan.folder is not None:
                prepare_folder(plan.folder, self.checkpoint)
            for callback in plan.callbacks:
                stack.callback(callback.on_close)
            for callback in plan.callbacks:
                callback.on_start(training)
            while training.epoch < training.epochs and not training.stop:
                self._epoch()
            if self.model_step.average is not None:
                self.model_step.average.replace_weights()
            for callback in plan.callbacks:
                callback.on_end(training)
            self.processes.broadcast([*flatten(self.full_model.params).values()])  # a callback may have changed them
            self._save(done=True)
            self._repair_best()
            if self.signals.stop_requested:  # in the last steps; the caller may have to start another training
                raise stop_exception(plan.folder, f"after the last step, {training.step}", self.processes.count)
        return training

    def _make_step(self) -> None:
        """Create the step of whole batches, or of their shards; raise PellucidError if processes differ."""
        options = self.options
        shards = self.plan.shards
        batch_parts = BatchParts(self.processes.gather) if shards > 1 and options.batch_norm == "sync" else None
        state_processes = self.processes if options.shard_optimizer else ALONE
        self.model_step = TrainingStep.of(
            self.model, len(self.data), in_sweep=shards == 1, batch_parts=batch_parts, state_processes=state_processes
        )
        self.training.states = self.model_step.states
        self.batch_step: WholeBatchStep | ShardedStep
        if shards == 1:
            self.batch_step = WholeBatchStep(self.model, self.model_step, self.rng, self.signals)
        else:
            is_exact = options.batch_norm == "shard"
            self.batch_step = ShardedStep(
                self.model, self.model_step, self.processes, shards, self.signals, is_exact, options.bucket_mb
            )
        exchange_settings = {"bucket_mb": str(options.bucket_mb), "shard_optimizer": str(options.shard_optimizer)}
        settings = {name: digest(repr(describe(value))) for name, value in self.plan.settings.items()}
        self.processes.check_equal({**settings, **exchange_settings, **versions(self.model.device)})
        if self.model_step.note:
            note(self.model_step.note)

    def _restore(self, folder: RunFolder | None) -> None:
        """Restore the last checkpoint, if any; raise PellucidError for a state that a checkpoint cannot contain."""
        if folder is not None:
            for optimizer in self.model_step.optimizers.values():
                check_optimizer(optimizer, self.model_step.weights)
            check_json(f"{type(self.model.schedule).__name__}: its memory", self.schedule_memory)
            for callback in self.plan.callbacks:
                callback_state(callback)
        if self.checkpoint is not None:
            self.schedule_memory = self.checkpoint.restore(self.training, self.model_step)
            if folder is not None:
                self.checkpoint.restore_callbacks(self.plan.callbacks)
                self.saved_step = self.training.step

    def _epoch(self) -> None:
        """Train from the next batch to the end of the epoch, then finish the epoch."""
        training, model = self.training, self.model
        schedule = model.schedule
        is_scheduled = type(schedule) is not Constant
        batch: Batch | None = None
        measure_updates: Callable[[], list[Row]] = list
        self.checked_step = training.step
        self.checked_at = time.perf_counter()
        loaded_batches = self.loader.epoch(training.epoch, training.batch)
        with closing(cast(Any, loaded_batches)):
            for loaded in self._on_device(loaded_batches):  # a batch, or the shards of one
                batch = self.batch_step.first_part(loaded)
                training.lr = model.optimizer.lr * training.lr_factor
                if is_scheduled:
                    training.lr *= schedule.factor(training.progress, self.schedule_memory)
                measure_requested = training.step >= training.measure_at
                if (measure_requested or training.batch == training.batches - 1) and self.processes.is_first:
                    measure_updates = self._measure_layers(batch)
                check_due = self._is_check_due(training.step + 1)
                try:
                    losses = self.batch_step(loaded, training.lr, training.step, check_due)
                except NotFiniteError as error:
                    raise self._not_finite_error(loaded, training.step, error) from None
                training.add(losses, self.batch_step.batch_weight, self.batch_step.n_examples)
                if measure_requested:
                    training.layers, training.measure_at = measure_updates(), math.inf
                if self.batch_step.check_due or self.batch_step.stop_requested:
                    self._check(batch)
        training.seconds += time.perf_counter() - self.checked_at
        self._check_learned()
        self._read_losses(batch)
        self._finish_epoch(measure_updates())

    def _is_check_due(self, step: int) -> bool:
        """Return whether the parameters are to be checked after this step."""
        return step >= min(self.checked_step + self.check_steps, self.training.pause_at) or self.signals.stop_requested

    def _check(self, batch: Batch) -> None:
        """Check the parameters and losses after some steps, the last on `batch`; call `on_step` and `on_tick`."""
        training, now = self.training, time.perf_counter()
        training.seconds += now - self.checked_at
        seconds_per_step = (now - self.checked_at) / (training.step - self.checked_step)
        self._check_learned()
        self._read_losses(batch)
        self.check_steps = self._steps_to_next_check(seconds_per_step)
        self.checked_step, self.checked_at = training.step, now
        self.check_seconds = min(self.check_seconds, time.perf_counter() - now)
        for callback in self.step_hooks:
            callback.on_step(training)
        if self._agreed(now >= self.tick_at or self.batch_step.stop_requested or training.step >= training.pause_at):
            self._tick()
            self.tick_at = now + TICK

    def _agreed(self, is_requested: bool) -> bool:
        """Return `is_requested`; that of the first process if all processes take part in checkpoints."""
        return self.processes.from_first(lambda: is_requested) if self.options.shard_optimizer else is_requested

    def _is_save_due(self, interval: float) -> bool:
        """Return whether to write a checkpoint: `interval` seconds have passed since the last one."""
        return self._agreed(self.plan.folder is not None and time.perf_counter() - self.saved_at >= interval)

    def _tick(self) -> None:
        """Call `on_tick`; unless the epoch is finished, stop if requested, and save if it is time for a checkpoint."""
        training = self.training
        for callback in self.plan.callbacks:
            callback.on_tick(training)
        while training.step >= training.pause_at and not self.signals.stop_requested:
            time.sleep(PAUSED_TICK)
            for callback in self.plan.callbacks:
                callback.on_tick(training)
            self.checked_at = time.perf_counter()  # the pause does not count as training time
        if training.batch < training.batches:
            if self.batch_step.stop_requested:
                self._save_and_stop()
            if self._is_save_due(self.options.checkpoint_seconds):
                self._save()

    def _on_device(self, batches: Iterable[Any]) -> Iterable[Any]:
        """Return the batches, or lists of their shards, on the model's device."""
        device = self.model.device
        return batches if device.type == "cpu" else (on_device(batch, device) for batch in batches)

    def _read_losses(self, batch: Batch | None) -> None:
        """Copy the sums of losses and weights from an accelerator; raise StoppedError for a sum that is not finite."""
        self.training.loss_count = float(self.training.loss_count)
        sums = self.training.losses
        for name, value in sums.items():
            if isinstance(value, Tensor):
                sums[name] = number = value.item()
                if not math.isfinite(number):
                    assert batch is not None  # a sum is a tensor only after a step
                    raise self._not_finite_error(batch, self.training.step - 1, NotFiniteError(name, number))

    def _finish_epoch(self, layers: list[Row]) -> None:
        """Measure losses and metrics, call the callbacks, and save a checkpoint if it is time."""
        training, model, plan = self.training, self.model, self.plan
        with nullcontext() if self.model_step.average is None else self.model_step.average.replacing_weights():
            row = training.history.add(self._epoch_row())
            training.history.layers.extend({"epoch": row["epoch"], **layer} for layer in layers)
            training.epoch, training.batch, training.seen, training.seconds = training.epoch + 1, 0, 0, 0.0
            training.losses, training.loss_count = {}, 0.0
            if model.schedule.watches:
                self.schedule_memory = model.schedule.observe(self.schedule_memory, row["val_loss"])
            for callback in plan.callbacks:
                callback.on_epoch_end(training, row)
        # Callbacks, which may have set these, run in the first process only.
        training.stop, training.lr_factor = self.processes.from_first(lambda: (training.stop, training.lr_factor))
        if training.epoch < training.epochs and not training.stop:
            if self.batch_step.stop_requested:
                self._save_and_stop()
            if self._is_save_due(SAVE_INTERVAL * self.save_seconds):
                self._save()

    def _epoch_row(self) -> Row:
        training, model = self.training, self.model
        losses = loss_columns(model.objective, training.means, "train_")
        parts = {"train": (self.data, self.sample_indices), "val": (self.validation, None)}
        measured_columns, lower_is_better = epoch_columns(model, parts, self.evaluation_batch_size, self.processes)
        training.lower_is_better = frozenset({*losses, *lower_is_better})
        row = {
            **{"epoch": training.epoch + 1, "step": training.step, "lr": training.lr, **losses, **measured_columns},
            "seconds": round(training.seconds, 6),
            "images_per_second": round(training.seen / max(training.seconds, 1e-9), 1),
            **self.batch_step.wait_columns(),
        }
        return self.processes.from_first(lambda: row)  # the first process's times

    def _measure_layers(self, batch: Batch) -> Callable[[], list[Row]]:
        """Measure the gradients of a batch; return the function that measures the updates, see `layer_rows`."""
        model = self.model
        params_before = map_tree(torch.clone, model.params)  # the pass may change running statistics
        if self.measured_objective is None or model.frozen:  # frozen layers depend on the values in `params_before`
            self.measured_objective = training_form(model.objective, params_before, model.frozen)
        return layer_rows(self.measured_objective, params_before, batch, self._mode(self.training.step), model.params)

    def _mode(self, step: int) -> Mode:
        """Return the training mode for a step, numbered from 0, with the random generator seeded for it."""
        return Mode(train=True, rng=seed_step(self.rng, self.model.seed, self.model.earlier_steps + step))

    def _check_learned(self) -> None:
        """Raise StoppedError for NaN or infinity in the parameters or the optimizers' states."""
        step = self.training.step
        if not learned_is_finite(self.model_step):
            fault = learned_fault(self.model_step)
            assert fault is not None
            fault = replace(fault, note=update_note(self.last_finite_step, step))
            raise self._stopped_error(fault, max(step, 1))
        self.last_finite_step = step

    def _steps_to_next_check(self, seconds_per_step: float) -> int:
        """Return the number of steps to the next check."""
        if self.step_hooks or self.check_seconds == math.inf:
            return 1
        steps = math.ceil(self.check_seconds / (CHECK_FRACTION * max(seconds_per_step, 1e-9)))
        return max(1, min(steps, 4 * self.check_steps))

    def _not_finite_error(self, loaded: Any, step: int, error: NotFiniteError) -> StoppedError:
        """Return the error for a loss that is not finite; the process with the loss finds the fault for all."""
        faults = self.processes.from_all(self.batch_step.fault(loaded, step, error))
        rank, fault = next((rank, fault) for rank, fault in enumerate(faults) if fault is not None)
        if fault == weights_fault(weights_of(self.model_step)):
            fault = replace(fault, note=update_note(self.last_finite_step, step))
        return self._stopped_error(fault, step + 1, f" in process {rank}" if self.processes.count > 1 else "")

    def _stopped_error(self, fault: NotFinite, step: int, in_process: str = "") -> StoppedError:
        """Return the error that ends the training, after writing it to the run folder, if there is one."""
        epoch, batch = divmod(step - 1, self.training.batches)
        checkpoint_note = ""
        if self.plan.folder is not None and self.saved_step >= 0:
            checkpoint_note = f"; the last good checkpoint, of step {self.saved_step}, is {self.plan.folder.last}"
        position = f"step {step} (epoch {epoch + 1}, batch {batch + 1}){in_process}"
        message = f"training stopped in {position}: {fault}; {fault_advice(fault, self.training.lr)}{checkpoint_note}"
        error = StoppedError(message, step, fault)
        if self.plan.folder is not None:
            error.write(self.plan.folder.error)
        return error

    def _save_and_stop(self) -> None:
        """Save, and raise KeyboardInterrupt with a message on how to resume."""
        self._save()
        position = f"in epoch {self.training.epoch + 1} after step {self.training.step}"
        raise stop_exception(self.plan.folder, position, self.processes.count)

    def _repair_best(self) -> None:
        """Repair the best weights of a resumed run, which an interrupted process may have left damaged."""
        if self.plan.folder is not None and self.checkpoint is not None:
            repair_best(self.plan.folder.best, self.full_model)

    def _save(self, done: bool = False) -> None:
        """Write the checkpoint, if there is a run folder."""
        if self.plan.folder is None:
            self.model_step.state_dict()  # the state_dict of the first process needs the parts of all processes
            return
        start_time = time.perf_counter()
        # a checkpoint with NaN would replace a good one, and could not be resumed
        fault = weights_fault(flatten(self.full_model.params))
        if fault:
            raise self._stopped_error(fault, self.training.step)
        save_checkpoint(
            self.plan.folder,
            self.full_model.about(),
            self.training,
            self.model_step,
            self.plan.callbacks,
            self.schedule_memory,
            self.plan.settings,
            done,
        )
        self.saved_at = time.perf_counter()
        self.saved_step, self.save_seconds = self.training.step, self.saved_at - start_time
