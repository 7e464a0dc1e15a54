"""Conversion of annotations: all files or none are written, and what the new format cannot store is reported."""

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.data.annotations import Annotations, coco
from pellucid.data.annotations import convert as module
from pellucid.data.annotations.convert import convert
from pellucid.data.annotations.lint import lint
from tests.data.annotations.sets import annotation, coco_set, voc_set
from tests.data.annotations.test_formats import read
from tests.data.pictures import picture_bytes


def coco_set_with_classes(*names: str) -> dict[str, bytes]:
    """Return a COCO data set with one object of each class."""
    categories = [{"id": k, "name": name} for k, name in enumerate(names)]
    return coco_set(*(annotation(id=k, category_id=k) for k in range(len(names))), categories=categories)


@pytest.mark.parametrize(
    "name", ["a\x01", "\x1b[2J", "a\x00", "a\r", " a", "a ", "a\n", "\ufffe", "\ud800", "", "\u00a0a", "\x85"]
)
def test_class_names_that_xml_cannot_store_are_refused(write_tree, tmp_path, name):
    with pytest.raises(PellucidError, match=r"voc cannot hold the class name .*; rename the class"):
        convert(write_tree("set", coco_set_with_classes("b", name)), tmp_path / "out", "voc")
    assert sorted(os.listdir(tmp_path)) == ["set"]


@pytest.mark.parametrize("form", ["voc", "yolo", "coco", "labelme"])
@pytest.mark.parametrize("name", ["<b>&amp;", "a b", "]]>", "\u0663", "a\tb", "日本", "😀", "'\"", "# a", "yes", "{0}"])
def test_class_names_with_special_characters_are_restored(write_tree, tmp_path, form, name):
    convert(write_tree("set", coco_set_with_classes("b", name)), tmp_path / "out", form)
    loaded = read(tmp_path / "out")
    assert [loaded.classes[instance.label] for instance in loaded.records[0].instances] == ["b", name]


@pytest.mark.parametrize("name", ["a\x01.png", "a\n.png", " a.png", "a\udcff.png"])
def test_names_of_images_that_xml_cannot_store_are_refused(write_tree, tmp_path, name):
    files = {"labels/" + name[:-4] + ".txt": b"0 .5 .5 .1 .1", "images/" + name: picture_bytes((0, 0, 0), (30, 20))}
    with pytest.raises(PellucidError, match="voc cannot hold the name of the image"):
        convert(write_tree("set", files | {"data.yaml": b"names: [cat]"}), tmp_path / "out", "voc")


def test_boxes_that_differ_from_their_polygons_are_listed(write_tree, tmp_path):
    square = [[2, 4, 12, 4, 12, 14, 2, 14]]
    path = write_tree(
        "set", coco_set(annotation(segmentation=square), annotation(id=2, segmentation=square, bbox=[1, 1, 20, 18]))
    )
    conversion = convert(path, tmp_path / "out", "yolo")
    assert conversion.lost == {"box": 1}
    (fault,) = conversion.faults
    assert (fault.effect, fault.reason) == ("listed", "box (1, 1, 21, 19) becomes that of its polygon, (2, 4, 12, 14)")
    assert [instance.box for instance in read(tmp_path / "out").records[0].instances] == [
        pytest.approx((2, 4, 12, 14))
    ] * 2
    assert convert(path, tmp_path / "other", "coco").lost == {}


def test_a_folder_inside_the_data_is_refused(write_tree, tmp_path):
    path = write_tree("set", voc_set())
    for out in (path / "out", path / "a/../b/c"):
        with pytest.raises(PellucidError, match=r"is inside .*, which is read; give a folder outside of it"):
            convert(path, out, "coco")
    assert not (path / "out").exists()


def test_an_empty_list_of_images_is_refused(write_tree, tmp_path):
    path = write_tree("set", voc_set() | {"ImageSets/Main/train.txt": b"\n"})
    with pytest.raises(PellucidError, match="has no images in part 'train'; name some in its list"):
        convert(path, tmp_path / "out", "coco")
    assert any("no images in part 'train'" in fault.reason and fault.effect == "refused" for fault in lint(path).faults)
    with pytest.raises(PellucidError, match="part 'train' has no images"):
        convert(
            write_tree("other", coco_set() | {"train.json": b'{"images":[],"annotations":[],"categories":[]}'}),
            tmp_path / "out",
            "voc",
        )


@pytest.mark.parametrize("exists", [False, True])
def test_a_full_disk_leaves_no_files_and_a_second_call_succeeds(write_tree, tmp_path, monkeypatch, exists):
    path, out = write_tree("set", voc_set()), tmp_path / "out"
    if exists:
        out.mkdir()
    write, written = Path.open, []

    def full(self: Path, mode: str = "r", *arguments):
        if "x" in mode:
            written.append(self)
            if len(written) == 4:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, mode, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(PellucidError, match="No space left on device"):
            convert(path, out, "coco")
    assert len(written) == 4
    assert sorted(os.listdir(tmp_path)) == ["out"] * exists + ["set"]
    assert not exists or not os.listdir(out)
    assert convert(path, out, "coco").images == {"train": 2, "val": 1}
    assert sorted(os.listdir(tmp_path)) == ["out", "set"]


KILLED = """
import os, signal, sys
from pellucid.data.annotations import convert as module
write, left = module.write_atomically, [int(sys.argv[3])]
def killed(*arguments, **options):
    write(*arguments, **options)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
module.write_atomically = killed
module.convert(sys.argv[1], sys.argv[2], "voc")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
@pytest.mark.parametrize("images", [1, 3])
def test_a_second_call_after_a_kill_succeeds(write_tree, tmp_path, images):
    path, out = write_tree("set", voc_set()), tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, path, out, str(images)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    assert len(os.listdir(tmp_path)) == 2, "the data, and a temporary folder"
    convert(path, out, "voc")
    assert sorted(os.listdir(tmp_path)) == ["out", "set"]
    assert len(read(out).records) == 2


def test_more_class_names_than_a_yaml_file_may_have_are_refused(write_tree, tmp_path):
    path = write_tree("set", coco_set_with_classes(*(f"a class of number {k}" for k in range(8_000))))
    with pytest.raises(PellucidError, match=r"set: the class names need \d+ characters in data.yaml, above the limit"):
        convert(path, tmp_path / "out", "yolo")


def test_each_format_declares_what_it_can_write(write_tree, tmp_path, monkeypatch):
    """A format that stores only masks can be added without a change of the conversion."""
    forms = {
        "masks": replace(coco.FORMAT, name="masks", written=lambda result: frozenset({"masks"})),
        "small": replace(coco.FORMAT, name="small", class_fault=lambda parts: "are too many"),
    }
    monkeypatch.setattr(module, "WRITERS", forms)
    square = [[2, 4, 12, 4, 12, 14, 2, 14]]
    items = [annotation(segmentation=square, iscrowd=1), annotation(id=2, segmentation=square, bbox=[1, 1, 20, 18])]
    path = write_tree("set", coco_set(*items))
    assert convert(path, tmp_path / "out", "masks").lost == {"crowd": 1, "box": 1}
    with pytest.raises(PellucidError, match="set: the class names are too many; convert to another format"):
        convert(path, tmp_path / "other", "small")


@pytest.mark.parametrize("form", ["yolo", "labelme"])
def test_masks_with_long_outlines_are_refused_where_they_become_polygons(write_tree, tmp_path, monkeypatch, form):
    """A mask of 20x10 pixels has an outline of 60 pixel sides, one more than the limit set here."""
    monkeypatch.setattr(module, "MAX_MASK_SIDES", 59)
    mask = {"size": [20, 30], "counts": [0, 200, 400]}
    names = [{"id": 7, "name": "dog", "keypoints": ["nose"]}]
    plain = write_tree("set", coco_set(annotation(segmentation=mask, bbox=[0, 0, 10, 20])))
    points = annotation(segmentation=mask, bbox=[0, 0, 10, 20], keypoints=[1, 1, 2])
    pointed = write_tree("points", coco_set(points, categories=names))
    with pytest.raises(PellucidError, match=f"are too long for {form}, above 59 sides of pixels in one mask"):
        convert(plain, tmp_path / "out", form)
    convert(plain, tmp_path / "coco", "coco")
    if form == "yolo":  # YOLO files with key-points have boxes and no polygons
        assert convert(pointed, tmp_path / "out", form).lost == {"masks": 1}
    monkeypatch.setattr(module, "MAX_MASK_SIDES", 60)
    convert(plain, tmp_path / "again", form)
    monkeypatch.setattr(module, "MAX_SIDES", 0)
    monkeypatch.setattr(module, "MAX_SIDES_PER_IMAGE", 60)
    monkeypatch.setattr(module, "MAX_SIDES_PER_BYTE", 0)
    with pytest.raises(PellucidError, match="or 60 in all; convert them to coco"):
        convert(plain, tmp_path / "over", form)


def test_yolo_checks_once_whether_there_are_masks(write_tree, tmp_path, monkeypatch):
    """A check for each object would take a time quadratic in the number of objects."""
    has_masks_calls: list[int] = []
    has_masks = Annotations.has_masks.fget
    assert has_masks is not None
    monkeypatch.setattr(
        Annotations, "has_masks", property(lambda result: (has_masks_calls.append(1), has_masks(result))[1])
    )
    call_counts = []
    for count in (2, 40):
        has_masks_calls.clear()
        convert(
            write_tree(f"set{count}", coco_set(*(annotation(id=k) for k in range(count)))),
            tmp_path / f"{count}",
            "yolo",
        )
        call_counts.append(len(has_masks_calls))
    assert call_counts[0] == call_counts[1]
