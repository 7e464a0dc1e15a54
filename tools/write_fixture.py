"""Write the fixture of a version: `python tools/write_fixture.py tests/run/fixtures/VERSION`, in a checkout of it.

The folder contains `classifier` and `generator`, the runs of two finished trainings, `stopped`, the run of the first
training again, stopped after its first epoch, `weights.safetensors`, a network of `Model.save`, and `expected.json`,
the outputs of the saved networks. Tests read, evaluate, resume and extend them by later versions.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import torch

import pellucid
from pellucid.combine import Sequential
from pellucid.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU
from pellucid.model import Model
from pellucid.training.callbacks import CSVLog

CLASSIFIER = {
    "recipe.seed": 1,
    "recipe.threads": 1,
    "data.validation": 0.2,
    "data.standardize": True,
    "data.limit": 400,
    "network.sizes": [64, 16, 10],
    "network.dropout": 0.1,
    "augment.shift": 0.1,
    "optimizer.lr": 0.01,
    "regularizer.name": "l2",
    "regularizer.lam": 0.1,
    "schedule.name": "reduce_on_plateau",
    "train.epochs": 3,
    "train.early_stopping": 3,
    "train.average": 0.9,
    "train.metrics": ["accuracy", "macro_f1"],
}
GENERATOR = """\
[recipe]
name = "vae"
threads = 1
[data]
name = "digits"
limit = 100
[objective]
model = "vae"
size = 8
units = 16
latent = 2
[train]
epochs = 1
"""
KEPT_FILES = (
    "recipe.toml", "manifest.json", "results.json", "metrics.csv", "layers.csv", "confusion.json", "report.html",
)  # fmt: skip


def main(folder: Path) -> None:
    """Write the fixture."""
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(temporary)
        Path("vae.toml").write_text(GENERATOR)
        copy_run(pellucid.train("digits", progress=False, **CLASSIFIER).path, folder / "classifier")
        copy_run(pellucid.train("vae.toml", progress=False).path, folder / "generator")
        copy_run(stopped_run(), folder / "stopped")
    x = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    network = Sequential(
        conv=Conv2d(3, 3, padding=1),
        norm=BatchNorm(),
        relu=ReLU(),
        pool=MaxPool2d(2),
        flatten=Flatten(),
        dropout=Dropout(0.5),
        scores=Dense(4),
    )
    preprocess = {"mean": [0.5], "std": [2.0]}
    saved = Model(network, input_shape=(1, 8, 8), classes=list("abcd"), seed=2, preprocess=preprocess)
    saved.save(folder / "weights.safetensors")
    outputs = {
        "weights.safetensors": saved(x).tolist(),
        "classifier": Model.load(folder / "classifier/weights/best.safetensors")(x).tolist(),
        "stopped": Model.load(folder / "stopped/weights/best.safetensors")(x).tolist(),
    }
    (folder / "expected.json").write_text(json.dumps({"version": pellucid.__version__, "outputs": outputs}, indent=1))


def stopped_run() -> Path:
    """Return the run folder of the training of the classifier that is stopped, as by Ctrl-C, after its first epoch."""
    log_epoch = CSVLog.on_epoch_end

    def log_and_stop(self, training, row) -> None:
        log_epoch(self, training, row)
        os.kill(os.getpid(), signal.SIGINT)

    CSVLog.on_epoch_end = log_and_stop
    try:
        pellucid.train("digits", out="stopped", progress=False, **CLASSIFIER)
    except KeyboardInterrupt:
        return Path("stopped/digits-1")
    finally:
        CSVLog.on_epoch_end = log_epoch
    raise SystemExit("the training was not stopped")


def copy_run(run: Path, copy: Path) -> None:
    """Copy what a run folder needs for resuming; the report without its figures."""
    (copy / "weights").mkdir(parents=True)
    for name in KEPT_FILES:
        if (run / name).exists():
            shutil.copy(run / name, copy / name)
    if (copy / "report.html").exists():
        (copy / "report.html").write_text("<!doctype html>\n")
    for name in ("best", "last"):
        shutil.copy(run / "weights" / f"{name}.safetensors", copy / "weights")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
