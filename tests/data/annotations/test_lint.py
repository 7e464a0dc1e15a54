"""Faults that lint lists with file and line, for data sets that contain each kind of fault."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data.annotations.lint import lint
from tests.data.annotations.sets import IMAGE, annotation, coco, coco_set, voc_set, voc_xml
from tests.data.pictures import grey_bytes, picture_bytes


def listed_faults(path) -> list[tuple[str, int | None, str, str]]:
    """Return (file name, line, effect, reason) of each fault."""
    return [
        (fault.file.removeprefix(f"{path}/").rpartition("/")[2], fault.line, fault.effect, fault.reason)
        for fault in lint(path).faults
    ]


def smooth_photo(seed: int, shift: int = 0) -> bytes:
    """Return a picture with large structures, which remains similar when it is shifted by a few pixels."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    large = small.resize((160 + 8, 120), Image.Resampling.BICUBIC).crop((shift, 0, shift + 160, 120))
    out = io.BytesIO()
    large.save(out, "PNG")
    return out.getvalue()


def test_invalid_boxes_and_files_are_listed(write_tree):
    files = voc_set() | {
        "Annotations/a.xml": voc_xml(
            ("dog", 2, 4, 12, 14, 0), ("dog", 2, 4, 12, 14, 0), ("cat", 5, 5, 5, 5, 0), ("cat", 2, 4, 40, 14, 0)
        ),
        "JPEGImages/lonely.png": picture_bytes((9, 9, 9), (30, 20)),
    }
    files["JPEGImages/c.png"] = files["JPEGImages/c.png"][:-20]
    path = write_tree("set", files)
    report = lint(path)
    assert (report.format_name, report.parts["train"].images, report.parts["train"].objects) == ("voc", 2, 3)
    assert report.parts["train"].empty == 1
    listed = listed_faults(path)
    assert ("a.xml", 8, "dropped", "box (5, 5, 5, 5) has no area") in listed
    assert ("a.xml", 10, "changed", "box (2, 4, 40, 14) extends beyond the image of 30x20") in listed
    assert ("a.xml", 6, "listed", "box (2, 4, 12, 14) is equal to (2, 4, 12, 14) of the same class") in listed
    assert ("b.xml (b.png)", None, "listed", "image has no objects") in listed
    assert ("lonely.png", None, "listed", "no annotations name this image") in listed
    assert any(file == "c.png" and effect == "refused" and "damaged" in reason for file, _, effect, reason in listed)
    assert len(listed) == 6


def test_images_in_two_splits_are_listed(write_tree):
    box = voc_xml(("dog", 2, 4, 60, 60, 0), size=(120, 160))
    files = {f"Annotations/{name}.xml": box for name in "abcd"}
    files |= {
        "JPEGImages/a.png": smooth_photo(1),
        "JPEGImages/b.png": smooth_photo(2),
        "JPEGImages/c.png": smooth_photo(1, 3),
    }
    files |= {
        "JPEGImages/d.png": smooth_photo(2),
        "ImageSets/Main/train.txt": b"a\nb",
        "ImageSets/Main/val.txt": b"c\nd",
    }
    listed = listed_faults(write_tree("set", files))
    assert [(file, reason.partition(" (")[0].partition(",")[0]) for file, _, _, reason in listed] == [
        ("d.png", "is the same file as JPEGImages/b.png"),
        ("c.png", "is almost the same image as"),
    ]


def test_masks_and_key_points_outside_their_boxes_are_listed(write_tree):
    square = [[20, 10, 28, 10, 28, 18, 20, 18]]
    items = [
        annotation(id=1, segmentation=square, keypoints=[40, 2, 2]),
        annotation(id=2, category_id=3, segmentation={"size": [20, 30], "counts": [600]}),
    ]
    files = coco_set(*items, categories=[{"id": 7, "name": "dog", "keypoints": ["nose"]}, {"id": 3, "name": "cat"}])
    assert [reason for *_, reason in listed_faults(write_tree("set", files))] == [
        "1 key-point of (2, 4, 12, 14) outside the image",
        "mask of (2, 4, 12, 14) lies elsewhere: its tight box has IoU 0.00 with the box",
        "mask of (2, 4, 12, 14) has no pixels",
    ]


def test_objects_without_a_normalised_error_are_listed(write_tree):
    items = [
        annotation(id=1, bbox=[2, 4, 10, 10], keypoints=[3, 5, 2, 9, 5, 1]),
        annotation(id=2, bbox=[3, 4, 20, 10], keypoints=[3, 5, 2, 9, 5, 0]),
        annotation(id=3, bbox=[4, 4, 10, 14], keypoints=[9, 5, 2, 9, 5, 1]),
        annotation(id=4, bbox=[5, 4, 24, 15]),
        annotation(id=5, bbox=[6, 2, 3, 3], iscrowd=1, segmentation={"size": [20, 30], "counts": [122, 60, 418]}),
        annotation(id=6, category_id=3, bbox=[7, 4, 9, 9]),
    ]
    dog = {"id": 7, "name": "dog", "keypoints": ["nose", "tail"]}
    files = coco_set(*items, categories=[dog, {"id": 3, "name": "cat"}])
    listed = [reason for *_, reason in listed_faults(write_tree("set", files)) if "normalised" in reason]
    ending = "has no two labelled key-points at different positions; the normalised mean error leaves it out"
    assert listed == [f"(3, 4, 23, 14) {ending}", f"(4, 4, 14, 18) {ending}", f"(5, 4, 29, 19) {ending}"]


def test_files_after_an_unreadable_file_are_checked(write_tree):
    cat = annotation(id=2, category_id=3, bbox=[20, 10, 5, 5])
    files = coco_set(annotation(), cat) | {"val.json": coco([IMAGE], [annotation(bbox=[])])[:-5]}
    listed = listed_faults(write_tree("set", files))
    assert [(effect, "is not JSON" in reason) for _, _, effect, reason in listed] == [("refused", True)]


def test_an_image_of_another_size_is_refused(write_tree):
    content = json.loads(coco_set(annotation(), categories=[{"id": 7, "name": "dog"}])["train.json"])
    content["images"][0] |= {"width": 31}
    ((_, _, effect, reason),) = listed_faults(
        write_tree("set", coco_set() | {"train.json": json.dumps(content).encode()})
    )
    assert effect == "refused"
    assert reason.startswith("the image is 30 pixels wide and 20 high, but its annotations in")


def test_annotations_of_a_missing_image_are_not_listed_separately(write_tree):
    content = json.loads(coco_set(annotation(id=1), annotation(id=2))["train.json"])
    content["images"][0] |= {"file_name": "missing.png"}
    listed = listed_faults(write_tree("set", coco_set() | {"train.json": json.dumps(content).encode()}))
    assert [(effect, reason.partition("' ")[0]) for *_, effect, reason in listed] == [
        ("refused", "image 'missing.png"),
        ("listed", "no annotations name this image"),
    ]


def test_missing_and_invalid_masks_are_listed(write_tree):
    image, mask = picture_bytes((9, 9, 9), (6, 4)), grey_bytes(np.indices((4, 6)).sum(0) % 2)
    masks = {f"train/{name}.png": image for name in "ab"} | {f"trainannot/{name}.png": mask for name in "ab"}
    assert [part.images for part in lint(write_tree("good", masks)).parts.values()] == [2]
    del masks["trainannot/b.png"]
    ((_, _, effect, reason),) = listed_faults(write_tree("bad", masks))
    assert (effect, "has no mask in trainannot/" in reason) == ("refused", True)
    masks["trainannot/b.png"] = grey_bytes(np.indices((4, 5)).sum(0) % 2)
    ((name, _, effect, reason),) = listed_faults(write_tree("worse", masks))
    assert (name, effect, "make them the same size" in reason) == ("b.png", "refused", True)
    masks["trainannot/b.png"] = picture_bytes((9, 90, 9), (6, 4))  # colours are not a mask
    ((name, _, effect, reason),) = listed_faults(write_tree("colour", masks))
    assert (name, effect, "a mask in colours (mode RGB)" in reason) == ("b.png", "refused", True)


def test_a_folder_without_annotations_is_refused(write_tree):
    with pytest.raises(PellucidError, match="neither annotations nor images"):
        lint(write_tree("set", {"a/a.md": b"nothing"}))


@pytest.mark.real
def test_the_known_errors_of_bccd_are_listed(real_data):
    """The errors listed in ../shared/data/README.md: two boxes without area, cells boxed twice, images of one field."""
    listed = listed_faults(real_data("bccd"))
    assert [(file, line) for file, line, effect, _ in listed if effect == "dropped"] == [
        ("BloodImage_00343.xml", 56),
        ("BloodImage_00338.xml", 164),
    ]
    assert sum("almost equal" in reason for *_, reason in listed) == 6
    assert any("in train and val" in reason for *_, reason in listed)
