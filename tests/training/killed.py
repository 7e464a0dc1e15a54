"""A training that is killed several times and resumed in new processes."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pellucid.run.folder import RunFolder
from pellucid.training import loop
from pellucid.training.callbacks import Callback
from pellucid.training.checkpoint import SavedState
from tests.forked import run_forked
from tests.training.small import digits, flip, small_conv

EPOCHS = 12


ROOT = Path(__file__).parents[2]


class Kill(Callback):
    """Kills the process by SIGKILL in the second step after it has saved `count` checkpoints; never if `count` is 0."""

    def __init__(self, run, count):
        self.last, self.count = RunFolder(run).last, count
        self.checkpoints_written, self.file_id, self.steps_after = 0, self._checkpoint_id(), 0

    def on_step(self, training):
        file_id = self._checkpoint_id()
        self.checkpoints_written += file_id != self.file_id
        self.file_id = file_id
        self.steps_after += self.checkpoints_written >= self.count > 0
        if self.steps_after == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    def _checkpoint_id(self):
        """Return the inode and time of the last checkpoint, which change with every save; None without a checkpoint."""
        if not self.last.exists():
            return None
        file_stat = self.last.stat()
        return file_stat.st_ino, file_stat.st_mtime_ns


def killed_and_resumed(train: Callable[..., Any], run: Path, kills: int = 4) -> tuple[Any, list[int]]:
    """Train in processes, of which the first `kills` end by SIGKILL; return the last process's result and the steps.

    The steps are those of the last checkpoints of the killed processes.
    """
    steps, result = [], None
    for count in [*(5 * kill - 2 for kill in range(1, kills + 1)), 0]:
        exit_code, result = run_forked(_resume_and_kill, train, run, count)
        assert exit_code == (-signal.SIGKILL if count else 0)
        if count:
            steps.append(SavedState(RunFolder(run).last).progress["step"])
    return result, steps


def _resume_and_kill(train: Callable[..., Any], run: Path, count: int) -> Any:
    """Continue a training; kill this process in the second step after `count` checkpoints, never if `count` is 0."""
    if count:
        loop.TICK = 0.0  # save a checkpoint after every step
    return train(run, [Kill(run, count)])


def train(run, callbacks=()):
    model = small_conv()
    model.fit(
        digits(), epochs=EPOCHS, batch_size=20, validation=digits(300, 350), augment=flip, callbacks=callbacks,
        run=run, resume=True, checkpoint_seconds=0.0, verbose=False,
    )  # fmt: skip
    return model.sha256()
