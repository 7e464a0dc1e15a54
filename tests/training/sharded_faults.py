"""Train in two processes, of which the second makes a mistake: run by tests in processes."""

import os
import signal
import sys
import time

import numpy as np
import PIL
import torch

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.data import loader
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import SGD
from pellucid.training import distributed, loop
from pellucid.training.distributed import processes
from tests.training.small import digits, small_conv, small_mlp

FAULT_STEP = 3


def timeout_seconds(fault):
    """Return the time without an answer after which a process counts as lost; a busy machine needs some for a step."""
    return 10 if fault == "hung" else 60


def is_faulty_process():
    return os.environ.get("RANK") == "1"


class FaultyAugmentation:
    """An augmentation that makes a mistake in a step, if one thread prepares the batches in their order."""

    def __init__(self, fault, step=FAULT_STEP):
        self.fault, self.step, self.calls = fault, step, 0

    def __call__(self, images, rng):
        self.calls += 1
        if not is_faulty_process() or self.calls != self.step:
            return images
        if self.fault in ("SIGKILL", "SIGTERM", "SIGINT"):
            os.kill(os.getpid(), getattr(signal, self.fault))
        if self.fault in ("hung", "slow"):
            time.sleep(60 if self.fault == "hung" else 0.5)
        if self.fault == "raised":
            raise PellucidError("no such augmentation")
        values = {"nan": float("nan"), "overflow": 3e38}  # the latter are finite, and sums of them are not
        return torch.full_like(images, values[self.fault]) if self.fault in values else images


def train(fault, run=None):
    """Train with a mistake, and return the first row of the history."""
    loader.WORKERS = 1
    with processes().answering_within(timeout_seconds(fault)):
        model, augment = Model(mlp((64, 16, 10), "relu"), optimizer=SGD(0.01)), FaultyAugmentation(fault)
        return model.fit(digits(), epochs=3, batch_size=30, augment=augment, run=run, verbose=False).rows[0]


def train_otherwise(difference):
    """Train with another setting in the second process."""
    change = difference if is_faulty_process() else ""
    torch.set_num_threads(2 if change == "number of threads" else 1)
    if change.startswith("version of "):
        library = {"PyTorch": torch, "Pellucid": distributed, "NumPy": np, "Pillow": PIL}[change.split()[-1]]
        library.__version__ = "0.0.0"
    data = digits(1, 301) if change == "data" else digits()
    model = small_mlp(seed=int(change == "seed"), clip=1.0 if change == "clipping" else None)
    options = {"bucket_mb": 3.0} if change == "bucket_mb" else {"shard_optimizer": change == "shard_optimizer"}
    model.fit(data, epochs=1, batch_size=20 if change == "batch size" else 30, verbose=False, **options)


def train_interrupted(run, fault):
    """Train in a run folder, from its checkpoint if there is one; return the message of a stop, or the weights' hash.

    fault: "" or the signal that the second process gets in epoch 2, after a checkpoint was written in epoch 1.
    """
    loader.WORKERS = 1
    loop.TICK = 0.0  # save a checkpoint after every step
    options = {"run": run, "resume": True, "checkpoint_seconds": 0.0, "shards": 2, "verbose": False}
    model = small_conv()
    try:
        model.fit(digits(0, 150), epochs=3, batch_size=30, augment=FaultyAugmentation(fault, 9), **options)
    except KeyboardInterrupt as stop:
        return str(stop)
    return model.sha256()


def changed_files(folder):
    """Train a recipe in a folder; return what this process did to files in it."""
    changes = []

    def record_write(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(flags, int) else "r" not in mode
        else:
            path, writes = (arguments or ("",))[0], event in ("os.rename", "os.mkdir", "os.remove", "os.link")
        if writes and str(path).startswith(str(folder)):
            changes.append(f"{event} {path}")

    sys.addaudithook(record_write)
    assert main(["train", "digits", "train.epochs=2", "--out", str(folder)]) == 0
    return changes


def train_recipe(folder, shards, faulty_rate):
    """Train a recipe in a folder, with another learning rate in the second process."""
    overrides = {"optimizer.lr": faulty_rate if is_faulty_process() else 0.1, "distributed.shards": shards}
    pellucid.train("digits", out=folder, progress=False, **overrides)


def train_and_stop_early(folder, point):
    """Train a recipe in a folder; the second process is stopped (SIGSTOP) when it calls a function before the training.

    point: MODULE:FUNCTION; "" for the beginning.
    """
    if is_faulty_process():
        if not point:
            os.kill(os.getpid(), signal.SIGSTOP)
        module, _, name = point.partition(":")
        setattr(sys.modules[module], name, lambda *_, **__: os.kill(os.getpid(), signal.SIGSTOP))
    pellucid.train("digits", out=folder, progress=False, **{"distributed.timeout": 3})


def train_on_streams():
    """Train on streams whose second batches differ."""
    batches = [
        (torch.full((4, 1, 8, 8), value), torch.arange(4)) for value in (0.5, 0.75 if is_faulty_process() else 0.25)
    ]
    small_mlp().fit(lambda: iter(batches), epochs=1, steps_per_epoch=2, verbose=False)
