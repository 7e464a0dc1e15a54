"""With labels permuted among real pictures, no figure of held-out pictures is above chance; with their labels, all are.

Chance is the distribution of the figure for predictions that are independent of the labels: binomial for the accuracy,
Beta for the squared correlation, which R² does not exceed, and that of random rankings and permuted masks.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, jaccard_score

from pellucid.model import Model
from tests.cli.conftest import Cli, cli

__all__ = ["cli"]  # the fixture
pytestmark = [pytest.mark.slow, pytest.mark.heavy, pytest.mark.usefixtures("no_report")]
COUNT = 300  # pictures of handwritten digits, 8 x 8 pixels, enlarged so that they are planned as photos
CONFIDENCE = 0.999  # of the intervals of chance
N_DIGITS = 4  # 0 to 3
SETTINGS = ["data.size=64", "train.epochs=6", "augment.flip=false"]
LABELS = {"even": (0, 2), "large": (2, 3), "hole": (0,)}


@pytest.fixture(params=[False, True], ids=["true", "permuted"])
def order(request: pytest.FixtureRequest) -> NDArray[np.int64]:
    """The picture whose label each picture gets: its own, or another one's."""
    return np.random.default_rng(0).permutation(COUNT) if request.param else np.arange(COUNT)


def is_permuted(order: NDArray[np.int64]) -> bool:
    return not np.array_equal(order, np.arange(COUNT))


def pictures(enlarged: int = 8) -> Iterator[tuple[int, Image.Image]]:
    for k, pixels in enumerate(load_digits(n_class=N_DIGITS).images[:COUNT]):
        yield k, Image.fromarray((pixels * 15).astype(np.uint8).repeat(enlarged, 0).repeat(enlarged, 1))


def write_table(root: Path, header: list[str], rows: list[list[Any]]) -> Path:
    """Write pictures and labels.csv with the cells of each picture; return the folder."""
    root.mkdir()
    for k, picture in pictures():
        picture.save(root / f"{k}.png")
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file", *header], *([f"{k}.png", *row] for k, row in enumerate(rows))])
    return root


def results(cli: Cli, *words: str) -> dict[str, Any]:
    result = cli("train", *words, "recipe.threads=1", "--json")
    assert result.code == 0, result.err
    return result.json


def test_accuracy(order: NDArray[np.int64], cli: Cli, tmp_path: Path) -> None:
    classes = load_digits(n_class=N_DIGITS).target[:COUNT][order]
    for k, picture in pictures():
        (tmp_path / "data" / str(classes[k])).mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "data" / str(classes[k]) / f"{k}.png")
    found = results(cli, "classify", str(tmp_path / "data"), *SETTINGS)
    low, high = stats.binom.interval(CONFIDENCE, found["n"], np.bincount(classes).max() / COUNT)
    hits = found["accuracy"] * found["n"]
    assert low <= hits <= high if is_permuted(order) else hits > high


def test_mean_average_precision(order: NDArray[np.int64], cli: Cli, tmp_path: Path) -> None:
    targets = load_digits(n_class=N_DIGITS).target[:COUNT][order]
    rows = np.stack([np.isin(targets, digits) for digits in LABELS.values()], 1).astype(int)
    found = results(cli, "classify", str(write_table(tmp_path / "data", [*LABELS], rows.tolist())), *SETTINGS)
    split = json.loads((Path(found["run"]) / "split.json").read_text())
    true = rows[[int(Path(name).stem) for name in split["test"]]]
    rng = np.random.default_rng(1)
    chance = [average_precision_score(true, rng.random(true.shape), average="macro") for _ in range(2_000)]
    low, high = np.quantile(chance, [1 - CONFIDENCE, CONFIDENCE])
    assert low <= found["map"] <= high if is_permuted(order) else found["map"] > high


def test_determination_of_numbers(order: NDArray[np.int64], cli: Cli, tmp_path: Path) -> None:
    ink = load_digits(n_class=N_DIGITS).images[:COUNT].mean((1, 2))[order]
    data = write_table(tmp_path / "data", ["ink"], [[f"{value:.4f}"] for value in ink])
    found = results(cli, "regress", str(data), "data.size=16", "train.epochs=8")
    n = len(json.loads((Path(found["run"]) / "split.json").read_text())["test"])
    high = stats.beta(0.5, (n - 2) / 2).ppf(CONFIDENCE)
    assert found["r2"] <= high if is_permuted(order) else found["r2"] > high


def test_mean_iou(order: NDArray[np.int64], cli: Cli, tmp_path: Path) -> None:
    n_train, n_test, root = 120, 60, tmp_path / "data"
    for folder in ("train", "trainannot", "val", "valannot"):
        (root / folder).mkdir(parents=True)
    ink = (load_digits(n_class=N_DIGITS).images[:COUNT] > 6).astype(np.uint8).repeat(4, 1).repeat(4, 2)
    masks = ink[order]
    images = dict(pictures(enlarged=4))
    for k in range(n_train + n_test):
        part = "train" if k < n_train else "val"
        images[k].convert("RGB").save(root / part / f"{k}.png")
        Image.fromarray(masks[k]).save(root / f"{part}annot" / f"{k}.png")
    found = results(cli, "segment", str(root), "train.epochs=4")
    model = Model.load(Path(found["run"]) / "weights" / "last.safetensors")
    tested = [*range(n_train, n_train + n_test)]
    x = torch.from_numpy(np.stack([np.asarray(images[k].convert("RGB")) for k in tested])).permute(0, 3, 1, 2) / 255
    predicted = model.predict(x).argmax(1).numpy()
    rng = np.random.default_rng(1)
    chance = [
        jaccard_score(masks[tested][rng.permutation(n_test)].ravel(), predicted.ravel(), average="macro")
        for _ in range(200)
    ]
    actual = jaccard_score(masks[tested].ravel(), predicted.ravel(), average="macro")
    assert actual == pytest.approx(found["miou"], abs=1e-6)
    assert min(chance) <= actual <= max(chance) if is_permuted(order) else actual > max(chance)
