"""Training, predictions, explanations and diagnoses on an imaginary GPU, as on the CPU: see tests/imaginary_gpu.py."""

from pathlib import Path

import pytest

from pellucid.cli.main import main
from tests import imaginary_gpu
from tests.forked import run_forked
from tests.training.sharded import CASES

FEW_CASES = ["lenet", "ssd"]
OTHER_CASES = [name for name in CASES if name not in FEW_CASES and not name.startswith("optimizer")]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples") / "samples"
    assert main(["samples", str(folder)]) == 0
    return folder


def check_trainings(names: list[str]) -> None:
    code, failures = run_forked(imaginary_gpu.trainings, names)
    assert code == 0
    assert failures == dict.fromkeys(names, "")


def check_commands(lines: list[str], samples: Path, folder: Path) -> None:
    words = [line.format(samples=samples, out=folder).split() for line in lines]
    code, failures = run_forked(imaginary_gpu.commands, words)
    assert code == 0
    assert failures == dict.fromkeys(failures, "")
    assert len(failures) == len(lines)


@pytest.mark.heavy
@pytest.mark.slow
def test_trainings_compute_on_the_device() -> None:
    check_trainings(FEW_CASES)


@pytest.mark.heavy
@pytest.mark.slow
def test_all_objectives_train_on_the_device() -> None:
    check_trainings(OTHER_CASES)


@pytest.mark.long
@pytest.mark.slow
def test_shipped_models_predict_and_explain_on_the_device(samples: Path, tmp_path: Path) -> None:
    pictures = {
        "mnist-lenet": "digit.png", "signs": "hand.jpg", "vit-tiny": "flower.jpg", "bccd": "cells.jpg",
        "pennfudan": "people.jpg", "faces": "face.jpg",
    }  # fmt: skip
    lines = [f"predict {model} {{samples}}/{picture}" for model, picture in pictures.items()]
    lines += [
        "segment camvid {samples}/street.jpg --out {out}/masks",
        "colorize colorize {samples}/flower.jpg --out {out}/colours",
        "explain mnist-lenet {samples}/digit.png --html {out}/digit.html",
        "explain signs {samples}/hand.jpg --method lrp --out {out}/hand.png",
        "trace mnist-lenet {samples}/digit.png",
    ]
    check_commands([f"{line} --device cuda" for line in lines], samples, tmp_path)


@pytest.mark.long
def test_runs_are_trained_evaluated_and_diagnosed_on_the_device(samples: Path, tmp_path: Path) -> None:
    lines = [
        "train digits train.epochs=1 --out {out}",
        "evaluate {out}/digits-1",
        "doctor {out}/digits-1",
        "train detect {samples}/cells train.epochs=1 --out {out}",
        "evaluate {out}/cells-detect-1 --data {samples}/cells",
    ]
    check_commands([f"{line} --device cuda" for line in lines], samples, tmp_path)


def test_mistakes_are_found() -> None:
    code, (host_tensor, host_copy, layout) = run_forked(imaginary_gpu.mistakes)
    assert code == 0
    assert "tensors on two devices" in host_tensor
    assert "numpy" in host_copy
    assert "not contiguous" in layout
