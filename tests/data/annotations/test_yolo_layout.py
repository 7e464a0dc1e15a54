"""Folders and settings of YOLO data sets that would be misread are refused or noted, and valid ones are read."""

import json

import numpy as np
import pytest

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_first_time
from pellucid.data import DetectionFolder, load_objects
from pellucid.data.annotations.lint import lint
from tests.data.annotations.sets import voc_xml
from tests.data.pictures import grey_bytes

LINE = b"0 0.5 0.5 0.2 0.4\n"
COUNT = 6  # images of each part


def picture(seed):
    return grey_bytes(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8))


def paths(layout, part, name):
    """Return the paths of an image and its label file."""
    return {
        "part in images": (f"images/{part}/{name}.png", f"labels/{part}/{name}.txt"),
        "images in part": (f"{part}/images/{name}.png", f"{part}/labels/{name}.txt"),
        "below a folder": (f"data/images/{part}/{name}.png", f"data/labels/{part}/{name}.txt"),
        "beside": (f"{part}/{name}.png", f"{part}/{name}.txt"),
    }[layout]


LAYOUTS = ["part in images", "images in part", "below a folder", "beside"]
SOME_LAYOUTS = [LAYOUTS[0], *(pytest.param(layout, marks=pytest.mark.long) for layout in LAYOUTS[1:3]), LAYOUTS[3]]


def yolo(layout=LAYOUTS[0], parts=("train", "val"), settings="names: [cat]\n", unlabelled=()):
    """Return the files of a data set, without the label files of the parts in `unlabelled`."""
    files = {"data.yaml": settings.encode()}
    for k, part in enumerate(parts):
        for i in range(COUNT):
            image, label = paths(layout, part, f"{part}_{i}")
            files[image] = picture(k * COUNT + i)
            if part not in unlabelled:
                files[label] = LINE
    return files


def load(path):
    """Return the training part and the held-out part."""
    splits = load_objects(path)
    return splits.train, splits.test


def refusal(path):
    """Return the message with which training refuses the data; lint has to list its beginning as one fault."""
    with pytest.raises(PellucidError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    refused = [fault for fault in lint(path).faults if fault.effect == "refused"]
    assert any(message.startswith(str(fault)) or message in fault.reason for fault in refused), refused
    return message


@pytest.mark.parametrize("layout", SOME_LAYOUTS)
@pytest.mark.parametrize("train", ["train", "Train", "training", "train2017", "trainval"])
@pytest.mark.parametrize("other", ["val", "test", "valid"])
def test_a_training_part_without_labels_is_refused(write_tree, layout, train, other):
    path = write_tree("set", yolo(layout, (train, other), unlabelled=(train,)))
    image, label = (path / name for name in paths(layout, train, "x"))
    reason = f"{image.parent}: none of its 6 images has a label file in {label.parent}; add the label files there"
    assert refusal(path).startswith(reason)


@pytest.mark.parametrize("layout", SOME_LAYOUTS)
def test_images_without_labels_in_a_labelled_part_have_no_objects(write_tree, layout):
    files = yolo(layout)
    for i in range(COUNT - 1):
        del files[paths(layout, "train", f"train_{i}")[1]]
    train, test = load(write_tree("set", files))
    assert [len(record.instances) for record in train.records] == [0] * (COUNT - 1) + [1]
    assert len(test) == COUNT


@pytest.mark.parametrize("layout", SOME_LAYOUTS)
@pytest.mark.parametrize("part", ["val", "test", "Validation"])
def test_a_held_out_part_without_labels_is_noted(write_tree, layout, part, capsys):
    path = write_tree("set", yolo(layout, ("train", part), unlabelled=(part,)))
    train, test = load(path)
    assert len(train) + len(test) == COUNT
    assert "is not used, since none of its images has a label file in" in capsys.readouterr().err
    assert any("is not used, since" in fault.reason for fault in lint(path).faults)


OTHER_PATHS = [
    ("train: images/val", "val"),
    ("train: /home/me/set/images/val", "val"),
    ("train: ../images/val/", "val"),
    ("train: ../val/images", "val"),
    ("train: [images/val]", "val"),
    ("train:\n- images/val\n- val/images", "val"),
    ("train: lists/val.txt", "val"),
    ("train: C:\\set\\valid\\images", "val"),
    ("val: images/train", "train"),
    ("val: ../Training/images", "train"),
    ("val: images/train2017", "train"),
    ("test: ./images/train", "train"),
    ("test: images/val", "val"),
]


@pytest.mark.parametrize("layout", SOME_LAYOUTS)
@pytest.mark.parametrize(("line", "part"), OTHER_PATHS)
def test_a_path_to_another_part_is_refused(write_tree, layout, line, part):
    path = write_tree("set", yolo(layout, ("train", "val", "test"), f"names: [cat]\n{line}\n"))
    message = refusal(path)
    assert message.startswith(f"{path / 'data.yaml'}: {line.partition(':')[0]}: ")
    assert f"names the part '{part}'" in message


VALID_PATHS = [
    "train: images/train\nval: images/val\ntest: images/test",
    "train: ../train/images\nval: ../valid/images\ntest: ../test/images",
    "path: /home/val/sets\ntrain: images/train\nval: images/val",
    "train: /home/test/sets/me/images/train",
    "train: [images/train2012, images/val2012]\nval: [images/test2007]",  # as in Ultralytics' VOC.yaml
    "train: images\nval: images",
    "train: train2017.txt\nval: val2017.txt",
    "train: images/trainval",
    "val: images/test",
    "train:\nval: 3\ntest: {}",
]


@pytest.mark.parametrize("layout", SOME_LAYOUTS)
@pytest.mark.parametrize("lines", VALID_PATHS)
def test_paths_to_the_parts_of_their_keys_are_read(write_tree, layout, lines):
    path = write_tree("set", yolo(layout, ("train", "val", "test"), f"names: [cat]\n{lines}\n"))
    assert [len(part) for part in load(path)] == [COUNT, COUNT]
    assert not [fault for fault in lint(path).faults if fault.effect == "refused"]


def test_a_path_to_another_part_is_read_without_a_folder_of_its_own(write_tree):
    settings = "names: [cat]\ntrain: images/train2017\nval: images/train2017\n"  # as in Ultralytics' coco128.yaml
    path = write_tree("set", yolo(parts=("train2017",), settings=settings))
    assert sum(map(len, load(path))) == COUNT


@pytest.mark.parametrize("layout", SOME_LAYOUTS)
@pytest.mark.parametrize("removed", [1, 3, COUNT])
@pytest.mark.parametrize("part", ["train", "val"])
def test_label_files_without_an_image_are_refused_or_skipped(write_tree, layout, removed, part):
    files = yolo(layout)
    for i in range(removed):
        del files[paths(layout, part, f"{part}_{i}")[0]]
    path = write_tree("set", files)
    message = refusal(path)
    label = path / paths(layout, part, f"{part}_0")[1]
    assert message.startswith(f"{label}: has objects, but no image has its name; add the image, or remove the file")
    faults = [fault for fault in lint(path).faults if fault.is_image]
    assert len(faults) == removed
    if removed < COUNT:
        source = DetectionFolder(path, part, on_error="skip")
        assert len(source) == COUNT - removed
        assert len(source.skipped) == removed


@pytest.mark.parametrize("layout", SOME_LAYOUTS)
def test_other_text_files_and_empty_label_files_are_no_missing_images(write_tree, layout):
    files = yolo(layout)
    folder = paths(layout, "train", "x")[1].rpartition("/")[0]
    files |= {f"{folder}/classes.txt": b"cat\n", f"{folder}/readme.txt": b"five words are in it\n"}
    files |= {f"{folder}/empty.txt": b"", f"{folder}/list.txt": b"a.png\n", "runs/exp/labels/a.txt": LINE}
    path = write_tree("set", files)
    assert [len(part) for part in load(path)] == [COUNT, COUNT]
    assert not [fault for fault in lint(path).faults if fault.effect == "refused"]


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}", "\n- cat\n- dog"])
@pytest.mark.parametrize("count", [0, 1, 3, 80])
def test_another_number_of_classes_than_names_is_refused(write_tree, names, count):
    path = write_tree("set", yolo(settings=f"nc: {count}\nnames: {names}\n"))
    message = refusal(path)
    assert f"data.yaml: nc is {count}, but names has 2 classes, cat, dog; correct nc, or the names" in message
    path = write_tree("valid", yolo(settings=f"nc: 2\nnames: {names}\n"))
    assert load(path)[0].classes == ("cat", "dog")


@pytest.mark.parametrize("names", [("disc", "Disc"), ("CAT", "dog", "cat"), ("ä", "Ä")])
def test_classes_that_differ_only_in_case_are_noted(write_tree, names, capsys):
    note_first_time.cache_clear()
    path = write_tree("set", yolo(settings=f"names: {json.dumps(names, ensure_ascii=False)}\n"))
    assert load(path)[0].classes == names
    text = "differ only in case, and are read as different classes"
    assert text in capsys.readouterr().err
    assert any(text in fault.reason for fault in lint(path).faults)
    path = write_tree(
        "xml",
        {f"{name}.png": picture(k) for k, name in enumerate("abcdef")}
        | {f"{name}.xml": voc_xml((names[k % 2], 2, 4, 12, 14, 0)) for k, name in enumerate("abcdef")},
    )
    assert any(text in fault.reason for fault in lint(path).faults) == (names[0].lower() == names[1].lower())


def coco(files, part):
    """Return a COCO file of a part's images."""
    names = [name for name in files if name.endswith(".png") and f"{part}_" in name]
    images = [
        {"id": k, "file_name": name.rpartition("/")[2], "height": 20, "width": 30} for k, name in enumerate(names)
    ]
    items = [{"id": k, "image_id": k, "category_id": 1, "bbox": [2, 4, 9, 9]} for k in range(len(names))]
    return json.dumps({"images": images, "annotations": items, "categories": [{"id": 1, "name": "cat"}]}).encode()


@pytest.mark.parametrize("images", ["images", "img", ""])
@pytest.mark.parametrize("other", ["train.json", "annotations/instances_train.json", "annotations.json"])
@pytest.mark.parametrize("settings", [True, False])
def test_annotations_of_another_format_are_noted(write_tree, images, other, settings, capsys):
    files = {f"{images}/train/train_{i}.png".lstrip("/"): picture(i) for i in range(COUNT)}
    files |= {other: coco(files, "train")} | {f"labels/train/train_{i}.txt": LINE for i in range(COUNT)}
    if settings:
        files["data.yaml"] = b"names: [cat]\n"
    path = write_tree("set", files)
    load(path)
    text = f"{path / 'labels/train/train_0.txt'} is an annotation of yolo, which is not read, since there are those of "
    assert f"{text}coco (6 files)" in capsys.readouterr().err
    assert any("is an annotation of yolo, which is not read" in fault.reason for fault in lint(path).faults)
