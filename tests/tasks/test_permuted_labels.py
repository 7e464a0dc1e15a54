"""With labels permuted among real pictures, no figure of held-out pictures is above chance; with their labels, all are.

Chance is the distribution of the figure for predictions that are independent of the labels: binomial for the accuracy,
Beta for the squared correlation, which R² does not exceed, and that of random rankings and permuted masks.
"""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
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

from pellucid.data.samples.files import write_samples
from pellucid.model import Model
from tests.cli.conftest import Cli, cli
from tests.coco_figures import coco_figures
from tests.tasks.keypoints.drawn import write as write_points

__all__ = ["cli"]  # the fixture
pytestmark = [pytest.mark.slow, pytest.mark.heavy, pytest.mark.usefixtures("no_report")]
COUNT = 300  # pictures of handwritten digits, 8 x 8 pixels, enlarged so that they are planned as photos
CONFIDENCE = 0.999  # of the intervals of chance
N_DIGITS = 4  # 0 to 3
SETTINGS = ["data.size=64", "train.epochs=6", "augment.flip=false"]
LABELS = {"even": (0, 2), "large": (2, 3), "hole": (0,)}


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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


def permute_images(file: Path, rng: np.random.Generator) -> None:
    """Give the objects of each picture of a COCO file to another picture."""
    content = json.loads(file.read_text())
    images = [image["id"] for image in content["images"]]
    other = dict(zip(images, rng.permutation(images).tolist(), strict=True))
    for entry in content["annotations"]:
        entry["image_id"] = other[entry["image_id"]]
    file.write_text(json.dumps(content))


def figures_with_chance(data: Path, figure: Callable[[Path], float], tmp_path: Path) -> tuple[float, list[float]]:
    """Return the figure of held-out objects, and its values with the objects of other pictures."""
    actual, rng, chance = figure(data / "val.json"), np.random.default_rng(1), []
    for _ in range(40):
        shutil.copy(data / "val.json", tmp_path / "chance.json")
        permute_images(tmp_path / "chance.json", rng)
        chance.append(figure(tmp_path / "chance.json"))
    return actual, chance


@pytest.mark.parametrize("permuted", [False, True], ids=["true", "permuted"])
def test_average_precision_of_boxes(permuted: bool, cli: Cli, tmp_path: Path) -> None:
    write_samples(tmp_path / "samples")
    data = tmp_path / "samples/cells"
    if permuted:
        for part in ("train", "val"):
            permute_images(data / f"{part}.json", np.random.default_rng(0))
    run = results(cli, "detect", str(data), "train.epochs=2", "data.size=160")["run"]
    assert cli("detect", run, str(data / "val"), "--score", "0", "--out", "found").code == 0
    found = json.loads(Path("found/detections.json").read_text())
    names = {image["id"]: image["file_name"] for image in found["images"]}

    def average_precision(truth_file: Path) -> float:
        truth = json.loads(truth_file.read_text())
        image_ids = {image["file_name"]: image["id"] for image in truth["images"]}
        entries = [{**entry, "image_id": image_ids[names[entry["image_id"]]]} for entry in found["annotations"]]
        return coco_figures(truth, entries, "bbox")[1]

    actual, chance = figures_with_chance(data, average_precision, tmp_path)
    assert min(chance) <= actual <= max(chance) if permuted else actual > max(chance)


@pytest.mark.parametrize("permuted", [False, True], ids=["true", "permuted"])
def test_error_of_points(permuted: bool, cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_points(data, "train", 60, 0, (48, 48), 2.0)
    write_points(data, "val", 24, 1_000, (48, 48), 2.0)
    if permuted:
        for part in ("train", "val"):
            permute_images(data / f"{part}.json", np.random.default_rng(0))
    run = results(cli, "keypoints", str(data), "train.epochs=10", "data.size=48")["run"]
    assert cli("keypoints", run, str(data / "val"), "--out", "found").code == 0
    found = json.loads(Path("found/keypoints.json").read_text())
    names = {image["id"]: image["file_name"] for image in found["images"]}
    predicted = {names[entry["image_id"]]: coordinates(entry) for entry in found["annotations"]}

    def mean_error(truth_file: Path) -> float:
        truth = json.loads(truth_file.read_text())
        true_names = {image["id"]: image["file_name"] for image in truth["images"]}
        errors = [
            np.linalg.norm(predicted[true_names[entry["image_id"]]] - coordinates(entry), axis=1).mean()
            for entry in truth["annotations"]
        ]
        return float(np.mean(errors))

    actual, chance = figures_with_chance(data, mean_error, tmp_path)
    assert min(chance) <= actual <= max(chance) if permuted else actual < min(chance)


def coordinates(entry: dict[str, Any]) -> NDArray[np.float64]:
    """Return x and y of the points of an object (n, 2)."""
    return np.array(entry["keypoints"]).reshape(-1, 3)[:, :2]
