"""`data lint` finds each kind of data that would be misread, and nothing in data that are read rightly."""

import json

import numpy as np
import pytest

from pellucid.base.text import note_first_time, note_once
from pellucid.cli.main import main
from pellucid.data.annotations.lint import lint
from tests.data.annotations.sets import voc_xml
from tests.data.pictures import grey_bytes

IMAGE = grey_bytes(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
OTHER = grey_bytes(np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8))
PIXELS = np.indices((20, 30)).sum(0)
XML = voc_xml(("cat", 2, 4, 12, 14, 0))
YOLO = {"data.yaml": b"names: [cat]", "images/a.png": IMAGE, "labels/a.txt": b"0 0.5 0.5 0.2 0.4\n"}
CLASSES = {f"{label}/{k}.png": [IMAGE, OTHER][k] for label in ("cat", "dog") for k in range(2)}
MASKS = {"train/a.png": IMAGE, "trainannot/a.png": grey_bytes(PIXELS % 2), "classes.txt": b"sky\nbird\n"}


def labelme(*shapes):
    content = {"imagePath": "a.png", "imageHeight": 20, "imageWidth": 30, "shapes": shapes}
    return {"a.png": IMAGE, "a.json": json.dumps(content).encode()}


def shape(label, group=None, kind="rectangle"):
    return {"label": label, "group_id": group, "shape_type": kind, "points": [[2, 4], [12, 14]]}


def coco(categories):
    images = [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}]
    items = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 4, 9, 9]}]
    return {
        "a.png": IMAGE,
        "a.json": json.dumps({"images": images, "annotations": items, "categories": categories}).encode(),
    }


CORNERS = b"".join(b"0 %.2f %.2f %.2f %.2f\n" % (0.1 * k, 0.1, 0.1 * k + 0.1, 0.3) for k in range(9))
# The files of each data set, and the effect and words of its fault.
FOUND = {
    "Latin-1": (YOLO | {"data.yaml": "names: [Bär]".encode("latin-1")}, "listed", "is read as Windows-1252"),
    "UTF-16 without a mark": (YOLO | {"labels/a.txt": "0 .5 .5 .1 .1".encode("utf-16-le")}, "refused", "is NUL"),
    "an unknown part": (
        {f"{part}/{name}": data for part in ("train", "test", "dev") for name, data in CLASSES.items()},
        "listed", "'train' for training and 'test' for testing; not used: 'dev'",
    ),
    "an unused part": (
        {f"{part}/a.{end}": data for part in ("train", "val", "test") for end, data in (("png", IMAGE), ("xml", XML))},
        "listed", "'train' for training and 'test' for testing; not used: 'val'",
    ),
    "a part for testing only": (
        {f"Testing/{name}": data for name, data in CLASSES.items()}, "listed", "no part to train on",
    ),
    "masks without images": (MASKS | {"val/a.png": OTHER}, "listed", "not used: 'val'"),
    "a class without pixels": (MASKS | {"classes.txt": b"sky\nbird\ntree\n"}, "listed", "no pixel has 'tree'"),
    "masks of 0 and 255": (
        MASKS | {"trainannot/a.png": grey_bytes(PIXELS % 2 * 255)}, "listed", "255 is read as the class 'bird'",
    ),
    "one class": (MASKS | {"trainannot/a.png": grey_bytes(PIXELS * 0)}, "refused", "the masks have one class only"),
    "all void": (MASKS | {"trainannot/a.png": grey_bytes(PIXELS * 0 + 255)}, "refused", "no pixel of the masks has a"),
    "gaps": (MASKS | {"trainannot/a.png": grey_bytes(PIXELS % 3 * 38)}, "refused", "there are 2 classes, counted"),
    "JPEG masks": (
        {"train/a.png": IMAGE, "trainannot/a.jpg": grey_bytes(PIXELS % 2, "JPEG")}, "refused",
        "is a JPEG, whose compression changes the values of a mask",
    ),
    "key-points": (YOLO | {"labels/a.txt": b"0 .5 .5 .4 .4 .5 .5 2 .6 .6 1\n"}, "refused", "state kpt_shape: [K, 3]"),
    "a confidence": (YOLO | {"labels/a.txt": b"0 .5 .5 .4 .4 .93\n"}, "refused", "remove the confidence"),
    "boxes and polygons": (
        YOLO | {"labels/a.txt": b"0 .5 .5 .4 .4\n0 .1 .1 .2 .1 .2 .2\n"}, "listed", "1 object has an outline and",
    ),
    "corners": (YOLO | {"labels/a.txt": CORNERS}, "refused", "corners in place of centre and size?"),
    "a group": (labelme(shape("cat", 1), shape("dog", 1)), "listed", "group 1 has the labels 'cat', 'dog'"),
    "regions to ignore": (labelme(shape("cat"), shape("__ignore__")), "dropped", "'__ignore__' marks pixels without a"),
    "a class without objects": (
        coco([{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]), "listed", "no object is of the class 'dog'",
    ),
    "12 bits": (
        {f"{k % 2}/{k}.png": grey_bytes((PIXELS * 80).astype(np.uint16)) for k in range(4)}, "refused", "have 12 bits",
    ),
    "floats": (CLASSES | {"cat/a.tif": grey_bytes((PIXELS * 1.0).astype(np.float32), "TIFF")}, "refused", "has floats"),
    "other files in class folders": (CLASSES | {"cat/a.mp4": b"x"}, "listed", "1 file in class folders without the"),
    "annotations of no format": (
        {"a.png": IMAGE, "b.png": OTHER, "_annotations.csv": b"x,y\n1,2\n", "a.mat": b"x", "b.mat": b"x"},
        "listed", "no annotations are recognized; other files: 2 .mat, 1 .csv, such as _annotations.csv",
    ),
    "a folder of masks": (
        {"image/a.png": IMAGE, "label/b.png": OTHER}, "listed", "the class folder 'label' has a usual name of a folder",
    ),
    "masks beside images": (
        {"a.png": IMAGE, "b.jpg": IMAGE, "a_mask.png": OTHER, "b-mask.png": IMAGE, "c_mask.png": OTHER},
        "refused", "c_mask.png has no image",
    ),
    "annotations of two formats": (
        labelme(shape("cat")) | {"a.xml": XML}, "listed", "is an annotation of labelme, which is not read, since there",
    ),
    "a damaged image": (CLASSES | {"dog/0.png": IMAGE[:100]}, "refused", "is damaged or cannot be decoded"),
    "a missing image": ({"a.png": IMAGE, "a.xml": XML, "b.xml": XML}, "refused", "image of 'b' is not below"),
}  # fmt: skip


@pytest.mark.parametrize("name", ["set", "set.zip"])
@pytest.mark.parametrize("kind", FOUND)
def test_lint_finds(write_tree, capsys, kind, name):
    files, effect, words = FOUND[kind]
    path = write_tree(name, files)
    faults = lint(path).faults
    assert [fault.effect for fault in faults if words in fault.reason] == [effect]
    assert capsys.readouterr().err == "", "what readers note is listed instead"
    assert main(["data", "lint", str(path)]) == (2 if "refused" in {fault.effect for fault in faults} else 0)
    lines = capsys.readouterr().out.splitlines()
    assert sum(words in line for line in lines) == 1
    for line in lines:
        file, _, reason = line.partition(": ")
        assert not reason.startswith(file), "the name of the file is not repeated"


VALID = {
    "classes": CLASSES | {"README.md": b"x", "LICENSE": b"x"},
    "parts": {f"{part}/{name}": data for part in ("Train", "Testing") for name, data in CLASSES.items()},
    "masks": MASKS,
    "stated masks": MASKS | {"trainannot/a.png": grey_bytes(PIXELS % 2 * 255), "classes.txt": b"0: sky\n255: bird\n"},
    "yolo": YOLO | {"data.yaml": "names: [Bär]".encode("utf-16")},
    "labelme": labelme(shape("cat", 1), shape("cat", 1, "polygon") | {"points": [[2, 4], [12, 4], [12, 14], [2, 14]]}),
    "roboflow": coco([{"id": 0, "name": "x", "supercategory": "none"}, {"id": 1, "name": "cat", "supercategory": "x"}]),
    "voc": {"JPEGImages/a.png": IMAGE, "Visualization/a.txt": b"x", "Annotations/a.xml": XML},
}


@pytest.mark.parametrize("kind", VALID)
def test_lint_finds_nothing_in_valid_data(write_tree, kind):
    faults = [fault for fault in lint(write_tree("set", VALID[kind])).faults if "the same file as" not in fault.reason]
    assert faults == []


def test_notes_are_collected_even_if_they_were_written_before(write_tree, capsys):
    note_first_time.cache_clear()
    files, _, words = FOUND["Latin-1"]
    path = write_tree("set", files)
    note_once(f"{path / 'data.yaml'} is not UTF-8")
    assert "is not UTF-8" in capsys.readouterr().err
    for _ in range(2):
        assert any(words in fault.reason for fault in lint(path).faults)
