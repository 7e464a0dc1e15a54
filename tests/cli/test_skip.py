"""`data.skip=true` leaves out missing and broken images, up to a tenth, in every command alike."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_first_time
from pellucid.cli.main import main
from pellucid.data import DetectionFolder, MaskFolder, Subset, load, load_splits
from pellucid.model import Model
from pellucid.recipe.job import load_data
from pellucid.recipe.own import recipe_of_words
from pellucid.run.folder import RunFolder
from pellucid.tasks.annotated import held_out as annotated_images
from pellucid.tasks.segment.segmenter import mask_folder
from tests.cases import mostly_heavy
from tests.cli.conftest import Cli
from tests.data.annotations.sets import voc_xml
from tests.data.pictures import grey_bytes

HEIGHT, WIDTH = 40, 48
COUNT = 20  # images of a data set
BOX = (10, 10, 30, 34)


def picture(seed: int, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)).save(out, kind)
    return out.getvalue()


def broken(k: int) -> bytes:
    """Return the content of a broken file, of a kind that depends on k."""
    return [b"", b"hello\n", picture(k, "JPEG")[:700], picture(k)[:600]][k % 4]


def pictures(folder: str, n_broken: int, names: Callable[[int], str] = lambda k: f"{k:02}.png") -> dict[str, bytes]:
    """Return images, of which the first `n_broken` are broken."""
    return {f"{folder}/{names(k)}": broken(k) if k < n_broken else picture(k) for k in range(COUNT)}


def class_folders(n_broken: int) -> dict[str, bytes]:
    return pictures("set", n_broken, lambda k: f"{'ab'[k % 2]}/{k:02}.png")


def masks(n_broken: int) -> dict[str, bytes]:
    mask = grey_bytes(np.indices((HEIGHT, WIDTH)).sum(0) % 2)
    return pictures("set/train", n_broken) | {f"set/trainannot/{k:02}.png": mask for k in range(COUNT)}


def broken_masks(n_broken: int) -> dict[str, bytes]:
    files = masks(0)
    return files | {f"set/trainannot/{k:02}.png": broken(k) for k in range(n_broken)}


def unpaired_masks(n_broken: int) -> dict[str, bytes]:
    files = masks(0)
    for k in range(n_broken):
        del files[f"set/train{'annot' * (k % 2)}/{k:02}.png"]
    return files


def coco(n_broken: int, points: bool = False, missing: bool = False) -> dict[str, bytes]:
    x0, y0, x1, y1 = BOX
    shape = {"keypoints": [x0, y0, 2, x1, y0, 2, x0, y1, 2], "num_keypoints": 3} if points else {}
    names = {"keypoints": ["left", "right", "middle"], "skeleton": []} if points else {}
    images = [{"id": k, "file_name": f"{k:02}.png", "height": HEIGHT, "width": WIDTH} for k in range(COUNT)]
    items = [
        {"id": k, "image_id": k, "category_id": 0, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0, **shape}
        for k in range(COUNT)
    ]
    content = {"images": images, "annotations": items, "categories": [{"id": 0, "name": "RBC", **names}]}
    files = pictures("set", n_broken) | {"set/a.json": json.dumps(content).encode()}
    return {name: data for name, data in files.items() if not missing or data not in map(broken, range(n_broken))}


def voc(n_missing: int) -> dict[str, bytes]:
    xml = voc_xml(("RBC", *BOX, 0), size=(HEIGHT, WIDTH))
    images = pictures("set", 0)
    images = {name: images[name] for name in sorted(images)[n_missing:]}
    return images | {f"set/{k:02}.xml": xml for k in range(COUNT)}


def labelme(n_missing: int) -> dict[str, bytes]:
    shape = {"label": "RBC", "shape_type": "rectangle", "points": [BOX[:2], BOX[2:]]}
    images = pictures("set", 0)
    files = {name: images[name] for name in sorted(images)[n_missing:]}
    for k in range(COUNT):
        content = {"imagePath": f"{k:02}.png", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": [shape]}
        files[f"set/{k:02}.json"] = json.dumps(content).encode()
    return files


def yolo(n_broken: int) -> dict[str, bytes]:
    files = pictures("set", n_broken) | {"set/data.yaml": b"names: [RBC]"}
    return files | {f"set/{k:02}.txt": b"0 0.5 0.5 0.4 0.4\n" for k in range(COUNT)}


# Data sets with n missing or broken images, the task that trains on them, and a shipped model of the task.
SETS: dict[str, tuple[Callable[[int], dict[str, bytes]], str, str]] = {
    "classes": (class_folders, "classify", "cifar"),
    "masks": (masks, "segment", "camvid"),
    "broken masks": (broken_masks, "segment", "camvid"),
    "unpaired masks": (unpaired_masks, "segment", "camvid"),
    "coco": (coco, "detect", "bccd"),
    "coco, missing": (lambda n: coco(n, missing=True), "detect", "bccd"),
    "voc": (voc, "detect", "bccd"),
    "labelme": (labelme, "detect", "bccd"),
    "yolo": (yolo, "detect", "bccd"),
    "key-points": (lambda n: coco(n, points=True), "keypoints", "faces"),
    "photos": (lambda n: pictures("set", n), "colorize", "colorize"),
}
PREDICT_COMMANDS = [
    ["predict", "cifar"], ["detect", "bccd"], ["segment", "camvid"], ["keypoints", "faces"], ["colorize", "colorize"],
]  # fmt: skip
ADVICE = "data.skip=true leaves out up to 10 % of the images"


@pytest.fixture(autouse=True)
def each_note_is_new() -> None:
    note_first_time.cache_clear()


def write(folder: Path, kind: str, n_broken: int) -> Path:
    for name, data in SETS[kind][0](n_broken).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / "set"


@pytest.mark.parametrize("n_broken", [1, 2, 3])
@pytest.mark.parametrize("kind", SETS)
def test_a_training_leaves_out_broken_images_up_to_a_tenth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, n_broken: int
) -> None:
    path = write(tmp_path, kind, n_broken)
    task = SETS[kind][1]
    words = [str(path)] + ["data.size=16"] * (task == "classify")
    assert main(["train", task, *words]) == 2
    error = capsys.readouterr().err
    assert ADVICE in error
    assert error.count("\n") == 1
    if n_broken > 0.1 * COUNT:
        assert main(["train", task, *words, "data.skip=true"]) == 2
        error = capsys.readouterr().err
        assert f"{n_broken} of {COUNT} images are missing or cannot be read, such as " in error
        assert "data.skip leaves out at most 10 %" in error
        return
    material = load_data(recipe_of_words(task, [*words, "data.skip=true"])[0])
    assert len(material.train) + len(material.test) == COUNT - n_broken
    notes = [line for line in capsys.readouterr().err.splitlines() if "missing or cannot be read" in line]
    assert len(notes) == 1
    count = f"{n_broken} of {COUNT} images are missing or cannot be read, such as "
    assert notes[0].startswith(f"pellucid: {path}: {count}")
    assert notes[0].endswith("; they are left out")


@pytest.mark.slow
@pytest.mark.parametrize("kind", mostly_heavy([kind for kind in SETS if kind != "key-points"], 3))
def test_an_evaluation_leaves_out_broken_images(cli: Cli, tmp_path: Path, kind: str) -> None:
    model, path = SETS[kind][2], write(tmp_path, kind, 2)
    if kind == "classes":
        for name, label in (("a", "cat"), ("b", "dog")):
            (path / name).rename(path / label)
    if kind.endswith("masks"):
        (path / "classes.txt").write_text("sky\nroad\n")
    assert ADVICE in cli("evaluate", model, "--data", str(path)).err
    result = cli("evaluate", model, "--data", str(path), "data.skip=true", "--json")
    assert result.json["n"] == COUNT - 2
    assert sum("2 of 20 images are missing or cannot be read" in line for line in result.err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("n_broken", "code"), [(0, 0), (2, 0), (3, 2)])
@pytest.mark.parametrize("words", mostly_heavy(PREDICT_COMMANDS, 3), ids=" ".join)
def test_a_prediction_counts_broken_images_in_one_note(
    cli: Cli, tmp_path: Path, words: list[str], n_broken: int, code: int
) -> None:
    path = write(tmp_path, "photos", n_broken)
    out = [] if words[0] == "predict" else ["--out", str(tmp_path / "found")]
    result = cli(*words, str(path), *out, "data.skip=true")
    assert result.code == code
    count = f"pellucid: {path}: {n_broken} of {COUNT} images are missing or cannot be read, such as 00.png"
    assert result.err.count(count) == (n_broken > 0)
    assert result.err.count("\n") == (n_broken > 0)


def test_a_doctor_leaves_out_broken_images(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path, "classes", 2)
    for name, label in (("a", "cat"), ("b", "dog")):
        (path / name).rename(path / label)
    assert ADVICE in cli("doctor", "cifar", "--data", str(path)).error_line
    result = cli("doctor", "cifar", "--data", str(path), "data.skip=true")
    assert result.code == 0
    assert "2 of 20 images are missing or cannot be read" in result.err


@pytest.mark.slow
def test_a_run_keeps_the_setting_and_is_resumed_and_evaluated_with_it(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path, "classes", 2)
    (tmp_path / "mlp.toml").write_text(
        f'[data]\nname = "{path}"\nsize = 16\n[network]\nmodel = "mlp"\nsizes = [768, 2]\n[train]\nepochs = 1\n'
    )
    result = cli("train", str(tmp_path / "mlp.toml"), "data.skip=true", "--out", str(tmp_path / "runs"))
    assert result.code == 0
    run = tmp_path / "runs/mlp-1"
    assert "skip = true" in (run / "recipe.toml").read_text()
    assert cli("train", "--resume", str(run), "train.epochs=2").code == 0
    output = cli("evaluate", str(run), "--data", str(path), "data.skip=true", "--json").json
    assert output["n"] == 4, "a fifth of each class, as in the training"
    assert cli("evaluate", str(run), "--json").json == output, "its own data are read as in the training"


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("kind", ["coco", "masks", "yolo"])
def test_the_same_images_are_held_out_if_the_folder_of_the_training_is_named(
    cli: Cli, tmp_path: Path, kind: str
) -> None:
    """The broken image is not among those held out; without it, another fifth of the images is drawn."""
    path, task = write(tmp_path, kind, 0), SETS[kind][1]
    if kind == "masks":
        (path / "classes.txt").write_text("sky\nroad\n")
    words = [task, str(path), "data.skip=true"]
    training = load_data(recipe_of_words(task, words[1:])[0]).train
    (path / names_of(training)[0]).write_bytes(picture(3)[:600])  # its size can be read
    expected = load_data(recipe_of_words(task, words[1:])[0]).test
    run = cli("train", *words, "train.epochs=1", "data.size=32", "recipe.threads=1", "--json").json["run"]
    model = Model.load(RunFolder(run).last)
    find = mask_folder if kind == "masks" else evaluated_objects
    data = (None, str(path), str(path / "data.yaml")) if kind == "yolo" else (None, str(path))
    for one in data:
        assert find(model, one, None).names == names_of(expected)


def names_of(part: Any) -> tuple[str, ...]:
    """Return the images of a part of a data set."""
    return tuple(part.source.names[k] for k in part.indices.tolist()) if isinstance(part, Subset) else part.names


def evaluated_objects(model: Model, data: str | None, classes: None) -> Any:
    """Return the annotated images on which a model is evaluated."""
    return annotated_images(model, data, classes)[0]


@pytest.mark.parametrize("words", [["recipes"], ["data", "list"], ["calc", "params", "mlp"]])
def test_commands_without_data_do_not_accept_it(cli: Cli, words: list[str]) -> None:
    assert cli(*words, "data.skip=true").code == 2


def test_sources_leave_out_any_number_of_images_in_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("masks", "broken masks", "unpaired masks"):
        path = write(tmp_path / kind, kind, 7)
        source = MaskFolder(path, on_error="skip")
        assert (len(source), len(source.skipped)) == (COUNT - 7, 7)
        assert [Path(name).name for name in source.names] == [f"{k:02}.png" for k in range(7, COUNT)]
        with pytest.raises(PellucidError, match=ADVICE):
            MaskFolder(path).refuse_unreadable()
    for kind in ("coco", "coco, missing", "voc", "labelme", "yolo", "key-points"):
        path = write(tmp_path / kind, kind, 7)
        source = DetectionFolder(path, on_error="skip")
        assert (len(source), len(source.skipped)) == (COUNT - 7, 7)
        assert all(source.example(k)[1].boxes.shape == (1, 4) for k in range(len(source)))
        splits = load(str(path), on_error="skip")
        assert len(splits.train) + len(splits.test) == COUNT - 7
    path = write(tmp_path / "classes", "classes", 7)
    assert len(load_splits(path, on_error="skip").train.skipped) == 7
    assert capsys.readouterr().err == ""


def test_images_of_another_size_than_annotated_are_not_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "coco", 0)
    (path / "00.png").write_bytes(grey_bytes(np.zeros((9, 9), np.uint8)))
    with pytest.raises(PellucidError, match="the image is 9 pixels wide and 9 high"):
        DetectionFolder(path, on_error="skip").example(0)
