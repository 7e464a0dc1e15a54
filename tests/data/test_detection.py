"""Images with objects: resizing, padding, splits, loading by name, and mirrored key-points."""

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder, Splits, load
from pellucid.data.detection import mirrored_pairs
from pellucid.data.images import image_size
from pellucid.recipe.material import input_shape, load_material, load_splits
from pellucid.recipe.tables import Data
from tests.data.annotations.sets import annotation, coco, coco_set, voc_set, voc_xml
from tests.data.pictures import picture_bytes

SQUARE = [[2, 4, 12, 4, 12, 14, 2, 14]]
RNG = torch.Generator()


def coco_set_with_masks(*items):
    """Return a COCO set with masks and key-points."""
    return coco_set(
        *(annotation(id=k, segmentation=SQUARE, **item) for k, item in enumerate(items)),
        categories=[{"id": 7, "name": "dog", "keypoints": ["nose"]}],
    )


def test_objects_are_scaled_with_their_image(write_tree):
    path = write_tree("set", coco_set_with_masks({"keypoints": [6, 10, 2]}))
    image, objects = DetectionFolder(path).example(0)
    assert image.shape == (3, 20, 30)
    assert objects.boxes.tolist() == [[2, 4, 12, 14]]
    half_image, half_objects = DetectionFolder(path, size=15).example(0)
    assert half_image.shape == (3, 10, 15)
    assert half_objects.boxes.tolist() == [[1, 2, 6, 7]]
    assert half_objects.keypoints.tolist() == [[[3, 5, 2]]]
    expected = torch.zeros(10, 15, dtype=torch.bool)
    expected[2:7, 1:6] = True
    assert torch.equal(half_objects.masks[0], expected)
    stretched_image, stretched_objects = DetectionFolder(path, size=(40, 30)).example(0)
    assert stretched_image.shape == (3, 40, 30)
    assert stretched_objects.boxes.tolist() == [[2, 8, 12, 28]]
    assert stretched_objects.masks.shape == (1, 40, 30)
    assert stretched_objects.masks.sum() == 200


def test_images_without_objects_have_none(write_tree):
    files = coco_set_with_masks() | {"train.json": coco([{"id": 11, "file_name": "a.png"}], [])}
    _, objects = DetectionFolder(write_tree("set", files)).example(0)
    assert (len(objects), objects.boxes.shape) == (0, (0, 4))


def test_masks_are_padded_with_their_images(write_tree):
    images = [{"id": k, "file_name": f"{k}.png"} for k in range(2)]
    files = {"a.json": coco(images, [annotation(id=k, image_id=k, segmentation=SQUARE) for k in range(2)])}
    files |= {"0.png": picture_bytes((9, 9, 9), (30, 20)), "1.png": picture_bytes((9, 9, 9), (15, 25))}
    batch = DetectionFolder(write_tree("set", files)).batch([0, 1], RNG)
    assert batch.images.shape == (2, 3, 25, 30)
    assert [target.masks.shape for target in batch.targets] == [(1, 25, 30), (1, 25, 30)]
    assert [int(target.masks.sum()) for target in batch.targets] == [100, 100]


def test_omitted_objects_are_counted(write_tree, capsys):
    path = write_tree("set", voc_set() | {"Annotations/a.xml": voc_xml(("cat", 5, 5, 5, 5, 0), ("dog", 9, 9, 2, 5, 0))})
    source = DetectionFolder(path, "train", classes=("cat", "dog"))
    assert [len(record.instances) for record in source.records] == [0, 0]
    message = capsys.readouterr().err
    assert "2 objects left out (first " in message
    assert "a.xml:4: box (5, 5, 5, 5) has no area" in message


@pytest.mark.parametrize(
    ("files", "part", "message"),
    [
        (
            {"Annotations/a.xml": b"<annotation>"},
            "train",
            r"a\.xml:1: is not XML .*, or correct the file; `pellucid data",
        ),
        (
            {"Annotations/a.xml": voc_xml(("bird", 1, 2, 3, 4, 0))},
            "train",
            "class 'bird' is not among cat, dog; give data with these classes",
        ),
        ({}, "vall", "no part 'vall'; did you mean 'val'"),
        ({}, "", "no part ''; it has 'train', 'val'"),
    ],
)
def test_damaged_sets_are_refused(write_tree, files, part, message):
    with pytest.raises(PellucidError, match=message):
        DetectionFolder(write_tree("set", voc_set() | files), part, classes=("cat", "dog"))


def test_images_must_have_the_size_stated_in_the_annotations(write_tree):
    files = voc_set() | {"JPEGImages/a.png": picture_bytes((0, 0, 0), (20, 30))}
    with pytest.raises(PellucidError, match=r"a\.png: the image is 20 pixels wide and 30 high, but .*a\.xml state 30"):
        DetectionFolder(write_tree("set", files), "train").example(0)


def test_folders_without_annotations_are_refused(write_tree):
    with pytest.raises(PellucidError, match="contains no annotations; give a folder of CVAT, "):
        DetectionFolder(write_tree("set", {"a/a.png": picture_bytes((0, 0, 0))}))


def test_the_checksum_depends_on_annotations_and_not_on_the_path(write_tree):
    first = DetectionFolder(write_tree("one", coco_set_with_masks({}))).checksum
    assert DetectionFolder(write_tree("two", coco_set_with_masks({}))).checksum == first
    assert DetectionFolder(write_tree("three", coco_set_with_masks({"bbox": [2, 4, 10, 9]}))).checksum != first
    assert DetectionFolder(write_tree("two", {}), size=20).checksum != first


def test_a_folder_is_loaded_as_its_splits(write_tree):
    path = write_tree("set", voc_set())
    loaded = load(str(path), size=15)
    assert isinstance(loaded, Splits)
    assert (len(loaded.train), len(loaded.test)) == (2, 1)
    assert loaded.test.classes == loaded.train.classes == ("cat", "dog")
    assert loaded.test.size_of(0) == (10, 15)
    (path / "JPEGImages/b.png").unlink()
    skipped = load(str(path), on_error="skip")
    assert (len(skipped.train), len(skipped.test), len(skipped.train.skipped)) == (1, 1, 1)


def test_a_fifth_of_a_set_without_parts_is_held_out(write_tree):
    files = {f"{k}.xml": voc_xml(("dog", 1, 2, 3, 4, 0)) for k in range(10)}
    files |= {f"{k}.png": picture_bytes((k, 0, 0), (30, 20)) for k in range(10)}
    loaded = load(str(write_tree("set", files)))
    assert (len(loaded.train), len(loaded.test)) == (8, 2)
    assert {*loaded.train.names} | {*loaded.test.names} == {f"{k}.png" for k in range(10)}


def test_a_recipe_loads_objects(write_tree):
    path = str(write_tree("set", voc_set()))
    material = load_material(Data(path, size=15, limit=1), 0)
    assert (len(material.train), material.validation, len(material.test)) == (1, None, 1)
    assert len(load_material(Data(path, validation=0.5), 0).validation) == 1
    assert input_shape(Data(path, size=15)) == (3, 10, 15)
    with pytest.raises(PellucidError, match="contains annotated objects; give data with one class"):
        load_splits(Data(path))


def test_names_of_key_points_give_the_pairs_for_mirror_images():
    assert mirrored_pairs(["nose", "left_eye", "right_eye", "Left Ear", "Right Ear", "left_toe"]) == ((1, 2), (3, 4))
    assert mirrored_pairs(["p0", "p1"]) is None


def test_image_size_is_measured_after_the_exif_rotation():
    from io import BytesIO

    from PIL import Image

    out, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (5, 3)).save(out, "JPEG", exif=exif)
    assert image_size(out.getvalue(), "a.jpg") == (5, 3)


@pytest.mark.real
def test_the_mean_face_equals_its_mirror_image_with_exchanged_key_points(real_data):
    """The pairs of the 68 points exchange left and right: the mean face is symmetric to 3 pixels."""
    items = COCO(real_data("faces") / "train.json").dataset["annotations"]
    points = np.array([item["keypoints"] for item in items]).reshape(-1, 68, 3)[:, :, :2]
    order = np.arange(68)
    for one, other in load("faces", size=112).train.swaps:
        order[[one, other]] = other, one
    mean = points.mean(0)
    mirror = mean[order] * [-1, 1] + [112, 0]
    assert np.abs(mirror - mirror.mean(0) - mean + mean.mean(0)).max() < 3
