"""Pascal VOC files: their contents are read, and faults are listed with their lines."""

from collections import Counter
from xml.etree import ElementTree

import pytest

from pellucid.data.annotations import read_annotations
from pellucid.data.tree import open_tree
from tests.data.annotations.sets import voc_set, voc_xml


def read(path, part="train", classes=None):
    with open_tree(path) as tree:
        return read_annotations(tree, part, classes)


@pytest.mark.parametrize("name", ["set", "set.zip"])
def test_boxes_classes_and_difficult_objects_are_read(write_tree, name):
    loaded = read(write_tree(name, voc_set()))
    assert loaded.classes == ("cat", "dog")
    assert [record.image for record in loaded.records] == ["JPEGImages/a.png", "JPEGImages/b.png"]
    first, second = loaded.records[0].instances
    assert (first.box, loaded.classes[first.label], first.crowd) == ((2, 4, 12, 14), "dog", False)
    assert (second.box, loaded.classes[second.label], second.crowd) == ((20, 10, 30, 20), "cat", True)
    assert loaded.records[1].instances == ()
    assert not loaded.faults


def test_a_validation_split_has_the_classes_of_the_training_split(write_tree):
    loaded = read(write_tree("set", voc_set()), "val")
    assert loaded.classes == ("cat", "dog")
    assert loaded.records[0].instances[0].box == (0, 0, 30, 20)  # at most half a pixel outside the image is rounding


def test_pixels_are_counted_from_one_in_files_of_the_voc_challenges(write_tree):
    original = "<source><annotation>PASCAL VOC2007</annotation></source>"
    files = voc_set() | {"Annotations/a.xml": voc_xml(("dog", 1, 1, 30, 20, 0), extra=original)}
    assert read(write_tree("set", files)).records[0].instances[0].box == (0, 0, 30, 20)


def test_without_image_lists_the_folders_are_the_splits(write_tree):
    files = voc_set()
    moved = {f"{part}/{name}{end}": files[f"{folder}/{name}{end}"]
             for part, name in (("train", "a"), ("test", "c"))
             for folder, end in (("JPEGImages", ".png"), ("Annotations", ".xml"))}  # fmt: skip
    assert [record.image for record in read(write_tree("set", moved), "test").records] == ["test/c.png"]


@pytest.mark.parametrize(
    ("box", "line", "effect", "message"),
    [
        ((5, 5, 5, 5), 4, "dropped", "box (5, 5, 5, 5) has no area"),
        ((9, 5, 4, 8), 4, "dropped", "corners in the wrong order"),
        ((40, 5, 50, 8), 4, "dropped", "outside the image of 30x20"),
        ((20, 5, 50, 8), 4, "changed", "extends beyond the image of 30x20"),
        (("nan", 5, 50, 8), 3, "refused", "<bndbox> does not contain the numbers"),
        (("", 5, 50, 8), 3, "refused", "<bndbox> does not contain the numbers"),
    ],
)
def test_invalid_boxes_are_reported_with_their_line(write_tree, box, line, effect, message):
    loaded = read(
        write_tree("set", voc_set() | {"Annotations/a.xml": voc_xml(("dog", *box, 0), ("cat", 1, 2, 3, 4, 0))})
    )
    (fault,) = loaded.faults
    assert (fault.line, fault.effect) == (line, effect)
    assert message in fault.reason
    assert fault.file.endswith("Annotations/a.xml")
    assert [instance.box for instance in loaded.records[0].instances][-1] == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"", 1, "is not XML"),
        (b"<annotation>\n<object>", 2, "is not XML"),
        (b"<html></html>", 1, "begins with <html>"),
        (b'<!DOCTYPE a [\n<!ENTITY x "y">]><annotation/>', 2, "declares an entity"),
        (b"\n" + b"<a>" * 99, 2, "nested"),
        (b"<?xml version='1.0' encoding='nonsense'?><annotation/>", 1, "is not XML"),
        (voc_xml(("bird", 1, 2, 3, 4, 0)), 3, "class 'bird' is not among cat, dog"),
        (b"<annotation><object/></annotation>", 1, "no <name>"),
    ],
)
def test_damaged_files_are_refused_with_their_line(write_tree, data, line, message):
    loaded = read(write_tree("set", voc_set() | {"Annotations/a.xml": data}), classes=("cat", "dog"))
    (fault,) = loaded.faults
    assert (fault.line, fault.effect) == (line, "refused")
    assert message in fault.reason


def test_missing_files_of_image_lists_are_reported(write_tree):
    files = voc_set() | {"ImageSets/Main/train.txt": b"a\nnone\nb\n"}
    del files["JPEGImages/b.png"]
    loaded = read(write_tree("set", files))
    assert [(fault.file.rpartition("/")[2], fault.effect) for fault in loaded.faults] == [
        ("none.xml", "refused"), ("b.xml", "refused")
    ]  # fmt: skip


@pytest.mark.real
def test_bccd_is_read(real_data):
    counts = {"train": Counter(), "val": Counter()}
    for part, expected in counts.items():
        for stem in (real_data("bccd") / f"ImageSets/Main/{part}.txt").read_text().split():
            expected.update(
                e.text for e in ElementTree.parse(real_data("bccd") / f"Annotations/{stem}.xml").iter("name")
            )
        loaded = read(real_data("bccd"), part, ("RBC", "WBC", "Platelets"))
        assert len(loaded.faults) == 1  # a box without area
        assert ("00343.xml:56" if part == "train" else "00338.xml:164") in str(loaded.faults[0])
        labels = Counter(loaded.classes[instance.label] for record in loaded.records for instance in record.instances)
        assert labels + Counter(RBC=1) == expected
