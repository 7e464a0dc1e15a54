"""`pellucid generate`, and `pellucid evaluate` of a generator."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid import Adam, Model
from pellucid.data import load
from tests.cli.conftest import Cli
from tests.generators.small import gmmn


@pytest.fixture(scope="module")
def generator_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    model = Model(gmmn(), optimizer=Adam(0.01), preprocess={"data": "digits"})
    model.fit(load("digits").train, epochs=1, batch_size=200, verbose=False)
    path = tmp_path_factory.mktemp("made") / "gmmn.safetensors"
    model.save(path)
    return str(path)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_images_are_written_and_depend_on_the_seed(generator_file: str, cli: Cli, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.png" for name in ("one", "again", "other")]
    output = cli("generate", generator_file, "--n", "20", "--seed", "5", "--out", str(files[0]), "--json").json
    assert output == {"model": generator_file, "n": 20, "seed": 5, "shape": [1, 8, 8], "file": str(files[0])}
    result = cli("generate", generator_file, "--n", "20", "--seed", "5", "--out", str(files[1]))
    assert (result.code, result.out) == (0, f"wrote 20 images to {files[1]}\n")
    cli("generate", generator_file, "--n", "20", "--out", str(files[2]))
    first, same_seed, other_seed = map(pixels, files)
    assert first.shape == (2 * 9 - 1, 16 * 9 - 1)
    assert (first == same_seed).all()
    assert (first != other_seed).any()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--n", "0"), "--n must be from 1 to 10,000, not 0"),
        (("--seed", "-1"), "'-1' is not a seed; give a whole number from 0"),
        (("--out", "a.jpg"), "end the name in .png"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(
    words: tuple[str, ...], complaint: str, generator_file: str, cli: Cli
) -> None:
    assert complaint in cli("generate", generator_file, *words).error_line


def test_generate_refuses_a_classifier(cli: Cli) -> None:
    assert "is not a generator" in cli("generate", "mnist-mlp-100").error_line


def test_evaluate_measures_samples(generator_file: str, cli: Cli) -> None:
    output = cli("evaluate", generator_file, "--json").json
    assert (output["data"], output["n"], output["classifier"], output["variety"]) == ("digits", 10_000, "", None)
    assert output["parzen"]["samples"] == 10_000
    assert output["parzen"]["points"] + output["parzen"]["chosen"] == 359
    result = cli("evaluate", generator_file)
    assert "Parzen log-likelihood" in result.out
    assert "distance to the nearest training image: samples" in result.out
    assert "is not a segmentation model; leave --crf out" in cli("evaluate", generator_file, "--crf").error_line
    assert "is not a detector; leave --html out" in cli("evaluate", generator_file, "--html", "a.html").error_line


def test_predict_refuses_a_generator(generator_file: str, cli: Cli, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert "use `pellucid generate`" in cli("predict", generator_file, str(tmp_path / "a.png")).error_line
