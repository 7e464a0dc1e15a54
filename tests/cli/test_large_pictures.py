"""Small files with very many pixels: each command predicts in little memory, or refuses the file undecoded."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import Model
from pellucid.base.errors import PellucidError
from pellucid.cli import main as main_module
from pellucid.combine import Sequential
from pellucid.data import load_image
from pellucid.data.images import read_full_size
from pellucid.layers import Conv2d, ReLU
from pellucid.network.bounds import check_picture
from pellucid.objective import Objective
from pellucid.tasks.pictures import read_picture
from pellucid.tasks.segment.segmenter import Segmenter
from pellucid.training import viewed
from tests.cli.conftest import Cli

MEASURE_SCRIPT = (
    "import re, sys, time; from pathlib import Path; from pellucid.cli.main import main; code = main(sys.argv[1:]);"
    "kibibytes = re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1];"
    "print(int(kibibytes) >> 10, time.process_time()); sys.exit(code)"
)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
COMMANDS = {
    "predict": ("mnist-conv",), "detect": ("bccd",), "segment": ("camvid", "--out", "out"),
    "keypoints": ("faces", "--out", "out"), "colorize": ("colorize", "--out", "out"),
    "explain": ("bccd", "--box", "1", "--out", "out"),
}  # fmt: skip


@pytest.fixture(scope="module")
def large_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.png"
    Image.new("L", (8000, 8000), 200).save(path)
    assert path.stat().st_size < 100_000
    return path


@pytest.mark.heavy
@pytest.mark.slow
@linux_only
@pytest.mark.parametrize("command", COMMANDS)
def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(
    command: str, large_picture: Path, tmp_path: Path
) -> None:
    model, *options = COMMANDS[command]
    words = [command, model, str(large_picture), *options]
    process = subprocess.run(
        [sys.executable, "-c", MEASURE_SCRIPT, *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert process.returncode == 2
    errors = [line for line in process.stderr.splitlines() if "weights show" not in line]  # the note of the first use
    assert len(errors) == 1
    limit = "12,500,000" if command == "colorize" else "24,000,000"
    assert f"large.png has 8000x8000 pixels, above the limit of {limit}" in process.stderr
    assert "batch_size" not in process.stderr
    mebibytes, seconds = map(float, process.stdout.split()[-2:])
    assert mebibytes < 1024
    assert seconds < 10


@pytest.mark.slow
@linux_only
def test_a_classifier_of_resized_pictures_accepts_very_many_pixels(large_picture: Path, tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", MEASURE_SCRIPT, "predict", "signs", str(large_picture)], capture_output=True, text=True,
        check=False, cwd=tmp_path,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    mebibytes, seconds = map(float, process.stdout.split()[-2:])
    assert mebibytes < 1024
    assert seconds < 10


def test_a_picture_that_needs_more_memory_than_allowed_is_refused() -> None:
    net = Sequential(conv=Conv2d(64, 3, padding=1), relu=ReLU(), scores=Conv2d(4, 1))
    model = Model(net, input_shape=(3, None, None), classes=list("abcd"))
    assert model.outputs_for_picture((3, 1080, 1920)) == (4, 1080, 1920)
    with pytest.raises(PellucidError, match=r"^the model takes no pictures of 4000x5000: .*above 1,342,177,280; make"):
        model.outputs_for_picture((3, 4000, 5000))


def test_the_memory_for_each_picture_size_is_estimated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked_shapes: list[tuple[int, ...]] = []

    def count(objective: Objective, shape: tuple[int, ...]) -> object:
        checked_shapes.append(shape)
        return check_picture(objective, shape)

    monkeypatch.setattr(viewed, "check_picture", count)
    net = Sequential(conv=Conv2d(8, 3, padding=1), relu=ReLU(), scores=Conv2d(4, 1))
    model = Model(net, input_shape=(3, None, None), classes=list("abcd"))
    Image.new("RGB", (30, 20)).save(tmp_path / "picture.png")
    for _ in range(2):
        Segmenter(model)(torch.zeros(3, 20, 30, dtype=torch.uint8))
        read_picture(model, tmp_path / "picture.png")
    Segmenter(model)(torch.zeros(3, 20, 40, dtype=torch.uint8))
    assert checked_shapes == [(3, 20, 30), (3, 20, 40)]


def test_the_users_limits_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wide.png"
    Image.new("L", (25_000, 1_000)).save(path)
    with pytest.raises(PellucidError, match=r"wide\.png has 25000x1000 pixels, above the limit of 24,000,000"):
        read_full_size(path)
    monkeypatch.setenv("PELLUCID_LIMITS", "2")
    assert read_full_size(path) == path.read_bytes()


def test_a_grey_picture_is_resized_before_it_is_converted_to_the_same_pixels(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 255, (37, 53), dtype=np.uint8)
    image = Image.fromarray(grey)
    image.save(tmp_path / "grey.png")
    expected = np.array(image.convert("RGB").resize((20, 11), Image.Resampling.BILINEAR))
    actual = load_image(tmp_path / "grey.png", size=(11, 20)).permute(1, 2, 0).numpy()
    assert (actual == expected).all()


@pytest.mark.parametrize("words", [("predict", "train"), ("segment", "x"), ("doctor", "x")])
def test_advice_on_memory_names_no_batches_outside_of_a_training(
    words: tuple[str, ...], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_memory_error(words: object) -> int:
        raise MemoryError

    monkeypatch.setattr(main_module, "_parse_command", raise_memory_error)
    complaint = cli(*words).error_line.strip()
    assert complaint.endswith("not enough memory; make the network or the images smaller")
