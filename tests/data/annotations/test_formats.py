"""Annotation formats: files are written and read back, and files that labelme and YOLO tools wrote are read."""

import json
import math
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.cli.data import convert_parser
from pellucid.data import DetectionFolder
from pellucid.data.annotations import FORMATS, read_annotations, yolo
from pellucid.data.annotations.convert import WRITERS, convert
from pellucid.data.format_names import TITLES, WRITTEN_FORMATS
from pellucid.data.tree import open_tree
from pellucid.ops.masks import encode_rle
from tests.data.annotations.sets import IMAGE, annotation, coco, coco_set, voc_set
from tests.data.pictures import picture_bytes

WRITTEN = [name for name in FORMATS if name in WRITERS]
LOST = {  # (format, kind of the objects) -> the number of objects of which a part cannot be written
    ("voc", "masks"): {"masks": 10},
    ("voc", "keypoints"): {"keypoints": 10},
    ("yolo", "masks"): {"box": 10},  # YOLO computes boxes from the polygons
}
BIRDS = [{"id": 4, "name": 'a "b" & c'}, {"id": 9, "name": "b: x"}]


def read(path, part="train"):
    with open_tree(path) as tree:
        return read_annotations(tree, part)


def random_coco_set(**kinds: bool) -> dict[str, bytes]:
    """Return COCO files of two splits with random boxes, and masks or key-points; each has an image without objects."""
    rng = np.random.default_rng(0)
    categories = [{**bird, "keypoints": ["nose", "tail"]} if kinds.get("keypoints") else bird for bird in BIRDS]
    files = {}
    for part, image in (("train", "a"), ("val", "b")):
        items = []
        for k in range(5):
            x, y, w, h = rng.uniform(1, 9, 4).round(2).tolist()
            item = annotation(id=k, bbox=[x, y, w, h], category_id=BIRDS[k % 2]["id"])
            if kinds.get("masks"):
                mask = np.zeros((20, 30), bool)
                mask[2:9, 3:15] = rng.random((7, 12)) < 0.7
                item["segmentation"] = {"size": [20, 30], "counts": encode_rle(torch.from_numpy(mask))}
            if kinds.get("keypoints"):
                item["keypoints"] = [x, y, 2, x + 1, y + 1, k % 3]
            items.append(item)
        images = [IMAGE | {"file_name": f"{image}.png"}, IMAGE | {"id": 3, "file_name": f"{image}0.png"}]
        files[f"{part}.json"] = coco(images, items, categories)
        files |= {f"{part}/{entry['file_name']}": picture_bytes((k, 0, 0), (30, 20)) for k, entry in enumerate(images)}
    return files


def check_equal_objects(first, second, boxes=True, others=True):
    """Compare classes, boxes, masks and key-points of the objects of two data sets, image by image."""
    assert first.classes == second.classes
    order = {name.rpartition("/")[2]: k for k, name in enumerate(second.names)}
    assert set(order) == {name.rpartition("/")[2] for name in first.names}
    for k, name in enumerate(first.names):
        _, a = first.example(k)
        _, b = second.example(order[name.rpartition("/")[2]])
        assert torch.equal(a.labels, b.labels)
        if boxes:
            assert torch.allclose(a.boxes, b.boxes, atol=1e-4, rtol=0)
        for one, other in ((a.masks, b.masks), (a.keypoints, b.keypoints)) if others else ():
            assert (one is None) == (other is None)
            if one is not None:
                assert torch.allclose(one.float(), other.float(), atol=1e-4)


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("kinds", [{}, {"masks": True}, {"keypoints": True}], ids=["boxes", "masks", "keypoints"])
def test_annotations_are_restored_from_every_format(write_tree, tmp_path, form, kinds):
    path = write_tree("set", random_coco_set(**kinds))
    conversion = convert(path, tmp_path / "out", form)
    assert (conversion.source, conversion.images, conversion.objects) == (
        "coco",
        {"train": 2, "val": 2},
        {"train": 5, "val": 5},
    )
    assert conversion.lost == LOST.get((form, *kinds), {}), f"say in LOST what {form} cannot hold, beside its source"
    for part in ("train", "val"):
        first, second = DetectionFolder(path, part), DetectionFolder(tmp_path / "out", part)
        check_equal_objects(
            first, second, "box" not in LOST.get((form, *kinds), {}), not {*kinds} & LOST.get((form, *kinds), {}).keys()
        )


def test_only_the_module_of_a_format_contains_its_name():
    """No other code can branch on the name of a format, which its title has too; the help lists all names."""
    package, literal = Path(pellucid.__file__).parent, re.compile(f"""["']({"|".join(FORMATS)})["']""")
    files = {file.relative_to(package).as_posix(): file.read_text(encoding="utf-8") for file in package.rglob("*.py")}
    result = {name: literal.findall(text) for name, text in files.items() if literal.search(text)}
    titles = result.pop("data/format_names.py")
    assert set(titles) == set(TITLES) == set(FORMATS)
    assert result == {f"data/annotations/{name}.py": [FORMATS[name].name] for name in FORMATS}
    assert f"{', '.join(WRITTEN_FORMATS[:-1])} or {WRITTEN_FORMATS[-1]}" in convert_parser().format_help()
    assert sorted(WRITERS) == sorted(WRITTEN_FORMATS), "change WRITTEN_FORMATS of pellucid/data/format_names.py"


@pytest.mark.parametrize("page", ["features.md", "how-to/detect.md", "how-to/your-pictures.md"])
def test_pages_about_all_formats_name_each(page):
    text = (Path(__file__).resolve().parents[3] / "docs" / page).read_text(encoding="utf-8")
    assert [title for title in TITLES.values() if title not in text] == [], f"name these formats in docs/{page}"


@pytest.mark.parametrize("form", WRITTEN)
def test_crowds_are_restored_or_counted_as_lost(write_tree, tmp_path, form):
    conversion = convert(write_tree("set", voc_set()), tmp_path / "out", form)
    if form == "yolo":
        assert conversion.lost == {"crowd": 1}
    else:
        assert [instance.crowd for instance in read(tmp_path / "out").records[0].instances] == [False, True]


def test_coco_keeps_its_ids(write_tree, tmp_path):
    convert(write_tree("set", coco_set(annotation())), tmp_path / "out", "coco")
    content = json.loads((tmp_path / "out/train.json").read_text())
    assert [image["id"] for image in content["images"]] == [11]
    assert [(category["id"], category["name"]) for category in content["categories"]] == [(3, "cat"), (7, "dog")]
    assert content["annotations"][0] == annotation() | {"bbox": [2, 4, 10, 10], "area": 100}


def test_files_are_not_overwritten_by_a_conversion(write_tree, tmp_path):
    path = write_tree("set", voc_set())
    with pytest.raises(PellucidError, match="is not an empty folder; give a new folder"):
        convert(path, path, "coco")
    with pytest.raises(PellucidError, match="no format 'coc'; did you mean 'coco'"):
        convert(path, tmp_path / "out", "coc")


def test_images_with_equal_names_are_refused(write_tree, tmp_path):
    files = {f"{part}/a.{kind}": data for part in ("train", "val") for kind, data in
             (("png", picture_bytes((0, 0, 0), (30, 20))), ("xml", voc_set()["Annotations/a.xml"]))}  # fmt: skip
    with pytest.raises(PellucidError, match=r"train/a.png and val/a.png would have the same name in voc"):
        convert(write_tree("set", files), tmp_path / "out", "voc")
    convert(write_tree("set", {}), tmp_path / "other", "yolo")


def test_images_of_another_size_are_refused(write_tree, tmp_path):
    files = voc_set() | {"JPEGImages/a.png": picture_bytes((0, 0, 0), (20, 30))}
    with pytest.raises(PellucidError, match=r"a\.png: the image is 20 pixels wide .* EXIF orientation"):
        convert(write_tree("set", files), tmp_path / "out", "yolo")
    assert not (tmp_path / "out").exists()


YOLO_FILES = {
    "data.yaml": b"train: images/train\nnc: 2\nnames: [cat, 'big dog']\n",
    "images/train/a.png": picture_bytes((0, 0, 0), (30, 20)),
    "images/train/b.png": picture_bytes((0, 0, 0), (30, 20)),
    "labels/train/a.txt": b"1 0.5 0.5 0.2 0.4\n0 0.1 0.1 0.3 0.1 0.3 0.5\n\n",
}


def test_yolo_labels_are_read(write_tree):
    loaded = read(write_tree("set", YOLO_FILES))
    assert loaded.classes == ("cat", "big dog")
    first, second = loaded.records[0].instances
    assert (first.label, first.line) == (1, 1)
    assert first.box == pytest.approx((12, 6, 18, 14))
    assert second.box == pytest.approx((3, 2, 9, 10))
    assert second.outline == (pytest.approx((3, 2, 9, 2, 9, 10)),)
    assert loaded.records[1].instances == ()


@pytest.mark.parametrize(
    "names",
    [
        {"data.yaml": b"names:\n  0: cat\n  1: big dog\n"},
        {"data.yaml": b'names:\n- cat\n- "big dog"\nnc: 2\n'},
        {"data.yaml": b"names: {0: cat, 1: 'big dog'}\n"},
        {"data.yaml": b"names: # of the classes\n  1: big dog # second\n  0: cat\n"},
        {"data.yaml": b"names: [cat,\n  'big dog']  # both\n"},
        {"classes.txt": b"cat\nbig dog\n"},
    ],
)
def test_class_names_of_yolo_are_read(write_tree, names):
    assert read(write_tree("set", {k: v for k, v in YOLO_FILES.items() if k != "data.yaml"} | names)).classes == (
        "cat",
        "big dog",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"names: [cat", "data.yaml is not YAML"),
        (b"names: 2\n", "names must be a list"),
        (b"names: {0: cat, 2: dog}\n", "names must be a list"),
    ],
)
def test_wrong_yolo_names_are_refused(write_tree, text, message):
    with pytest.raises(PellucidError, match=message):
        read(write_tree("set", YOLO_FILES | {"data.yaml": text}))


@pytest.mark.parametrize("shape", ["13", "{a: 1, b: 2}", "[2, 4]", "[x, 3]", "[3]", "[-1, 3]", "[2, 3, 1]", "17 3"])
def test_invalid_shapes_of_key_points_are_refused(shape):
    with pytest.raises(PellucidError, match=r"data.yaml: kpt_shape is .*; give \[K, 3\] for K key-points"):
        yolo._parse_settings(f"names: [cat]\nkpt_shape: {shape}\n", "data.yaml")


def test_class_names_with_yaml_syntax_are_written_and_read(write_tree, tmp_path):
    names = ("a: b", "# c", "yes", "'d\"", "😀", "e\nf", "7")
    result = replace(read(write_tree("set", YOLO_FILES)), classes=names)
    yolo.write({"train": result}, tmp_path / "out")
    assert yolo._parse_settings((tmp_path / "out/data.yaml").read_text(), "data.yaml")[0] == names


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"2 0.5 0.5 0.1 0.1", "class '2' is not an integer from 0 to 1"),
        (b"x 0.5 0.5 0.1 0.1", "class 'x' is not an integer"),
        (b"0 0.5 nan 0.1 0.1", "'0 0.5 nan 0.1 0.1' are not finite numbers"),
        (b"0 .5,.5,.1,.1", "'0 .5,.5,.1,.1' are not finite numbers"),
        (b"0 15 10 6 4", "coordinate 15 is not a fraction of the image's width or height"),
        (b"0 0.5 0.5 0.1", "4 numbers are neither a class with a box nor"),
        (b"0 0.1 0.1 0.3 0.1 0.3 9.5", "polygon has the number 9.5, which is not from 0 to 1"),
    ],
)
def test_damaged_yolo_lines_are_refused(write_tree, line, message):
    loaded = read(write_tree("set", YOLO_FILES | {"labels/train/a.txt": b"0 0.5 0.5 0.1 0.1\n" + line}))
    (fault,) = loaded.faults
    assert (fault.line, fault.effect) == (2, "refused")
    assert message in fault.reason
    assert len(loaded.records[0].instances) == 1


def labelme_shape(kind="rectangle", points=((2, 4), (12, 14)), **changes):
    return {"label": "dog", "points": points, "group_id": None, "shape_type": kind, "flags": {}} | changes


def labelme_files(*shapes, **changes):
    content = {"shapes": shapes, "imagePath": "..\\a.png", "imageData": None, "imageHeight": 20, "imageWidth": 30}
    return {"a.json": json.dumps(content | changes).encode(), "a.png": picture_bytes((0, 0, 0), (30, 20))}


def test_labelme_shapes_of_a_group_are_one_object(write_tree):
    files = labelme_files(
        labelme_shape("polygon", [[1, 1], [5, 1], [5, 5]], group_id=1),
        labelme_shape("polygon", [[10, 1], [15, 1], [15, 9]], group_id=1),
        labelme_shape("rectangle", [[12, 14], [2, 4]], flags={"crowd": True}),
        labelme_shape("point", [[3, 2]], group_id=1, label="nose", flags={"hidden": True}),
    )
    loaded = read(write_tree("set", files), "")
    first, second = loaded.records[0].instances
    assert (loaded.keypoints, first.points, first.crowd) == (("nose",), (3, 2, 1), False)
    assert first.box == (1, 1, 15, 9)
    assert len(first.outline) == 2
    assert (second.box, second.outline, second.points, second.crowd) == ((2, 4, 12, 14), None, (), True)


@pytest.mark.parametrize("seed", range(8))
def test_a_labelme_circle_has_the_box_around_it_and_its_area(write_tree, seed):
    rng = random.Random(seed)
    x, y, radius, angle = rng.uniform(4, 9), rng.uniform(4, 9), rng.uniform(1, 4), rng.uniform(0, 7)
    edge = [x + radius * math.cos(angle), y + radius * math.sin(angle)]
    loaded = read(write_tree("set", labelme_files(labelme_shape("circle", [[x, y], edge]))), "")
    (instance,) = loaded.records[0].instances
    assert instance.box == pytest.approx((x - radius, y - radius, x + radius, y + radius))
    xs, ys = instance.outline[0][::2], instance.outline[0][1::2]
    area = sum(xs[k - 1] * ys[k] - xs[k] * ys[k - 1] for k in range(len(xs))) / 2
    assert area == pytest.approx(math.pi * radius**2, rel=0.01)


@pytest.mark.parametrize(
    ("shapes", "effect", "message"),
    [
        ([labelme_shape("linestrip")], "dropped", "'linestrip' is not a rectangle, polygon, circle or point"),
        ([labelme_shape("circle", [[5, 5]])], "refused", "circle needs its centre and a point of its edge"),
        ([labelme_shape("circle", [[5, 5], [6, 5], [7, 5]])], "refused", "circle needs its centre and a point"),
        ([labelme_shape("circle", [[5, 5], [500, 5]])], "refused", "points far outside the image"),
        ([labelme_shape("point", [[1, 2]])], "refused", "point belongs to no rectangle or polygon"),
        ([labelme_shape(points=[[1, None], [2, 3]])], "refused", "needs a label, a shape_type and points"),
        ([labelme_shape(label=3)], "refused", "needs a label"),
        ([labelme_shape("polygon", [[1, 2], [2, 3]])], "refused", "three points or more"),
        (["x"], "refused", "needs a label"),
    ],
)
def test_damaged_labelme_shapes_are_refused(write_tree, shapes, effect, message):
    loaded = read(write_tree("set", labelme_files(labelme_shape(), *shapes)), "")
    (fault,) = loaded.faults
    assert fault.effect == effect
    assert message in fault.reason
    assert ", shape 1" in fault.file
    assert len(loaded.records[0].instances) == 1


@pytest.mark.parametrize("changes", [{"shapes": 3}, {"imagePath": 3}, {"imagePath": "b.png"}])
def test_damaged_labelme_files_are_refused(write_tree, changes):
    (fault,) = read(write_tree("set", labelme_files(labelme_shape(), **changes)), "").faults
    assert fault.effect == "refused"
