"""`pellucid gestures compare`: the five recipes that come with Pellucid, on tiny pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.model import Model
from pellucid.models import airbench96
from tests.cli.conftest import Say


def pictures(folder: Path, count: int, seed: int) -> None:
    """Draw noise in two brightnesses."""
    rng = np.random.default_rng(seed)
    for name, light in (("dark", 0), ("light", 120)):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            noise = rng.integers(light, light + 120, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / name / f"{k}.png")


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_one_command_compares_five_variants(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path / "hands" / "train", 8, 0)
    pictures(tmp_path / "hands" / "val", 4, 1)
    Model(airbench96(width=2), input_shape=(3, 16, 16)).save(tmp_path / "backbone.safetensors")
    words = ("gestures", "compare", "--backbone", "backbone.safetensors", "--data", "hands", "--out", "compared",
             "network.width=2", "data.size=16", "train.epochs=1")  # fmt: skip
    said = say(*words, "--json").json
    assert said["page"] == "compared/comparison.html"
    assert Path(said["page"]).is_file()
    assert said["command"] == f"pellucid {' '.join(words)}"
    assert [variant["variant"] for variant in said["variants"]] == [
        "signs-scratch", "signs-frozen", "signs-frozen-augmented", "signs-finetune", "signs-best",
    ]  # fmt: skip
    assert (said["classes"], said["n_train"], said["n_test"]) == (["dark", "light"], 16, 8)
    assert {variant["parameters"] for variant in said["variants"]} == {said["variants"][0]["parameters"]}
    learned = [variant["learned"] for variant in said["variants"]]
    assert learned[0] == learned[4] > learned[3] > learned[1] == learned[2] == 2 * (8 + 1)

    monkeypatch.setattr("pellucid.tasks.gestures.compare.write_comparison", lambda folder, result: None)
    again = say(*words)  # of what is finished, nothing is trained
    assert again.code == 0
    actual = again.out.splitlines()
    assert actual[0].endswith("24 images of 2 classes; train 16, test 8 (as in its folders)")
    assert sum("warning: " in line for line in actual) == 1  # of few pictures
    lines = actual[next(k for k, line in enumerate(actual) if line.startswith("1/5")) :]
    assert lines[0].startswith("1/5 From scratch: accuracy ")
    assert lines[6].split() == ["variant", "accuracy", "macro", "F1", "ECE", "per", "image", "training", "trainable"]
    assert lines[-1] == "page  compared/comparison.html"
    assert len([path for path in Path("compared").iterdir() if (path / "recipe.toml").is_file()]) == 5


def test_invalid_arguments_are_reported_in_one_line_before_training(say: Say, tmp_path: Path) -> None:
    assert "no data set or folder 'nowhere'" in say("gestures", "compare", "--data", "nowhere").complaint
    assert "no model 'nowhere'" in say("gestures", "compare", "--backbone", "nowhere").complaint
    assert "'epochs' is not a setting" in say("gestures", "compare", "epochs").complaint
    assert "did you mean 'train.epochs'" in say("gestures", "compare", "train.epoch=1").complaint
    assert (
        "seeds must be a whole number" in say("gestures", "compare", "--seeds", "0", "--data", str(tmp_path)).complaint
    )
    assert "--seed" in say("gestures", "compare", "--seed", "1").complaint
    assert not (tmp_path / "runs").exists()
