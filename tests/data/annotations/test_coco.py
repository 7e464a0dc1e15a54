"""COCO files: equal results to pycocotools, and a list of the faults in a file."""

import json

import numpy as np
import pytest
from pycocotools import mask as pack
from pycocotools.coco import COCO

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder
from pellucid.data.annotations import read_annotations
from pellucid.data.annotations.coco import document, read_without_images
from pellucid.data.tree import open_tree
from tests.data.annotations.sets import IMAGE, annotation, coco, coco_set
from tests.data.pictures import picture_bytes

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # by pycocotools
KEYPOINT_CATEGORIES = [{"id": 7, "name": "dog", "keypoints": ["left_eye", "right_eye"]}]


def read(path, part="", classes=None):
    with open_tree(path) as tree:
        return read_annotations(tree, part, classes)


def test_ids_with_gaps_in_any_order_are_read(write_tree):
    loaded = read(write_tree("set", coco_set(annotation(), annotation(id=2, category_id=3, iscrowd=1))))
    assert (loaded.classes, loaded.category_ids) == (("cat", "dog"), (3, 7))
    (record,) = loaded.records
    assert (record.image, record.size, record.image_id) == ("train/a.png", (20, 30), 11)
    assert [(instance.label, instance.crowd, instance.box) for instance in record.instances] == [
        (1, False, (2, 4, 12, 14)), (0, True, (2, 4, 12, 14))
    ]  # fmt: skip
    assert read(write_tree("set", {}), classes=("dog", "cat")).records[0].instances[0].label == 0


@pytest.mark.parametrize("copy", ["train/_train_anno.json", "train/a copy.coco.json", "train/sub/old.json"])
def test_roboflows_file_is_read_and_not_a_copy_beside_it(write_tree, capsys, copy):
    image = picture_bytes((255, 0, 0), (30, 20))
    files = {
        "train/a.png": image,
        "train/_annotations.coco.json": coco([IMAGE], [annotation(), annotation(id=2)]),
        copy: coco([IMAGE], [annotation()]),
    }
    loaded = read(write_tree("set", files))
    assert len(loaded.records[0].instances) == 2
    assert f"train/_annotations.coco.json is read, and not {copy} of the same part" in capsys.readouterr().err
    files["train/more.json"] = files.pop("train/_annotations.coco.json")
    with pytest.raises(PellucidError, match=r"several annotation files for one part, .*; leave one of them there"):
        read(write_tree("other", files))


def test_names_with_backslashes_are_paths_also_without_the_images(write_tree):
    file = {"a.json": coco([{**IMAGE, "file_name": "train\\a.png"}], [annotation()])}
    with open_tree(write_tree("set", file)) as tree:
        assert read_without_images(tree, "a.json").records[0].image == "train/a.png"


def test_areas_of_the_file_are_kept(write_tree):
    path = write_tree("set", coco_set(annotation(area=33.5), annotation(id=2)))
    loaded = read(path)
    assert [instance.area for instance in loaded.records[0].instances] == [33.5, None]
    (fault,) = read(write_tree("wrong", coco_set(annotation(area=-1.0)))).faults
    assert "has area -1.0" in fault.reason
    assert [one["area"] for one in document(loaded)["annotations"]] == [33.5, 100]
    assert DetectionFolder(path, "train").areas(0) == [33.5, None]


def test_masks_equal_those_of_pycocotools(write_tree):
    polygons = [[2, 4, 12.5, 4, 12, 14.3], [20, 1, 25, 1, 25, 9]]
    runs = {"size": [20, 30], "counts": [40, 25, 535]}
    packed = pack.frPyObjects({"size": [20, 30], "counts": [0, 3, 50, 70, 477]}, 20, 30)
    packed["counts"] = packed["counts"].decode()
    path = write_tree(
        "set", coco_set(*(annotation(id=k, segmentation=s) for k, s in enumerate((polygons, runs, packed))))
    )
    reference = COCO(path / "train.json")
    loaded = read(path)
    assert loaded.has_masks
    for instance, item in zip(loaded.records[0].instances, reference.loadAnns([0, 1, 2]), strict=True):
        assert np.array_equal(loaded.records[0].mask(instance).numpy(), reference.annToMask(item))


def test_key_points_without_label_are_zero(write_tree):
    loaded = read(write_tree("set", coco_set(annotation(keypoints=[3, 4, 2, 9, 9, 0]), categories=KEYPOINT_CATEGORIES)))
    assert loaded.keypoints == ("left_eye", "right_eye")
    objects = loaded.records[0].objects(2)
    assert objects.keypoints is not None
    assert objects.keypoints.tolist() == [[[3, 4, 2], [0, 0, 0]]]


def test_key_points_without_visibility_are_visible(write_tree, capsys):
    loaded = read(write_tree("set", coco_set(annotation(keypoints=[3, 4, 0, 0]), categories=KEYPOINT_CATEGORIES)))
    assert loaded.records[0].instances[0].points == (3, 4, 2, 0, 0, 0)
    assert "the key-points have no visibility" in capsys.readouterr().err


@pytest.mark.parametrize("write", [str, float, lambda value: f"{value:09d}"])
@pytest.mark.parametrize("key", ["id", "image_id", "category_id"])
def test_ids_that_a_script_wrote_as_text_or_floats_are_read(write_tree, key, write):
    items = [annotation(id=k, category_id=7 - 4 * (k % 2)) for k in range(4)]
    expected = read(write_tree("whole", coco_set(*items)))
    loaded = read(write_tree("set", coco_set(*(item | {key: write(item[key])} for item in items))))
    assert loaded.records[0].instances == expected.records[0].instances
    for value in ("a1", "7.5", 7.5, "-7", "९", "9" * 5000, True, None):
        (fault, *_) = read(write_tree("wrong", coco_set(annotation(**{"image_id": value})))).faults
        assert "which no image has" in fault.reason


def test_objects_without_an_outline_have_no_masks(write_tree):
    loaded = read(write_tree("set", coco_set(annotation(segmentation=[[2, 4, 12, 4, 12, 14]]), annotation(id=2))))
    assert not loaded.has_masks


@pytest.mark.parametrize(
    ("layout", "part"),
    [
        ("annotations/instances_{}2017.json|{}2017/a.png", "val"),  # the layout of COCO itself
        ("{}/_annotations.coco.json|{}/a.png", "valid"),
        ("{}.json|{}/a.png", "test"),
        ("labels_{}.json|images/a.png", "test"),
    ],
)
def test_common_folder_layouts_are_recognized(write_tree, layout, part):
    files = {}
    for split in ("train", part):
        for name in layout.format(split, split).split("|"):
            files[name] = picture_bytes((0, 0, 0), (30, 20)) if name.endswith("png") else coco([IMAGE], [annotation()])
    loaded = read(write_tree("set", files), part)
    assert [record.image for record in loaded.records] == [layout.format(part, part).split("|")[1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 12}, "image_id 12, which no image has"),
        ({"category_id": 1}, "category_id 1, which no category has"),
        ({"bbox": [1, 2, 3]}, "bbox [1, 2, 3]; give x, y, width, height"),
        ({"bbox": [1, 2, 3, None]}, "give x, y, width, height"),
        ({"bbox": [1, 2, 3, 1e999]}, "give x, y, width, height"),
        ({"iscrowd": "yes"}, "iscrowd 'yes'"),
        ({"segmentation": [[1, 2, 3, 4]]}, "three points or more"),
        ({"segmentation": [[1, 2, 3, 4, 5, 600]]}, "far outside the image of 30x20"),
        ({"segmentation": {"size": [30, 20], "counts": [600]}}, "mask is [30, 20] but its image is [20, 30]"),
        ({"segmentation": {"size": [20, 30], "counts": [601]}}, "RLE of 601 pixels"),
        ({"segmentation": {"size": [20, 30], "counts": "~"}}, "not a compressed RLE"),
        ({"segmentation": {"size": [20, 30]}}, "give run lengths"),
        ({"segmentation": "x"}, "give polygons or an RLE"),
        ({"keypoints": [1, 2, 2]}, "keypoints are not x, y and visibility (0, 1 or 2) of the 2 points"),
        ({"keypoints": [1, 2, 3, 4, 5, 2]}, "visibility (0, 1 or 2) of the 2 points"),
    ],
)
def test_damaged_annotations_are_refused(write_tree, changes, message):
    loaded = read(
        write_tree("set", coco_set(annotation(id=4, **changes), annotation(id=5), categories=KEYPOINT_CATEGORIES))
    )
    (fault,) = loaded.faults
    assert fault.effect == "refused"
    assert "train.json, annotation 4: " in str(fault)
    assert message in fault.reason
    assert len(loaded.records[0].instances) == 1


def test_boxes_without_area_are_left_out_and_listed(write_tree):
    loaded = read(write_tree("set", coco_set(annotation(bbox=[1, 2, 0, 5]), annotation(id=2))))
    assert [(fault.effect, fault.reason) for fault in loaded.faults] == [("dropped", "box (1, 2, 1, 7) has no area")]
    assert len(loaded.records[0].instances) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": [IMAGE, IMAGE]}, "needs a unique integer id"),
        ({"images": [IMAGE | {"file_name": "../b.png"}]}, "is not below"),
        ({"images": [IMAGE, 3]}, "is 3, not a JSON object"),
        ({"categories": [{"id": 7, "name": "dog"}, {"id": 7, "name": "cat"}]}, "a unique integer id and a unique name"),
        ({"annotations": [annotation(), annotation()]}, "has the same id as another annotation"),
    ],
)
def test_damaged_lists_are_refused(write_tree, changes, message):
    files = coco_set(annotation())
    content = json.loads(files["train.json"]) | changes
    loaded = read(write_tree("set", files | {"train.json": json.dumps(content).encode()}))
    assert any(message in fault.reason and fault.effect == "refused" for fault in loaded.faults)


@pytest.mark.real
@pytest.mark.parametrize("name", ["pennfudan", "faces"])
def test_real_data_sets_are_read_as_by_pycocotools(real_data, name):
    reference, result = COCO(real_data(name) / "val.json"), read(real_data(name), "val")
    assert not result.faults
    for record in result.records:
        items = reference.loadAnns(reference.getAnnIds(record.image_id))
        objects = record.objects(len(result.keypoints), result.has_masks)
        assert np.allclose([(*b[:2], b[0] + b[2], b[1] + b[3]) for b in (i["bbox"] for i in items)], objects.boxes)
        if objects.masks is not None:
            assert np.array_equal(objects.masks, [reference.annToMask(item) for item in items])
        if objects.keypoints is not None:
            assert np.allclose([np.reshape(item["keypoints"], (-1, 3)) for item in items], objects.keypoints)
