"""Groups of shapes and of categories: objects of a labelme group, regions without a class, super-categories."""

import json
import random

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder, load_objects
from pellucid.data.annotations import read_annotations
from pellucid.data.annotations.lint import lint
from pellucid.data.object_masks import ObjectMasks
from pellucid.data.tree import open_tree
from pellucid.tasks.segment.own import recipe_for
from tests.data.pictures import picture_bytes

HEIGHT, WIDTH = 20, 30


def shape(label, corners, group=None, kind="rectangle"):
    """Return a labelme shape between two corners (x0, y0, x1, y1), or a point."""
    x0, y0, x1, y1 = corners
    points = {
        "rectangle": [[x0, y0], [x1, y1]],
        "polygon": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]],
        "point": [[x0, y0]],
    }[kind]
    return {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}}


def labelme_set(*shapes, name="a"):
    content = {"imagePath": f"{name}.png", "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": list(shapes)}
    return {f"{name}.png": picture_bytes((9, 9, 9), (WIDTH, HEIGHT)), f"{name}.json": json.dumps(content).encode()}


def read(path, part="", classes=None):
    with open_tree(path) as tree:
        return read_annotations(tree, part, classes)


@pytest.mark.parametrize("seed", range(30))
def test_shapes_of_one_group_and_label_are_one_object(write_tree, seed):
    """As in labelme's own exports, whose instances are pairs of label and group_id."""
    rng = random.Random(seed)
    shapes = [
        shape(
            rng.choice("abc"),
            (rng.randrange(9), rng.randrange(9), rng.randrange(10, 20), rng.randrange(10, 20)),
            rng.choice([None, 0, 1, 2]),
            rng.choice(["rectangle", "polygon"]),
        )
        for _ in range(rng.randrange(1, 12))
    ]
    expected: dict[object, list] = {}
    for k, one in enumerate(shapes):
        group = one["group_id"]
        expected.setdefault((one["label"], f"alone {k}" if group is None else group), []).append(one)
    annotations = read(write_tree("set", labelme_set(*shapes)))
    instances = annotations.records[0].instances
    assert [annotations.classes[instance.label] for instance in instances] == [label for label, _ in expected]
    for instance, group in zip(instances, expected.values(), strict=True):
        polygons = [one for one in group if one["shape_type"] == "polygon"]
        assert len(instance.outline or ()) == len(polygons)


def test_points_belong_to_the_object_of_their_group(write_tree):
    shapes = [shape("nose", (5, 6, 0, 0), 1, "point"), shape("cat", (1, 1, 9, 9), 1), shape("dog", (11, 1, 19, 9), 2)]
    annotations = read(write_tree("set", labelme_set(*shapes)))
    assert [instance.points for instance in annotations.records[0].instances] == [(5, 6, 2), ()]
    shapes.append(shape("dog", (11, 11, 19, 19), 1))
    (fault,) = read(write_tree("several", labelme_set(*shapes))).faults
    assert (fault.effect, fault.reason) == (
        "refused",
        "group 1 has the labels 'cat', 'dog', so it is 2 objects; give each object with key-points a group_id of its "
        "own",
    )


def test_a_group_with_several_labels_is_listed_by_lint(write_tree):
    path = write_tree("set", labelme_set(shape("cat", (1, 1, 9, 9), 4), shape("dog", (2, 2, 8, 9), 4)))
    assert "group 4 has the labels 'cat', 'dog', so it is 2 objects" in [fault.reason for fault in lint(path).faults]


@pytest.mark.parametrize("kind", ["rectangle", "polygon"])
def test_regions_to_ignore_are_no_objects_and_have_no_class(write_tree, capsys, kind):
    files = labelme_set(shape("cat", (0, 0, 10, 20), None, "polygon"), shape("__ignore__", (8, 4, 16, 9), None, kind))
    path = write_tree("set", files)
    source = DetectionFolder(path)
    assert source.classes == ("cat",)
    assert len(source.example(0)[1]) == 1
    assert "1 object left out" in capsys.readouterr().err
    expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
    expected[:, :10] = 1
    expected[4:9, 8:16] = 255
    assert torch.equal(ObjectMasks(source).example(0)[1], expected)
    assert torch.equal(ObjectMasks(source, 7).example(0)[1], torch.where(expected == 255, 7, expected))
    resized = ObjectMasks(DetectionFolder(path, size=(HEIGHT // 2, WIDTH // 2))).example(0)[1]
    assert torch.equal(resized, expected[1::2, 1::2])


def test_pixels_to_ignore_have_the_ignored_class_of_the_recipe(write_tree):
    files = {}
    for k in range(6):
        cat, ignored = shape("cat", (0, 0, 10, 20), None, "polygon"), shape("__ignore__", (8, 4, 16, 9))
        files |= labelme_set(cat, ignored, name=str(k))
    settings = recipe_for(str(write_tree("set", files))).settings
    assert (settings["network.classes"], settings["loss.ignore"]) == (2, 255)


@pytest.mark.real
def test_masks_equal_labelmes_own_export(real_data):
    """labelme fills polygons with Pillow, which draws their outlines too, so pixels at the border may differ."""
    folder = real_data("wild/labelme/semantic")
    classes = (folder / "data_dataset_voc/class_names.txt").read_text().splitlines()
    source = ObjectMasks(DetectionFolder(folder / "data_annotated"))
    for k, name in enumerate(source.source.names):
        exported = np.asarray(Image.open(folder / "data_dataset_voc/SegmentationClass" / name.replace(".jpg", ".png")))
        mask = source.example(k)[1].numpy()
        named = np.array([classes.index(name if name != "background" else "_background_") for name in source.classes])
        mapped = np.where(mask == 255, 255, named[np.where(mask == 255, 0, mask)])
        assert (mapped == exported).mean() > 0.98
        assert ((mapped == 255) == (exported == 255)).mean() > 0.98


def coco_set(categories, used, part="train"):
    """Return the files of one part; used: the category id of each object."""
    items = [{"id": k, "image_id": 1, "category_id": key, "bbox": [1, 1, 5, 5]} for k, key in enumerate(used)]
    images = [{"id": 1, "file_name": f"{part}.png"}]
    content = {"images": images, "annotations": items, "categories": categories}
    return {f"{part}/{part}.png": picture_bytes((1, 1, 1), (20, 20)), f"{part}/a.json": json.dumps(content).encode()}


def category(key, name, parent):
    return {"id": key, "name": name, "supercategory": parent}


ROBOFLOW = [category(0, "objects", "none"), category(1, "cat", "objects"), category(2, "dog", "objects")]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("name", ["objects", "cells-Zf3k", "animal"])
def test_a_super_category_without_objects_is_no_class(write_tree, capsys, name, order):
    categories = [{**ROBOFLOW[k], **({"name": name} if k == 0 else {"supercategory": name})} for k in order]
    path = write_tree("set", coco_set(categories, [1, 2, 1]) | coco_set(categories, [1], "valid"))
    splits = load_objects(path)
    assert splits.train.classes == splits.test.classes == ("cat", "dog")
    assert splits.train.example(0)[1].labels.tolist() == [0, 1, 0]
    assert capsys.readouterr().err == ""
    assert read(path, "valid", ("dog", name, "cat")).faults == (), "a model may have the class"


def test_a_super_category_with_objects_is_a_class(write_tree):
    path = write_tree("set", coco_set(ROBOFLOW, [0, 1, 2]) | coco_set(ROBOFLOW, [1], "valid"))
    assert load_objects(path).test.classes == ("objects", "cat", "dog")
    other = write_tree("other", coco_set(ROBOFLOW, [1, 2]) | coco_set(ROBOFLOW, [0], "valid"))
    with pytest.raises(PellucidError, match="'objects' is not among cat, dog"):
        load_objects(other)


def test_classes_without_objects_are_named(write_tree, capsys):
    categories = [category(1, "person", "person"), category(2, "cat", "animal"), category(3, "dog", "animal")]
    path = write_tree("set", coco_set(categories, [1, 3]) | coco_set(categories, [1], "valid"))
    assert load_objects(path).train.classes == ("person", "cat", "dog")
    assert capsys.readouterr().err == f"pellucid: {path}: no object is of the class 'cat'\n"
    load_objects(path := write_tree("none", coco_set(categories, []) | coco_set(categories, [1], "valid")))
    assert capsys.readouterr().err == f"pellucid: {path}: no image has objects (1 image)\n"
