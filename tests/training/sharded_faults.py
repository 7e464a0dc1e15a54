"""Train in two processes, of which the second makes a mistake: run by tests in processes."""

import os
import signal
import time

import torch

from pellucid.errors import PellucidError
from pellucid.training.distributed import processes
from tests.training.small import digits, small_mlp

STEP = 3
SECONDS = 2  # after which a process counts as lost


def is_mistaken():
    return os.environ["RANK"] == "1"


class Augmentation:
    """An augmentation that makes a mistake in a step."""

    def __init__(self, fault):
        self.fault, self.calls = fault, 0

    def __call__(self, images, rng):
        self.calls += 1
        if not is_mistaken() or self.calls != STEP:
            return images
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault in ("hung", "slow"):
            time.sleep(60 if self.fault == "hung" else 0.5)
        if self.fault == "raised":
            raise PellucidError("no such augmentation")
        return images * float("nan") if self.fault == "nan" else images


def train(fault):
    """Train with a mistake, and return the first row of the history."""
    seed = 1 if fault == "seed" and is_mistaken() else 0
    with processes().answering_within(SECONDS):
        model, augment = small_mlp(seed=seed), Augmentation(fault)
        return model.fit(digits(), epochs=3, batch_size=30, augment=augment, verbose=False).rows[0]


def train_on_streams():
    """Train on streams whose second batches differ."""
    batches = [(torch.full((4, 1, 8, 8), value), torch.arange(4)) for value in (0.5, 0.75 if is_mistaken() else 0.25)]
    small_mlp().fit(lambda: iter(batches), epochs=1, steps_per_epoch=2, verbose=False)
