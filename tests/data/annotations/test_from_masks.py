"""Masks of classes as objects of other formats and back: pixels, counts and areas, by SciPy and pycocotools."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_first_time
from pellucid.cli.main import main
from pellucid.data import MaskFolder, load
from pellucid.data.annotations.convert import WRITERS, convert
from pellucid.data.annotations.from_masks import regions
from pellucid.data.object_masks import ObjectMasks
from tests.data.mask_sets import MaskSet, draw_set, write_layout, write_voc

pycocotools_mask = pytest.importorskip("pycocotools.mask")


@pytest.fixture(autouse=True)
def each_note_is_new():
    note_first_time.cache_clear()


@pytest.mark.parametrize("seed", range(12))
def test_regions_are_those_of_scipy(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 40, 2)) < rng.choice([0.1, 0.4, 0.6, 0.9])
    labelled, count = ndimage.label(mask, np.ones((3, 3)))
    found = []
    for spans in regions(torch.from_numpy(mask)):
        region = np.zeros(mask.shape, bool)
        for row, start, end in spans.tolist():
            region[row, start:end] = True
        found.append(region.tobytes())
    assert sorted(found) == sorted((labelled == k).tobytes() for k in range(1, count + 1))


def drawn_set(root: Path, seed: int, void: bool = False) -> MaskSet:
    drawn = draw_set(seed, classes=3, void=void, count=6)
    write_layout(root, drawn, "parts outside")
    (root / "classes.txt").write_text("background\ncell\nnucleus\n")
    return drawn


def expected_objects(drawn: MaskSet, part: str) -> list[tuple[int, int]]:
    """Return the class and the area of each region of the classes 1 and 2."""
    found = []
    for stem, one in drawn.parts.items():
        for label in (1, 2) if one == part else ():
            labelled, count = ndimage.label(drawn.masks[stem] == label, np.ones((3, 3)))
            found += [(label, int((labelled == k).sum())) for k in range(1, count + 1)]
    return sorted(found)


def test_coco_has_the_regions(tmp_path):
    drawn = drawn_set(tmp_path / "set", 0)
    assert main(["data", "convert", str(tmp_path / "set"), str(tmp_path / "out"), "--to", "coco"]) == 0
    for part in ("train", "val"):
        content = json.loads((tmp_path / f"out/{part}.json").read_text())
        assert [category["name"] for category in content["categories"]] == ["cell", "nucleus"]
        sums = [
            (item["category_id"], int(pycocotools_mask.area(item["segmentation"]))) for item in content["annotations"]
        ]
        assert sorted(sums) == expected_objects(drawn, part)
        assert [item["area"] for item in content["annotations"]] == [area for _, area in sums]
        for item in content["annotations"]:
            assert item["bbox"] == pycocotools_mask.toBbox(item["segmentation"]).tolist()


@pytest.mark.parametrize("form", ["coco", "labelme", "masks", "voc"])
def test_pixels_are_restored(tmp_path, form):
    has_void = form in ("labelme", "masks")
    drawn = drawn_set(tmp_path / "set", 1, has_void)
    conversion = convert(tmp_path / "set", tmp_path / "out", form)
    assert conversion.source == "masks"
    assert conversion.images == {"train": 4, "val": 2} or sum(conversion.images.values()) == 6
    if form in ("masks", "voc"):
        source = MaskFolder(tmp_path / "out", "train", ignored=255)
    else:
        source = ObjectMasks(load(str(tmp_path / "out")).train)
    assert source.classes == ("background", "cell", "nucleus")
    names = source.names if isinstance(source, MaskFolder) else source.source.names
    for k, name in enumerate(names):
        np.testing.assert_array_equal(source.example(k)[1].numpy(), drawn.masks[Path(name).stem])


def test_yolo_has_the_boxes(tmp_path):
    drawn = drawn_set(tmp_path / "set", 2)
    conversion = convert(tmp_path / "set", tmp_path / "out", "yolo")
    for part in ("train", "val"):
        assert conversion.objects[part] == len(expected_objects(drawn, part))
        lines = [line for file in (tmp_path / f"out/labels/{part}").iterdir() for line in file.read_text().splitlines()]
        assert sorted(int(line.split()[0]) + 1 for line in lines) == [k for k, _ in expected_objects(drawn, part)]


def test_every_class_of_masks_without_a_background_has_objects(tmp_path, capsys):
    """Neither 0 nor 255 is a background unless it is stated."""
    drawn = draw_set(3, classes=2, count=6)
    write_layout(tmp_path / "set", drawn, "no parts", lambda stem: drawn.masks[stem] * np.uint8(255))
    convert(tmp_path / "set", tmp_path / "coco", "coco")
    content = json.loads((tmp_path / "coco/annotations.json").read_text())
    assert [category["name"] for category in content["categories"]] == ["0", "255"]
    areas = {k: sum(item["area"] for item in content["annotations"] if item["category_id"] == k) for k in (1, 2)}
    assert areas[2] == sum(int(mask.sum()) for mask in drawn.masks.values())
    assert areas[1] == sum(int((mask == 0).sum()) for mask in drawn.masks.values())
    command = ["data", "convert", str(tmp_path / "set"), str(tmp_path / "cells"), "--to", "masks", "--background", "0"]
    assert main(command) == 0
    assert (tmp_path / "cells/classes.txt").read_text() == "0: background\n1: 255\n"
    with pytest.raises(PellucidError, match="has no class 'dog'; its classes are 0, 255"):
        convert(tmp_path / "set", tmp_path / "more", "coco", "dog")


@pytest.mark.parametrize("form", WRITERS)
def test_cvat_masks_become_every_format(tmp_path, form, capsys):
    drawn = draw_set(4, classes=3, void=True, count=6)
    write_voc(tmp_path / "set", drawn)
    assert main(["data", "convert", str(tmp_path / "set"), str(tmp_path / "out"), "--to", form]) == 0
    lost = "cannot represent the pixels without a class of 6 images"
    assert (lost in capsys.readouterr().err) == (form not in ("labelme", "masks"))


def test_written_masks_are_palette_images(tmp_path):
    drawn_set(tmp_path / "set", 5)
    convert(tmp_path / "set", tmp_path / "out", "masks")
    for file in (tmp_path / "out/masks/train").iterdir():
        with Image.open(file) as image:
            assert image.mode == "P"
            assert image.getpalette()[3:6] == [128, 0, 0]
