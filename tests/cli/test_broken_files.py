"""Every command reads a folder by the same rules: broken pictures are named or refused, other files are ignored."""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder, ImageFolder, MaskFolder, load_folder
from pellucid.recipe.job import load_data
from pellucid.recipe.own import recipe_of_words
from tests.cli.conftest import Cli

SIZE = (72, 96)  # (H, W)
BOXES = ((10, 10, 34, 34), (52, 30, 80, 60))  # x0, y0, x1, y1
OTHER_NAMES = (".hidden.png", "._1.png", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.md")
VALID_NAMES = [f"{k}.png" for k in range(6)]
BROKEN_NAMES = ["empty.png", "text.png", "truncated.jpg"]


def random_picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*SIZE, 3)).astype(np.uint8))


def write_pictures(folder: Path, has_broken: bool) -> list[str]:
    """Write pictures, files that are no pictures, and broken pictures; return the names of all pictures."""
    folder.mkdir(parents=True)
    for k, name in enumerate(VALID_NAMES):
        random_picture(k).save(folder / name)
    for name in OTHER_NAMES:
        (folder / name).write_bytes(b"no picture")
    if has_broken:
        file = io.BytesIO()
        random_picture(99).save(file, "JPEG")
        data = file.getvalue()
        for name, content in zip(BROKEN_NAMES, (b"", b"hello\n", data[: len(data) // 2]), strict=True):
            (folder / name).write_bytes(content)
    return VALID_NAMES + (BROKEN_NAMES if has_broken else [])


def write_classes(root: Path, has_broken: bool) -> None:
    write_pictures(root / "cat", has_broken)
    write_pictures(root / "dog", False)


def write_masks(root: Path, has_broken: bool) -> None:
    names = write_pictures(root / "train", has_broken)
    write_pictures(root / "trainannot", False)
    for name in names:
        mask = Image.new("L", (SIZE[1], SIZE[0]))
        mask.paste(1, BOXES[0])
        mask.save(root / "trainannot" / name, "PNG")


def write_objects(root: Path, has_broken: bool, points: bool = False) -> None:
    """Write a COCO data set with two boxes in each picture, or with three key-points of one object (`points`)."""
    names = write_pictures(root, has_broken)
    images = [{"id": k, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for k, name in enumerate(names)]
    categories: list[Any] = [{"id": k, "name": name} for k, name in enumerate(("RBC", "WBC"))]
    if points:
        categories = [{"id": 0, "name": "RBC", "keypoints": ["left", "right", "middle"], "skeleton": []}]
    annotations: list[Any] = []
    for image in images:
        for k, (x0, y0, x1, y1) in enumerate(BOXES[: len(categories)]):
            shape = {"keypoints": [x0, y0, 2, x1, y0, 2, x0, y1, 2], "num_keypoints": 3} if points else {}
            annotations.append({
                "id": len(annotations), "image_id": image["id"], "category_id": k, "iscrowd": 0,
                "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), **shape,
            })  # fmt: skip
    (root / "annotations.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )


WRITERS: dict[str, Callable[[Path, bool], Any]] = {
    "flat": write_pictures,
    "classes": write_classes,
    "masks": write_masks,
    "objects": write_objects,
    "points": lambda root, has_broken: write_objects(root, has_broken, points=True),
}
PREDICT_COMMANDS = [
    ["predict", "cifar", "flat"],
    ["detect", "bccd", "flat", "--out", "found"],
    ["segment", "camvid", "flat", "--out", "found"],
    ["keypoints", "faces", "flat", "--out", "found"],
    ["colorize", "colorize", "flat", "--out", "found"],
]
TRAIN_ARGUMENTS = [
    ["classify", "classes", "data.size=32"],
    ["detect", "objects", "data.size=96"],
    ["segment", "masks"],
    ["keypoints", "points", "data.size=64"],
    ["colorize", "flat"],
]
MEASURE_COMMANDS = [
    ["evaluate", "cifar", "--data", "classes"],
    ["evaluate", "bccd", "--data", "objects"],
    ["evaluate", "camvid", "--data", "masks"],
    ["evaluate", "faces", "--data", "points"],
    ["evaluate", "colorize", "--data", "flat"],
    ["colorize", "compare", "colorize", "--data", "flat"],
    ["doctor", "cifar", "--data", "classes"],
    ["doctor", "camvid", "--data", "masks"],
]
LINT_FOLDERS = ["flat", "classes", "masks", "objects", "points"]


@pytest.fixture(params=[False, True], ids=["whole", "broken"])
def has_broken(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[bool]:
    """Write data folders into the working folder, without and with broken pictures; yield which of both."""
    for name, write in WRITERS.items():
        write(tmp_path / name, request.param)
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("words", PREDICT_COMMANDS, ids=" ".join)
def test_prediction_names_broken_pictures_and_continues(words: list[str], has_broken: bool, cli: Cli) -> None:
    result = cli(*words, "--json")
    assert result.code == (2 if has_broken else 0)
    values = json.loads(result.out)
    rows = values.get("predictions") or values["pictures"]
    assert len(rows) == len(VALID_NAMES)
    assert [skipped["image"] for skipped in values["skipped"]] == (BROKEN_NAMES if has_broken else [])
    assert result.err.count("\n") == len(values["skipped"])


def is_refusal(text: str) -> bool:
    """Return whether one line names the broken files, their number, and the command that lists them."""
    assert text.count("\n") <= 1
    is_named = all(name in text for name in BROKEN_NAMES)
    return is_named and "(and 2 more: " in text and "`pellucid data lint` lists the faults of the files" in text


@pytest.mark.parametrize("words", TRAIN_ARGUMENTS, ids=" ".join)
def test_training_refuses_broken_pictures_before_it_begins(words: list[str], has_broken: bool, cli: Cli) -> None:
    if has_broken:
        for command in (["train", *words], ["find-lr", *words]):
            assert is_refusal(cli(*command).error_line)
        assert not Path("runs").exists()
    else:
        material = load_data(recipe_of_words(words[0], words[1:])[0])
        assert len(material.train) + len(material.test) == (2 if words[0] == "classify" else 1) * len(VALID_NAMES)


@pytest.mark.parametrize("words", MEASURE_COMMANDS, ids=" ".join)
def test_measuring_refuses_broken_pictures(words: list[str], cli: Cli, tmp_path: Path) -> None:
    name = words[-1]
    WRITERS[name](tmp_path / name, True)
    assert is_refusal(cli(*words).error_line)


@pytest.mark.parametrize("words", MEASURE_COMMANDS[:1] + MEASURE_COMMANDS[2:3] + MEASURE_COMMANDS[4:5], ids=" ".join)
def test_measuring_ignores_files_that_are_no_pictures(words: list[str], cli: Cli, tmp_path: Path) -> None:
    name = words[-1]
    WRITERS[name](tmp_path / name, False)
    output = cli(*words, "--json").json
    assert output["n"] == (2 if name == "classes" else 1) * len(VALID_NAMES)


def test_converting_refuses_broken_pictures_by_name(has_broken: bool, cli: Cli) -> None:
    result = cli("data", "convert", "objects", "other", "--to", "voc")
    assert any(name in result.error_line for name in BROKEN_NAMES) if has_broken else result.code == 0


def test_showing_counts_broken_pictures_and_names_them_on_the_page(has_broken: bool, cli: Cli) -> None:
    result = cli("data", "show", "objects", "--html", "page.html")
    assert result.code == 0
    assert re.search(r"left out +3 +0\n", result.out) if has_broken else "left out" not in result.out
    assert all((name in Path("page.html").read_text("utf-8")) == has_broken for name in BROKEN_NAMES)


@pytest.mark.parametrize("name", LINT_FOLDERS)
def test_lint_lists_all_broken_pictures(name: str, has_broken: bool, cli: Cli) -> None:
    result = cli("data", "lint", name, "--json")
    assert result.code == (2 if has_broken else 0)
    faults = [fault for fault in json.loads(result.out)["faults"] if fault["effect"] == "refused"]
    assert sorted(Path(fault["file"]).name for fault in faults) == (BROKEN_NAMES if has_broken else [])


def test_lint_of_a_folder_without_pictures_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("nothing")
    assert "neither annotations nor images" in cli("data", "lint", str(tmp_path)).error_line


def test_sources_contain_only_picture_files(has_broken: bool) -> None:
    if has_broken:
        with pytest.raises(PellucidError) as info:
            load_folder("classes", 16)
        assert is_refusal(str(info.value))
        assert len(load_folder("classes", 16, on_error="skip").skipped) == len(BROKEN_NAMES)
    else:
        assert len(load_folder("classes", 16)) == 2 * len(VALID_NAMES)
    count = len(VALID_NAMES) + (len(BROKEN_NAMES) if has_broken else 0)
    assert len(ImageFolder("classes")) == count + len(VALID_NAMES)
    assert len(MaskFolder("masks")) == len(DetectionFolder("objects")) == count


def test_a_class_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path / "set", False)
    (tmp_path / "set" / "bird").mkdir()
    for content in (None, "notes.md"):
        if content:
            (tmp_path / "set" / "bird" / content).write_text("no picture")
        with pytest.raises(PellucidError, match=r"set/bird is a class folder without images"):
            load_folder(tmp_path / "set", 16)


def test_pictures_of_a_format_that_cannot_be_read_are_not_ignored(tmp_path: Path) -> None:
    write_classes(tmp_path / "set", False)
    (tmp_path / "set" / "cat" / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(PellucidError, match=r"phone\.HEIC is not an image that can be read"):
        load_folder(tmp_path / "set", 16)
