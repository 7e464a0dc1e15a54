"""A training that another process, such as the studio, watches and controls by two small files in its run folder."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.base.settings.checks import is_number
from pellucid.base.text import note
from pellucid.run import records
from pellucid.run.folder import RunFolder
from pellucid.run.history import Row
from pellucid.training.callbacks import Callback, Training
from pellucid.training.distributed import processes

WATCH_TIMEOUT = 10.0  # seconds without a touch of control.json after which a training is unwatched
LAYERS_INTERVAL_SECONDS = 1.0  # between two measurements of the layers
LAYERS_INTERVAL_STEPS = 60  # minimum between two measurements, each of which takes as long as about two steps
MAX_LOSSES = 400  # points of the loss curve in live.json, of which every second is dropped above this number
MAX_RATE_FACTOR = 1000.0  # of the learning rate


class Control(NamedTuple):
    """A request of the watching process."""

    pause: bool = False
    steps: int = 0  # the number of single steps that it has requested so far
    rate: float | None = None  # the factor of the learning rate; None for the present one


def control_file(run: Path) -> Path:
    """Return the file by which another process controls a training; while it is touched, `live_file` is written."""
    return run / "control.json"


def live_file(run: Path) -> Path:
    """Return the file into which a watched training writes its progress."""
    return run / "live.json"


def read_control(run: Path) -> Control:
    """Return the request in control.json; an empty one if the file is missing or damaged."""
    values = read_object_or_empty(control_file(run))
    pause, steps, rate = values.get("pause"), values.get("steps"), values.get("rate", 0)
    has_rate = is_number(rate) and 0 < rate <= MAX_RATE_FACTOR
    return Control(pause is True, steps if type(steps) is int and steps >= 0 else 0, rate if has_rate else None)


def write_control(run: Path, control: Control) -> None:
    """Write control.json."""
    write_atomically(control_file(run), json.dumps(control._asdict()).encode(), durable=False)


def read_object_or_empty(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file; {} if it is missing or damaged."""
    try:
        return records.read_object(file, "") or {}
    except PellucidError:
        return {}


def is_taught(run: Path) -> bool:
    """Return whether a run was saved by the studio's view Teach: its model was fitted without epochs to resume."""
    return not RunFolder(run).has_checkpoint and read_object_or_empty(run / "results.json").get("epochs") == 0


class TrainingControl(Callback):
    """Do as control.json requests, and write live.json a few times a second while that file is touched.

    live.json contains the process, epoch, batch and step, whether the training is paused, the learning rate, the steps
    and mean losses of the batches between two ticks, and the rows of layers.csv for a recent step. A changed learning
    rate holds from the next step on; with several processes, which must agree, from the next epoch on.
    """

    def __init__(self, run: Path) -> None:
        self.run = run

    def on_start(self, training: Training) -> None:
        """Discard the requests to an earlier training."""
        self.on_close()
        self.control_mtime, self.control, self.steps_taken = 0, Control(), 0
        self.losses: list[tuple[int, float]] = []
        # The epoch, the sums of the losses by name, and the sum of the example weights at the last tick.
        self.last_sums: tuple[int, dict[str, float], float] = (-1, {}, 0.0)
        self.last_tick = (time.perf_counter(), training.step)

    def on_tick(self, training: Training) -> None:
        """Read control.json if it has changed, and write live.json if the training is watched."""
        try:
            control_stat = os.stat(control_file(self.run))
        # nobody watches, so a paused training goes on
        except OSError:
            training.pause_at = training.measure_at = math.inf
            return
        if control_stat.st_mtime_ns != self.control_mtime:
            self.control_mtime, self.control = control_stat.st_mtime_ns, read_control(self.run)
        old_factor = training.lr_factor
        if processes().count == 1:
            self._set_rate(training, self.control.rate)
        is_watched = time.time() - control_stat.st_mtime < WATCH_TIMEOUT
        was_paused, (last_time, last_step) = training.step >= training.pause_at, self.last_tick
        if self.control.pause and (not was_paused or self.steps_taken < self.control.steps):
            is_single_step = was_paused and self.steps_taken < self.control.steps
            training.pause_at = training.step + is_single_step
            self.steps_taken = self.steps_taken + 1 if is_single_step else self.control.steps
        elif not self.control.pause:
            training.pause_at = math.inf
        is_same = training.lr_factor == old_factor and was_paused == (training.step >= training.pause_at)
        if training.step == last_step and is_same and self.losses:
            return
        now = time.perf_counter()
        seconds_per_step, self.last_tick = (now - last_time) / max(training.step - last_step, 1), (now, training.step)
        if training.pause_at < math.inf:
            training.measure_at = training.step
        elif training.measure_at == math.inf and is_watched:
            steps = max(LAYERS_INTERVAL_STEPS, LAYERS_INTERVAL_SECONDS / max(seconds_per_step, 1e-9))
            training.measure_at = training.step + (math.ceil(steps) if training.layers else 0)
        self._append_mean_loss(training)
        if is_watched:
            self._write_live(training)

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Set the requested learning rate, which the training loop then sends to the other processes."""
        self._set_rate(training, self.control.rate)

    def _set_rate(self, training: Training, factor: float | None) -> None:
        """Set the factor of the learning rate, None for the present one, and record a change in manifest.json."""
        if factor is None or factor == training.lr_factor:
            return
        training.lr_factor = factor
        step = training.step + 1
        note(f"learning rate times {factor:g} from step {step:,}, requested by the studio")
        folder = RunFolder(self.run)
        manifest = folder.read_manifest()
        changes = [*manifest.get("lr_changes", []), {"step": step, "factor": factor}]
        text = json.dumps({**manifest, "lr_changes": changes}, indent=2) + "\n"
        write_atomically(folder.manifest, text.encode())

    def on_close(self) -> None:
        """Remove both files."""
        for file in (control_file(self.run), live_file(self.run)):
            file.unlink(missing_ok=True)

    def _append_mean_loss(self, training: Training) -> None:
        """Append the mean loss of the batches since the last tick; drop every second value above MAX_LOSSES."""
        epoch, sums, weight = self.last_sums
        if epoch != training.epoch or weight > training.loss_count:
            sums, weight = {}, 0.0
        new_weight = training.loss_count - weight
        if new_weight > 0:
            means = {name: (total - sums.get(name, 0.0)) / new_weight for name, total in training.losses.items()}
            self.losses.append((training.step, training.model.objective.total(means)))
        self.last_sums = (training.epoch, dict(training.losses), training.loss_count)
        if len(self.losses) > MAX_LOSSES:
            del self.losses[-2::-2]

    def _write_live(self, training: Training) -> None:
        live = {
            "pid": os.getpid(),
            "epoch": training.epoch,
            "epochs": training.epochs,
            "batch": training.batch,
            "batches": training.batches,
            "step": training.step,
            "paused": training.step >= training.pause_at,
            "lr": training.lr,
            "lr_factor": training.lr_factor,
            "losses": self.losses,
            "layers": training.layers,
        }
        write_atomically(live_file(self.run), json.dumps(live).encode(), durable=False)
