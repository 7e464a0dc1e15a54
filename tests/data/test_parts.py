"""Parts of data sets in every spelling are used alike, and unused or unknown parts are named."""

import itertools
import json
import unicodedata

import pytest

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_first_time
from pellucid.data import DetectionFolder, ImageFolder, load_objects, load_splits
from pellucid.data.annotations.formats import find_format
from pellucid.data.parts import parts_among, standard_part
from pellucid.data.tree import open_tree
from pellucid.recipe.material import load_material
from pellucid.recipe.material import load_splits as load_mask_splits
from pellucid.recipe.tables import Data
from tests.data.annotations.sets import voc_xml
from tests.data.pictures import grey_bytes, picture_bytes

TRAIN_NAMES = ("train", "Train", "TRAIN", "training", "Training", "train1", "train_2017", "trainset", "Training Set",
               "train_images", "TrainData")  # fmt: skip
TEST_NAMES = ("test", "Test", "testing", "TESTING", "test1", "test-set", "testdata", "Test Images")
VALIDATION_NAMES = ("val", "Val", "VAL", "valid", "Validation", "val2017", "valset", "validation_data")
OTHER_NAMES = ("dev", "test tube", "training wheels", "contest", "holdout", "extra", "trains", "invalid", "data", "1")
COLOURS = {"train": (255, 0, 0), "test": (0, 255, 0), "val": (0, 0, 255), "dev": (9, 9, 9)}


@pytest.fixture(autouse=True)
def each_note_is_new():
    note_first_time.cache_clear()


def class_folders(**folders: str) -> dict[str, bytes]:
    """Return the files of a data set of class folders; folders: the folder of each key of COLOURS."""
    return {
        f"{folder}/{label}/{k}.png": picture_bytes(COLOURS[part])
        for part, folder in folders.items()
        for label in ("cat", "dog")
        for k in range(2)
    }


def masks(**folders: str) -> dict[str, bytes]:
    """Return the files of a data set of masks, like `class_folders`."""
    files: dict[str, bytes] = {}
    for part, folder in folders.items():
        for k in range(2):
            files[f"{folder}/{k}.png"] = picture_bytes(COLOURS[part])
            files[f"{folder}annot/{k}.png"] = grey_bytes([[0, 1, 1], [1, 0, 0]])
            files[f"{folder}/{k}.png"] = picture_bytes(COLOURS[part], (3, 2))
    return files


def yolo(**folders: str) -> dict[str, bytes]:
    """Return the files of a data set in YOLO's format, like `class_folders`."""
    files = {"data.yaml": b"names: [cat]"}
    for part, folder in folders.items():
        files[f"images/{folder}/{part}.png"] = picture_bytes(COLOURS[part])
        files[f"labels/{folder}/{part}.txt"] = b"0 0.5 0.5 0.5 0.5\n"
    return files


def labelme(**folders: str) -> dict[str, bytes]:
    """Return the files of a data set in labelme's format, like `class_folders`."""
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[1, 1], [3, 3]]}
    files: dict[str, bytes] = {}
    for part, folder in folders.items():
        files[f"{folder}/{part}.png"] = picture_bytes(COLOURS[part])
        files[f"{folder}/{part}.json"] = json.dumps({"imagePath": f"{part}.png", "shapes": [shape]}).encode()
    return files


def voc_lists(**lists: str) -> dict[str, bytes]:
    """Return the files of a data set in VOC's format whose parts are lists, like `class_folders`."""
    files: dict[str, bytes] = {"ImageSets/Main/cat_train.txt": b"train 1\n"}
    for part, name in lists.items():
        files[f"JPEGImages/{part}.png"] = picture_bytes(COLOURS[part])
        files[f"Annotations/{part}.xml"] = voc_xml(("cat", 1, 1, 4, 3, 0), size=(4, 6))
        files[f"ImageSets/Main/{name}.txt"] = f"{part}\n".encode()
    return files


def coco(**names: str) -> dict[str, bytes]:
    """Return the files of a data set in COCO's format, like `class_folders`."""
    files: dict[str, bytes] = {}
    for part, name in names.items():
        images = [{"id": 1, "file_name": f"{part}.png"}]
        annotations = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 2]}]
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
        files[f"{name}.json"] = json.dumps(content).encode()
        files[f"images/{part}.png"] = picture_bytes(COLOURS[part])
    return files


ANNOTATIONS = {"yolo": yolo, "labelme": labelme, "voc": voc_lists, "coco": coco}


@pytest.mark.parametrize(
    ("names", "part"), [(TRAIN_NAMES, "train"), (TEST_NAMES, "test"), (VALIDATION_NAMES, "val"), (OTHER_NAMES, "")]
)
def test_spellings_of_parts(names, part):
    assert {standard_part(name).replace("validation", "val").replace("valid", "val") for name in names} == {part}


def test_the_usual_spelling_is_preferred_and_others_are_unused():
    assert parts_among(["train", "Train", "test", "val", "dev"]) == ("train", "test", ("Train", "dev", "val"))
    assert parts_among(["Validation", "training", "test1", "test2"]) == ("training", "test1", ("Validation", "test2"))
    assert parts_among(["trainval", "test"]) == ("trainval", "test", ())
    assert parts_among(["Trainval", "val"]) == ("Trainval", None, ("val",))
    assert parts_among(["trainval", "valid", "testing"]) == ("trainval", "testing", ("valid",))
    assert parts_among(["", "val"]) == ("", "val", ())
    assert parts_among(["test", "val"]) == (None, "test", ("val",))


@pytest.mark.parametrize("name", ["set", "set.zip"])
@pytest.mark.parametrize("held_out", [*TEST_NAMES, *VALIDATION_NAMES])
def test_class_folders_have_parts_in_any_spelling(write_tree, capsys, name, held_out):
    train = TRAIN_NAMES[len(held_out) % len(TRAIN_NAMES)]
    path = write_tree(name, class_folders(train=train, test=held_out))
    splits = load_splits(path)
    assert splits.train.classes == splits.test.classes == ("cat", "dog")
    assert splits.train.x[:, :, 0, 0].unique(dim=0).tolist() == [[255, 0, 0]]
    assert splits.test.x[:, :, 0, 0].unique(dim=0).tolist() == [[0, 255, 0]]
    assert ImageFolder(path, "train").names == ImageFolder(path, train).names
    streamed = load_material(Data(str(path), size=4, stream=True), 0)
    assert (len(streamed.train), len(streamed.test)) == (4, 4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("train", TRAIN_NAMES)
def test_class_folders_with_only_a_training_part_are_split(write_tree, train):
    splits = load_splits(write_tree("set", class_folders(train=train)))
    assert splits.train.classes == ("cat", "dog")
    assert (len(splits.train), len(splits.test)) == (2, 2)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", ["classes", "masks"])
def test_unused_and_unknown_folders_are_named(write_tree, capsys, kind, stream):
    write = class_folders if kind == "classes" else masks
    files = write(train="Train", test="test", val="val", dev="dev") | {"unlabelled/1.png": picture_bytes((1, 2, 3))}
    path = write_tree("set", files)
    load_material(Data(str(path), size=4 if stream else 0, stream=stream), 0)
    assert capsys.readouterr().err == (
        f"pellucid: {path}: 'Train' for training and 'test' for testing; not used: 'dev', 'unlabelled', 'val' "
        "(parts have names such as train, val and test)\n"
    )


@pytest.mark.parametrize("held_out", [("test", "Val"), ("Val", "testing"), ("test",)])
def test_class_folders_without_a_part_to_train_on_are_refused(write_tree, held_out):
    files = {f"{folder}/{label}/1.png": picture_bytes((1, 1, 1)) for folder in held_out for label in ("cat", "dog")}
    with pytest.raises(PellucidError, match="but no part to train on; name its folder train"):
        load_splits(write_tree("set", files))
    with pytest.raises(PellucidError, match="but no part to train on; name its folder train"):
        load_splits(write_tree("more", files | {"dev/cat/1.png": b"", "dev/dog/1.png": b""}))


def test_folders_that_are_classes_remain_classes(write_tree, capsys):
    """Class folders may have the name of a part, also if they have subfolders of their own."""
    files = ["valid/a/1.png", "valid/b/2.png", "invalid/a/3.png", "invalid/4.png", "test tube/5.png", "test tube/6.png"]
    images = {name: picture_bytes((5, 5, 5)) for name in [*files, "invalid/c/7.png"]}
    assert load_splits(write_tree("set", images)).train.classes == ("invalid", "test tube", "valid")
    wrapped = {f"training_data/{name}": data for name, data in class_folders(train="train", test="Test").items()}
    assert load_splits(write_tree("wrapped", wrapped)).train.classes == ("cat", "dog")
    assert capsys.readouterr().err == ""


def test_class_folders_that_differ_in_case_are_noted(write_tree, capsys):
    files = {f"{name}/{k}.png": picture_bytes((40 * k, 9, 90)) for name in ("Cat", "cat", "dog") for k in range(3)}
    path = write_tree("set", files)
    assert load_splits(path).train.classes == ("Cat", "cat", "dog")
    assert "the classes 'Cat', 'cat' differ only in case, and are read as different" in capsys.readouterr().err


def test_folders_with_equal_subfolders_are_classes_with_a_note(write_tree, capsys):
    path = write_tree("set", class_folders(train="first", test="second"))
    assert load_splits(path).train.classes == ("first", "second")
    assert "the classes are the folders first, second, each with the subfolders cat, dog" in capsys.readouterr().err


@pytest.mark.parametrize("train", TRAIN_NAMES)
@pytest.mark.parametrize("held_out", ["Test", "VAL", "testing1"])
def test_masks_have_parts_in_any_spelling(write_tree, train, held_out):
    path = write_tree("set", masks(train=train, test=held_out))
    splits = load_mask_splits(Data(str(path)))
    assert splits.train.x[:, :, 0, 0].tolist() == [[255, 0, 0]] * 2
    assert splits.test.x[:, :, 0, 0].tolist() == [[0, 255, 0]] * 2


@pytest.mark.parametrize("folder", ["trainannot", "TrainAnnot", "train_annot", "TRAINANNOT", "trainingannot"])
def test_mask_folders_are_found_in_any_spelling(write_tree, folder):
    files = {name.replace("Trainannot", folder): data for name, data in masks(train="Train", test="test").items()}
    assert load_mask_splits(Data(str(write_tree("set", files)))).train.classes == ("0", "1")


@pytest.mark.parametrize("kind", ANNOTATIONS)
@pytest.mark.parametrize(("train", "held_out"), [*zip(TRAIN_NAMES, itertools.cycle(TEST_NAMES)), ("train", "VAL")])
def test_annotations_have_parts_in_any_spelling(write_tree, capsys, kind, train, held_out):
    splits = load_objects(write_tree("set", ANNOTATIONS[kind](train=train, test=held_out)))
    assert [int(part.image(0)[:, 0, 0].argmax()) for part in (splits.train, splits.test)] == [0, 1]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ANNOTATIONS)
def test_unused_and_unknown_parts_of_annotations_are_named(write_tree, capsys, kind):
    path = write_tree("set", ANNOTATIONS[kind](train="train", test="test", val="val", dev="dev"))
    load_objects(path)
    unused = "'dev', 'val'" if kind == "voc" else "1 file without a part, such as "
    error = capsys.readouterr().err
    assert f"pellucid: {path}: 'train' for training and 'test' for testing; not used: {unused}" in error
    assert "'val'" in error
    assert "dev" in error


@pytest.mark.parametrize("kind", ANNOTATIONS)
def test_annotations_without_a_part_to_train_on_are_refused(write_tree, kind):
    with pytest.raises(PellucidError, match="but none to train on; name it train"):
        load_objects(write_tree("set", ANNOTATIONS[kind](test="test", val="val")))


def test_trainval_is_trained_on(write_tree, capsys):
    """Sorted by name, test comes before trainval; it must not become the training part."""
    splits = load_objects(write_tree("set", voc_lists(train="trainval", test="test")))
    assert [part.names for part in (splits.train, splits.test)] == [("JPEGImages/train.png",), ("JPEGImages/test.png",)]
    assert capsys.readouterr().err == ""


def test_files_without_a_part_are_trained_on_beside_a_test_part(write_tree, capsys):
    path = write_tree("set", labelme(train="photos", test="test"))
    splits = load_objects(path)
    assert [part.names for part in (splits.train, splits.test)] == [("photos/train.png",), ("test/test.png",)]
    assert "1 file without a part, such as photos/train.json for training and 'test' for testing" in (
        capsys.readouterr().err
    )


def test_photos_named_like_a_part_are_not_one(write_tree):
    shape = {"label": "train", "shape_type": "rectangle", "points": [[1, 1], [3, 3]]}
    names = ("train-1", "bus-2", "test-3", "validation-4", "tram-5")
    files = {f"{name}.png": picture_bytes((1, 1, 1)) for name in names}
    files |= {f"{name}.json": json.dumps({"imagePath": f"{name}.png", "shapes": [shape]}).encode() for name in names}
    with open_tree(write_tree("set", files)) as tree:
        assert [*find_format(tree)[1]] == [""]
    parts = {f"train/{name}": data for name, data in files.items()}
    assert len(DetectionFolder(write_tree("parts", parts), "train")) == 5


def test_files_that_all_have_a_part_in_their_names_are_parts(write_tree):
    files = {f"{name.replace('/', '_')}": data for name, data in labelme(train="train", test="test").items()}
    files = {name: data.replace(b'"train.png', b'"train_train.png').replace(b'"test.png', b'"test_test.png')
             for name, data in files.items()}  # fmt: skip
    splits = load_objects(write_tree("set", files))
    assert [part.names for part in (splits.train, splits.test)] == [("train_train.png",), ("test_test.png",)]


@pytest.mark.parametrize("root", ["", "data/"])
@pytest.mark.parametrize("part", ["", "train/"])
@pytest.mark.parametrize("copy", ["images", "cat", "all of them"])
def test_a_data_set_that_contains_itself_is_refused(write_tree, root, part, copy):
    images = {f"{label}/{k}.png": picture_bytes((k, 1, 1)) for label in ("cat", "dog") for k in range(3)}
    other = {"test/cat/1.png": picture_bytes((9, 9, 9)), "test/dog/1.png": picture_bytes((9, 9, 9))} if part else {}
    files = {f"{part}{name}": data for name, data in images.items()} | other
    assert load_splits(write_tree("whole", {f"{root}{name}": data for name, data in files.items()})).train.classes == (
        "cat",
        "dog",
    )
    files |= {f"{part}{copy}/{name}": data for name, data in images.items()}
    path = write_tree("set", {f"{root}{name}": data for name, data in files.items()})
    with pytest.raises(PellucidError, match="contains the folders cat, dog of other classes, as a copy") as caught:
        load_splits(path)
    assert copy in str(caught.value)


@pytest.mark.parametrize(("train", "held_out"), [("train", "test"), ("Training", "val"), ("TRAIN", "testing")])
def test_parts_inside_class_folders_are_refused(write_tree, train, held_out):
    parts = [(label, part) for label in ("cat", "dog") for part in (train, held_out)]
    files = {f"{label}/{part}/1.png": picture_bytes((1, 1, 1)) for label, part in parts}
    with pytest.raises(PellucidError, match=f"contain the parts .*; put the parts outside, as {train}/cat/IMAGE"):
        load_splits(write_tree("set", files))
    files = {name: data for name, data in files.items() if name != f"dog/{held_out}/1.png"}
    with pytest.raises(PellucidError, match="contain the parts"):
        load_splits(write_tree("uneven", files))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_class_folders_in_either_form_of_accents_are_one_class(write_tree, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    files = {
        f"{part}/{unicodedata.normalize(written, label)}/{k}.png": picture_bytes((9 * k, 1, 1))
        for part, written in (("train", form), ("test", other)) for label in ("Käfer", "Ölçü") for k in range(2)
    }  # fmt: skip
    splits = load_splits(write_tree("set", files))
    assert splits.train.classes == splits.test.classes == ("Käfer", "Ölçü")
    assert splits.train.y.tolist() == splits.test.y.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("system", ["@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"])
def test_folders_of_systems_are_not_read(write_tree, capsys, system):
    files = {f"{label}/{k}.png": picture_bytes((k, 1, 1)) for label in ("cat", "dog") for k in range(3)}
    copies = {f"{system}/{name}": data for name, data in files.items()}
    copies |= {f"cat/{system}/0.png/small.png": picture_bytes((9, 9, 9))}
    splits = load_splits(write_tree("set", files | copies))
    assert (splits.train.classes, len(splits.train) + len(splits.test)) == (("cat", "dog"), 6)
    assert capsys.readouterr().err == ""
