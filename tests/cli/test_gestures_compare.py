"""`pellucid gestures compare` trains the five recipes that come with Pellucid, here on tiny pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.model import Model
from pellucid.models import airbench96
from tests.cli.conftest import Cli


def write_pictures(folder: Path, count: int, seed: int) -> None:
    """Write pictures of noise in two classes, which differ in brightness."""
    rng = np.random.default_rng(seed)
    for name, brightness in (("dark", 0), ("light", 120)):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            noise = rng.integers(brightness, brightness + 120, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / name / f"{k}.png")


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_one_command_compares_five_variants(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path / "hands" / "train", 8, 0)
    write_pictures(tmp_path / "hands" / "val", 4, 1)
    Model(airbench96(width=2), input_shape=(3, 16, 16)).save(tmp_path / "backbone.safetensors")
    words = ("gestures", "compare", "--backbone", "backbone.safetensors", "--data", "hands", "--out", "compared",
             "network.width=2", "data.size=16", "train.epochs=1")  # fmt: skip
    output = cli(*words, "--json").json
    assert output["page"] == "compared/comparison.html"
    assert Path(output["page"]).is_file()
    assert output["command"] == f"pellucid {' '.join(words)}"
    assert [variant["variant"] for variant in output["variants"]] == [
        "signs-scratch", "signs-frozen", "signs-frozen-augmented", "signs-finetune", "signs-best",
    ]  # fmt: skip
    assert (output["classes"], output["n_train"], output["n_test"]) == (["dark", "light"], 16, 8)
    assert {variant["parameters"] for variant in output["variants"]} == {output["variants"][0]["parameters"]}
    n_trainable = [variant["learned"] for variant in output["variants"]]
    assert n_trainable[0] == n_trainable[4] > n_trainable[3] > n_trainable[1] == n_trainable[2] == 2 * (8 + 1)

    monkeypatch.setattr("pellucid.tasks.comparison.Comparison.write", lambda self, folder, command: [])
    second_result = cli(*words)  # finished runs are not trained once more
    assert second_result.code == 0
    actual = second_result.out.splitlines()
    assert actual[0].endswith("24 images of 2 classes; train 16, test 8 (as in its folders)")
    assert sum("warning: " in line for line in actual) == 1  # the data have few pictures
    lines = actual[next(k for k, line in enumerate(actual) if line.startswith("1/5")) :]
    assert lines[0].startswith("1/5 From scratch: accuracy ")
    assert lines[6].split() == [
        "variant", "accuracy", "interval", "difference", "macro", "F1", "ECE", "per", "image", "training", "trainable",
    ]  # fmt: skip
    assert lines[-1] == "page  compared/comparison.html"
    assert len([path for path in Path("compared").iterdir() if (path / "recipe.toml").is_file()]) == 5


def test_invalid_arguments_are_reported_in_one_line_before_training(cli: Cli, tmp_path: Path) -> None:
    assert "no data set or folder 'nowhere'" in cli("gestures", "compare", "--data", "nowhere").error_line
    assert "no model 'nowhere'" in cli("gestures", "compare", "--backbone", "nowhere").error_line
    assert "'epochs' is not a setting" in cli("gestures", "compare", "epochs").error_line
    assert "did you mean 'train.epochs'" in cli("gestures", "compare", "train.epoch=1").error_line
    assert (
        "seeds must be a whole number" in cli("gestures", "compare", "--seeds", "0", "--data", str(tmp_path)).error_line
    )
    assert "--seed" in cli("gestures", "compare", "--seed", "1").error_line
    assert not (tmp_path / "runs").exists()
