"""Limits on memory and time for annotations: files above them are refused, large valid files are read."""

import json
import os

import numpy as np
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder
from pellucid.data.annotations import base, formats, labelme, read_annotations, voc, yolo
from pellucid.data.annotations import coco as coco_format
from pellucid.data.annotations.lint import lint
from pellucid.data.tree import MIN_DOCUMENT_BYTES, ZipTree, open_tree
from pellucid.ops.masks import encode_rle
from tests.data.annotations.sets import annotation, coco, coco_set, voc_set, voc_xml
from tests.data.pictures import picture_bytes


def write_compressed_zip(write_tree, files: dict[str, bytes]):
    """Write a zip with compressed members."""
    import zipfile

    path = write_tree("set.zip", {})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "files",
    [
        {"train.json": coco([], []).replace(b'"annotations": []', b'"annotations": [' + b"{}," * 200_000 + b"{}]")},
        {"data.yaml": b"names: [cat]", "images/a.png": b"", "labels/a.txt": b"x\n" * 300_000},
        {"Annotations/a.xml": b"<annotation>" + b"<object/>" * 60_000 + b"</annotation>"},
    ],
    ids=["coco", "yolo", "voc"],
)
def test_annotations_with_a_too_high_compression_ratio_are_refused(write_tree, files):
    path = write_compressed_zip(write_tree, files | {"a.png": picture_bytes((0, 0, 0), (30, 20))})
    with pytest.raises(PellucidError, match=r"set.zip:.* above the limit of 50 times as many; unpack it into a folder"):
        DetectionFolder(path)


def test_annotations_with_a_typical_compression_ratio_are_read_from_a_zip(write_tree):
    lines = "".join(f"<object><name>c{k}</name></object>" for k in range(20_000)).encode()  # compressed about 20 times
    path = write_compressed_zip(write_tree, {"a.xml": b"<annotation>" + lines + b"</annotation>"})
    assert path.stat().st_size * 5 < len(lines)
    assert len(lines) > MIN_DOCUMENT_BYTES
    assert len(ZipTree(path).document("a.xml")) == len(lines) + 25


def test_errors_beyond_the_listed_number_are_counted(write_tree, monkeypatch):
    monkeypatch.setattr(base, "MAX_FAULTS", 3)
    path = write_tree("set", coco_set(*({} for _ in range(10)), annotation(bbox=[1, 1, 0, 0])))
    faults = lint(path).faults
    assert [(fault.count, fault.effect) for fault in faults if fault.effect == "refused"] == [(1, "refused")] * 3 + [
        (7, "refused")
    ]
    assert faults[-1].reason == "the first of 7 more faults that are not listed"
    with pytest.raises(PellucidError, match=r"has image_id None, which no image has \(and 9 more\)"):
        DetectionFolder(path)


def test_objects_beyond_the_limit_of_an_image_are_refused(write_tree, monkeypatch):
    for module in (labelme, coco_format, voc, yolo):
        monkeypatch.setattr(module, "MAX_OBJECTS", 2)
    boxes = [annotation(id=k) for k in range(3)]
    shape = {"label": "a", "points": [[1, 2], [5, 6]], "shape_type": "rectangle"}
    image = {"a.png": picture_bytes((0, 0, 0), (30, 20))}
    sets = {
        "coco": coco_set(*boxes),
        "voc": image | {"a.xml": voc_xml(*[("dog", 2, 4, 12, 14, 0)] * 3)},
        "yolo": image | {"classes.txt": b"cat", "a.txt": b"0 .5 .5 .1 .1\n" * 3},
        "labelme": image | {"a.json": json.dumps({"imagePath": "a.png", "shapes": [shape] * 3}).encode()},
    }
    for form, files in sets.items():
        with pytest.raises(PellucidError, match="has more than 2 objects"):
            DetectionFolder(write_tree(form, files))


def test_masks_are_decoded_at_the_size_of_the_image(write_tree):
    """A mask of 20x30 pixels at 10x15: nearest-neighbour sampling takes every second pixel."""
    rng = np.random.default_rng(0)
    masks = [rng.random((20, 30)) < 0.5 for _ in range(3)]
    items = [
        annotation(id=k, segmentation={"size": [20, 30], "counts": encode_rle(torch.from_numpy(mask))})
        for k, mask in enumerate(masks)
    ]
    path = write_tree("set", coco_set(*items))
    _, objects = DetectionFolder(path, size=15).example(0)
    assert np.array_equal(objects.masks.numpy(), [mask[1::2, 1::2] for mask in masks])


def test_masks_of_one_image_that_need_much_memory_are_refused(write_tree, monkeypatch):
    monkeypatch.setattr(base, "MAX_MASK_MEMORY", 2 * 600)
    items = [annotation(id=k, segmentation={"size": [20, 30], "counts": [600]}) for k in range(3)]
    path = write_tree("set", coco_set(*items))
    with pytest.raises(PellucidError, match=r"train.json has 3 masks of 30x20 pixels in .*a.png, above .* size"):
        DetectionFolder(path).example(0)
    assert DetectionFolder(path, size=15).example(0)[1].masks.shape == (3, 10, 15)


def test_outlines_above_the_length_limit_are_refused(write_tree, monkeypatch):
    zigzag = [value for k in range(40) for value in (30 * (k % 2), k / 2)]  # each side is 30 pixels long
    path = write_tree("set", coco_set(annotation(segmentation=[zigzag])))
    assert len(read(path).records) == 1
    monkeypatch.setattr(formats, "MAX_OUTLINE_PIXELS", 0)
    monkeypatch.setattr(formats, "MAX_OUTLINE_PIXELS_PER_IMAGE", 500)
    assert len(read(path).records) == 1, "the limit grows with the file"
    monkeypatch.setattr(formats, "MAX_OUTLINE_PIXELS_PER_BYTE", 0)
    with pytest.raises(PellucidError, match=r"outlines of the objects are 1200 pixels long, above the limit of 500"):
        read(path)


def read(path):
    with open_tree(path) as tree:
        return read_annotations(tree)


@pytest.mark.parametrize("form", ["list", "map"])
def test_many_classes_in_yaml_are_refused(write_tree, form):
    names = ", ".join(f"n{k}" if form == "list" else f"{k}: n{k}" for k in range(30_000))
    text = f"names: {'[' + names + ']' if form == 'list' else '{' + names + '}'}".encode()
    image = picture_bytes((0, 0, 0), (30, 20))
    path = write_tree("set", {"data.yaml": text, "images/a.png": image, "labels/a.txt": b"0 .5 .5 .1 .1"})
    with pytest.raises(PellucidError, match=r"data.yaml has .* characters, above the limit of 131072; list"):
        read(path)
    os.unlink(path / "data.yaml")
    (path / "classes.txt").write_text("\n".join(f"n{k}" for k in range(30_000)))
    assert len(read(path).classes) == 30_000


def test_class_named_twice_is_refused(write_tree):
    image = picture_bytes((0, 0, 0), (30, 20))
    path = write_tree("set", {"data.yaml": b"names: [a, a]", "images/a.png": image, "labels/a.txt": b"1 .5 .5 .1 .1"})
    with pytest.raises(PellucidError, match="class 'a' is named twice"):
        DetectionFolder(path)


def test_each_of_many_equal_boxes_is_listed_once(write_tree):
    path = write_tree("set", voc_set() | {"Annotations/a.xml": voc_xml(*[("dog", 2, 4, 12, 14, 0)] * 50)})
    assert sum("is equal to" in fault.reason for fault in lint(path).faults) == 49


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipes_are_refused(write_tree):
    path = write_tree("set", voc_set())
    for name in ("Annotations/a.xml", "JPEGImages/c.png"):
        (path / name).unlink()
        os.mkfifo(path / name)
        reasons = [f"{fault}" for fault in lint(path).faults if fault.effect == "refused"]
        assert any(name in reason and "is not a file; give a" in reason for reason in reasons)
    os.mkfifo(path / "pipe")
    with pytest.raises(PellucidError, match="pipe is not a folder or a file"):
        lint(path / "pipe")
    source = DetectionFolder(write_tree("other", voc_set()), "val")
    (source.tree.path / source.names[0]).unlink()
    os.mkfifo(source.tree.path / source.names[0])
    with pytest.raises(PellucidError, match=r"c.png is not a file"):
        source.checksum  # noqa: B018
