"""The page about pictures of one's own: its commands and its code run as they are printed."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.cli.main import main

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/your-pictures.md").read_text(encoding="utf-8")
RNG = np.random.default_rng(0)


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def draw(file: Path, light: bool, mode: str = "RGB") -> None:
    """A noisy light or dark picture; in mode L a mask of one class."""
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = RNG.integers(0, 100, (32, 32, 3), dtype=np.uint8) + np.uint8(150 * light)
    Image.fromarray(noise if mode == "RGB" else np.full((32, 32), light, np.uint8)).save(file)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for light, name in enumerate(("cat", "dog")):
        for k in range(20):
            draw(Path(f"pictures/{name}/{k}.png"), bool(light))
        for part in ("train", "val"):
            draw(Path(f"pets/{part}/{name}/1.png"), bool(light))
    draw(Path("photo.jpg"), True)
    draw(Path("camvid/train/1.jpg"), True)
    draw(Path("camvid/trainannot/1.png"), True, "L")


@pytest.mark.real  # the doctor's trials take seconds
@pytest.mark.usefixtures("pictures")
def test_the_commands_run(capsys: pytest.CaptureFixture[str]):
    Path("pets.toml").write_text(blocks("toml")[0] + "width = 2\n[train]\nepochs = 1\n", encoding="utf-8")
    for line in blocks("sh")[2].splitlines():  # after those for whole data sets of the user
        words = line.split()
        assert words[0] == "pellucid"
        code, said = main(words[1:]), capsys.readouterr()
        assert code == 0, said.err
        if words[1] == "train":
            lacks = "it needs 20 training and 20 held-out images, not 32 and 4; add images, or hold out more"
            assert lacks in said.err
        if words[1] == "evaluate":
            assert "on 8 images of pictures" in said.out


@pytest.mark.usefixtures("pictures")
def test_the_code_runs():
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks("python"):
        exec(compile(block, "your-pictures.md", "exec"), names)
