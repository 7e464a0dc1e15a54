"""One point of the benchmark: a training of a given processor time, its predictions, and their figures."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.judge import JUDGES
from benchmarks.quality.sets import SETS, QualitySet
from benchmarks.results import ROOT

PEERS_PYTHON = ROOT / ".venv/quality/bin/python"  # `make quality` installs the other libraries there
MAX_RUNS = 4  # trainings until the number of epochs fits
MIN_SHARE, MAX_EXCESS = 0.95, 1.05  # of the seconds used, relative to the budget


class FailedCommandError(Exception):
    """A command of a row failed; the message is the end of what it wrote."""


def measure(name: str, row: str, minutes: float, seed: int, threads: int, folder: Path, out: Path,
            paces: list[list[float]]) -> dict[str, Any]:  # fmt: skip
    """Train as many epochs as fit into the processor time, at least one, and return the figures and the cost.

    folder: the pictures, see benchmarks.quality.sets. out: an empty folder for what the trainings write. paces: the
    epochs and the seconds of earlier trainings of this row, to which those of this point are added.
    """
    budget = 60 * minutes
    seconds_of: dict[int, float] = {}
    epochs = epochs_within(budget, paces)
    while epochs not in seconds_of and len(seconds_of) < MAX_RUNS:
        run = out / str(epochs)
        run.mkdir()
        command = train_command(SETS[name], row, folder, run, epochs, seed, threads)
        seconds_of[epochs] = processor_seconds(command, threads)
        paces.append([epochs, round(seconds_of[epochs], 1)])
        if MIN_SHARE * budget <= seconds_of[epochs] <= MAX_EXCESS * budget:
            break
        epochs = epochs_within(budget, paces)
    fitting = [count for count, seconds in seconds_of.items() if seconds <= MAX_EXCESS * budget]
    chosen = max(fitting, default=min(seconds_of))
    predictions = predict(SETS[name], row, folder, out / str(chosen), threads)
    return {
        **JUDGES[name](folder, predictions),
        "epochs": chosen,
        "seconds": round(seconds_of[chosen], 1),
        "threads": threads,
    }


def epochs_within(budget: float, paces: Sequence[Sequence[float]]) -> int:
    """Return the epochs that fit into a budget, at least 1, by the line through the shortest and longest training.

    paces: pairs of epochs and seconds. From one training, the time of its start and of an epoch cannot be told apart:
    the next then has at least 2 epochs.
    """
    if not paces:
        return 1
    short_epochs, short_seconds = min(paces)
    long_epochs, long_seconds = max(paces)
    if long_epochs == short_epochs:
        return max(2, int(budget * short_epochs / short_seconds))
    per_epoch = (long_seconds - short_seconds) / (long_epochs - short_epochs)
    if per_epoch <= 0:  # noise of two short trainings
        return max(1, int(budget * long_epochs / long_seconds))
    return max(1, int(short_epochs + (budget - short_seconds) / per_epoch))


def train_command(
    chosen: QualitySet, row: str, folder: Path, run: Path, epochs: int, seed: int, threads: int
) -> list[str]:
    """Return the command that trains a row into the folder `run`."""
    if row == chosen.peer_title:
        return [*peer_command(chosen), "train", str(folder), str(run), str(epochs), str(seed)]
    settings = [*chosen.starts[row], f"recipe.threads={threads}", f"recipe.seed={seed}", f"train.epochs={epochs}"]
    return [
        *[sys.executable, "-m", "pellucid", "train", chosen.task, str(folder / "data")],
        *[*settings, "--out", str(run / "runs")],
    ]


def peer_command(chosen: QualitySet) -> list[str]:
    return [str(PEERS_PYTHON), "-m", f"benchmarks.quality.peers.{chosen.peer}"]


def processor_seconds(command: Sequence[str], threads: int) -> float:
    """Run a command; return the processor time of its process and their children, by the operating system.

    Raises FailedCommandError if it fails.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as for users, byte code is cached
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise FailedCommandError(f"{' '.join(command)}: {errors.strip()[-2000:]}")
    return usage.ru_utime + usage.ru_stime


def predict(chosen: QualitySet, row: str, folder: Path, run: Path, threads: int) -> Path:
    """Predict the held-out pictures by the model of a run; return the predictions in the form of JUDGES."""
    if row == chosen.peer_title:
        processor_seconds([*peer_command(chosen), "predict", str(folder), str(run)], threads)
        return run / "predictions"
    (model,) = (run / "runs").iterdir()
    command = [sys.executable, "-m", "pellucid", chosen.predict, str(model), str(folder / "held_out")]
    found = run / ("found.csv" if chosen.task == "classify" else "found")
    score = ["--score", "0.001"] if chosen.task == "detect" else []
    processor_seconds([*command, "--out", str(found), *score], threads)
    return CONVERTERS[chosen.task](found, run / "predictions")


def convert_boxes(found: Path, out: Path) -> Path:
    """Write the boxes of detections.json, in COCO's format, as a list with names."""
    coco: Mapping[str, Any] = json.loads((found / "detections.json").read_text())
    names = {image["id"]: Path(image["file_name"]).name for image in coco["images"]}
    classes = {category["id"]: category["name"] for category in coco["categories"]}
    boxes = [
        {
            "image": names[one["image_id"]],
            "class": classes[one["category_id"]],
            "box": one["bbox"],
            "score": one["score"],
        }
        for one in coco["annotations"]
    ]
    out.write_text(json.dumps(boxes))
    return out


def convert_classes(found: Path, out: Path) -> Path:
    """Write the classes of a table of predictions as an object by file name."""
    with found.open(newline="") as file:
        classes = {Path(row["image"]).name: row["class"] for row in csv.DictReader(file)}
    out.write_text(json.dumps(classes))
    return out


def convert_masks(found: Path, out: Path) -> Path:
    """Write the index masks with the values of the files that were trained on: index 0 is 0, index 1 is 255."""
    import numpy as np
    from PIL import Image

    out.mkdir()
    for file in found.glob("*.png"):
        if not file.stem.endswith("-overlay"):
            index = np.asarray(Image.open(file))
            Image.fromarray((255 * index).astype(np.uint8)).save(out / file.name)
    return out


CONVERTERS: dict[str, Callable[[Path, Path], Path]] = {
    "detect": convert_boxes,
    "classify": convert_classes,
    "segment": convert_masks,
}
