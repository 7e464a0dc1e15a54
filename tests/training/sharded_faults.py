"""Train in two processes, of which the second makes a mistake: run by tests, and torchrun."""

import os
import signal
import sys
import time

from pellucid.errors import PellucidError
from pellucid.training.distributed import processes
from tests.training.small import digits, small_mlp

MISTAKEN = os.environ.get("RANK") == "1"
STEP = 3


class Augmentation:
    """An augmentation that makes a mistake in a step."""

    def __init__(self, fault):
        self.fault, self.calls = fault, 0

    def __call__(self, images, rng):
        self.calls += 1
        if not MISTAKEN or self.calls != STEP:
            return images
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault in ("hung", "slow"):
            time.sleep(60 if self.fault == "hung" else 0.5)
        if self.fault == "raised":
            raise PellucidError("no such augmentation")
        return images * float("nan") if self.fault == "nan" else images


if __name__ == "__main__":
    name = sys.argv[1]
    seed = 1 if name == "seed" and MISTAKEN else 0
    with processes().answering_within(5):
        history = small_mlp(seed=seed).fit(digits(), epochs=3, batch_size=30, augment=Augmentation(name), verbose=False)
    if not MISTAKEN:
        print("waits", history.rows[0]["slowest_process"], history.rows[0]["wait_seconds"])
