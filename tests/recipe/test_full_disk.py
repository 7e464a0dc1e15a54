"""A training on a file system that is full: one line, no half-written file, and the run can be resumed."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pellucid.cli.main import main
from pellucid.recipe.job import train
from pellucid.recipe.resume import resume
from pellucid.run.history import History
from pellucid.run.weights import read_weights
from tests.reports import without_report

SETTINGS = {"train.epochs": 2, "train.checkpoint_seconds": 0.001}
PAGE_KIB = 4  # tmpfs stores files in pages of this size
NEEDED_KIB = 200  # a training needs less than this
Mount = Callable[[int], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Mount]]:
    """Return a folder, and a function that makes it a file system of some KiB, or changes the size of that."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: int) -> None:
        options = f"size={size}k" if not folder.is_mount() else f"remount,size={size}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a file system of a limited size cannot be mounted: {error}")

    yield folder, mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a failed test may have open files in it


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    with without_report():
        run = train("digits", out=tmp_path_factory.mktemp("undisturbed"), progress=False, **SETTINGS)
    return run.metrics["sha256"]


def check_files(run: Path) -> None:
    """Check that every file with a checksum or a format is complete, and that no temporary file remains."""
    for file in run.rglob("*.safetensors"):
        read_weights(file)
    for file in run.rglob("*.json"):
        json.loads(file.read_bytes())
    assert not list(run.rglob(".*"))


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("size", range(PAGE_KIB, NEEDED_KIB, 5 * PAGE_KIB))
def test_a_training_on_a_full_disk_is_resumed_when_there_is_space(
    size: int, disk: tuple[Path, Mount], undisturbed: str, capsys: pytest.CaptureFixture[str]
):
    folder, mount = disk
    mount(size)
    words = [f"{key}={value}" for key, value in SETTINGS.items()]
    assert main(["train", "digits", *words, "--out", str(folder / "runs")]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("pellucid: ")
    assert str(folder / "runs") in line
    assert "no space left on device" in line.lower()
    run = folder / "runs/digits-1"
    check_files(run)
    mount(10 * NEEDED_KIB)
    if not (run / "recipe.toml").is_file():  # not even this file could be written
        assert size == PAGE_KIB
        return
    assert resume(run, progress=False).metrics["sha256"] == undisturbed
    assert len(History.read(run)) == 2
    check_files(run)


@pytest.mark.usefixtures("no_report")
def test_an_extension_on_a_full_disk_leaves_the_run_as_it_was(
    disk: tuple[Path, Mount], capsys: pytest.CaptureFixture[str]
):
    folder, mount = disk
    mount(10 * NEEDED_KIB)
    run = train("digits", out=folder, progress=False, **SETTINGS).path
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024 * PAGE_KIB))
    last = (run / "weights/last.safetensors").read_bytes()
    recipe = (run / "recipe.toml").read_text()
    assert main(["train", "--resume", str(run), "train.epochs=3"]) == 2
    assert "no space left on device" in capsys.readouterr().err.lower()
    assert (run / "weights/last.safetensors").read_bytes() == last
    assert (run / "recipe.toml").read_text() == recipe
    os.unlink(filler)
    assert main(["train", "--resume", str(run), "train.epochs=3"]) == 0
    assert len(History.read(run)) == 3
