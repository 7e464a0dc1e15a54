"""A training to be killed: `python -m tests.training.killed RUN COUNT` takes it up and prints the hash at its end.

It kills itself by SIGKILL in the second step after it has written COUNT checkpoints; 0 for never.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

from pellucid.run.folder import RunFolder
from pellucid.training import fit
from pellucid.training.callbacks import Callback
from pellucid.training.checkpoint import Checkpoint
from tests.training.small import digits, flip, small_conv

EPOCHS = 12


ROOT = Path(__file__).parents[2]


class Kill(Callback):
    """Kills the process by SIGKILL in the second step after it has written `count` checkpoints; 0 for never."""

    def __init__(self, run, count):
        self.last, self.count = RunFolder(run).last, count
        self.written, self.found, self.steps = 0, self._identity(), 0

    def on_step(self, training):
        found = self._identity()
        self.written += found != self.found
        self.found = found
        self.steps += self.written >= self.count > 0
        if self.steps == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    def _identity(self):
        """What changes with each checkpoint: every one is a new file."""
        if not self.last.exists():
            return None
        found = self.last.stat()
        return found.st_ino, found.st_mtime_ns


def killed_and_resumed(module, run, kills=4):
    """Train in processes of which each of the first `kills` ends by SIGKILL; return the last's output and the steps.

    The steps are those of the checkpoint that each killed process left.
    """
    steps = []
    for count in [*(5 * kill - 2 for kill in range(1, kills + 1)), 0]:
        command = [sys.executable, "-m", module, str(run), str(count)]
        ended = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=300)
        assert ended.returncode == (-signal.SIGKILL if count else 0)
        if count:
            steps.append(Checkpoint(RunFolder(run).last).progress["step"])
    return ended.stdout.strip(), steps


def train(run, extra=()):
    model = small_conv()
    model.fit(
        digits(), epochs=EPOCHS, batch_size=20, validation=digits(300, 350), augment=flip, callbacks=extra,
        run=run, resume=True, checkpoint_seconds=0.0, verbose=False,
    )  # fmt: skip
    return model.sha256()


def main(train):
    """Take up `train` in the run of the command line, kill it at the given checkpoint and print what it returns."""
    if sys.argv[2] != "0":
        fit.TICK = 0.0  # a checkpoint after every step
    torch.set_num_threads(1)
    print(train(sys.argv[1], [Kill(sys.argv[1], int(sys.argv[2]))]))


if __name__ == "__main__":
    main(train)
