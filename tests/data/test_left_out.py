"""Which of several files is the image, and files of a data set that are not read."""

import json

import numpy as np
import pytest

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_first_time
from pellucid.cli.main import main
from pellucid.data import DetectionFolder, load_splits
from pellucid.data.annotations import read_annotations
from pellucid.data.tree import open_tree
from pellucid.recipe.checked.reading import read_collection
from pellucid.recipe.material import load_material
from pellucid.recipe.tables import Data
from tests.data.annotations.sets import voc_xml
from tests.data.pictures import grey_bytes, picture_bytes

IMAGE, DRAWING = picture_bytes((200, 9, 9), (30, 20)), picture_bytes((9, 9, 200), (30, 20))
XML = voc_xml(("cat", 2, 4, 12, 14, 0))
SHAPE = {"label": "cat", "shape_type": "rectangle", "points": [[2, 4], [12, 14]]}
LABELME = json.dumps({"imagePath": "a.png", "shapes": [SHAPE]}).encode()


@pytest.fixture(autouse=True)
def each_note_is_new():
    note_first_time.cache_clear()


# The path of the annotation, of the image, and of other files with the same name.
LAYOUTS = {
    "labelme's export": ("Annotations/a.xml", "JPEGImages/a.png", ["AnnotationsVisualization/a.jpg"]),
    "voc": ("Annotations/a.xml", "JPEGImages/a.png", ["SegmentationClass/a.png", "SegmentationObject/a.png"]),
    "drawings below": ("Annotations/a.xml", "JPEGImages/a.png", ["Annotations/drawn/a.png"]),
    "in a set": ("set/Annotations/a.xml", "set/JPEGImages/a.png", ["set/Vis/a.png", "other/a.png"]),
    "years": ("2012/Annotations/a.xml", "2012/JPEGImages/a.png", ["2007/JPEGImages/a.png", "2012/Masks/a.png"]),
    "beside": ("photos/a.xml", "photos/a.png", ["drawn/a.png", "images/a.png"]),
    "images": ("xml/a.xml", "images/a.png", ["overlays/a.png", "masks/a.png"]),
    "parts": ("train/xml/a.xml", "train/Images/a.png", ["test/Images/a.png", "train/vis/a.png"]),
    "labelme": ("a.json", "a.png", ["a_json/label_viz/a.png", "JPEGImages/a.png"]),
    "labelme in folders": ("data/a.json", "data/a.png", ["voc/JPEGImages/a.png", "voc/Vis/a.png"]),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_image_is_found_among_other_files_of_its_name(write_tree, kind):
    annotation, image, others = LAYOUTS[kind]
    content = XML if annotation.endswith(".xml") else LABELME
    files = {annotation: content, image: IMAGE, **dict.fromkeys(others, DRAWING)}
    with open_tree(write_tree("set", files)) as tree:
        annotations = read_annotations(tree, "train" if kind == "parts" else "")
    assert annotations.faults == ()
    assert [record.image for record in annotations.records] == [image]


def test_several_equally_close_images_are_refused(write_tree):
    files = {"xml/a.xml": XML, "one/a.png": IMAGE, "two/a.png": DRAWING}
    with pytest.raises(PellucidError, match=r"image of 'a' is found as one/a\.png and two/a\.png"):
        DetectionFolder(write_tree("set", files))


@pytest.mark.real
def test_labelmes_own_export_is_read(real_data):
    source = DetectionFolder(real_data("wild/labelme/boxes/data_dataset_voc"))
    assert {name.split("/")[0] for name in source.names} == {"JPEGImages"}
    assert sum(len(record.instances) for record in source.records) == 9


SMALL = picture_bytes((1, 2, 3))
NOISE = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32, 3), np.uint8)  # images that are no duplicates
CLASSES = {f"{label}/{k}.png": grey_bytes(NOISE[i, k]) for i, label in enumerate(("cat", "dog")) for k in range(3)}
# Files that are not read, by where they are, and the words of the note; for a set with and without parts.
LEFT_OUT = {
    "video": (["cat/a.webm", "dog/b.MP4"], "2 files in class folders without the suffix of an image (.mp4, .webm)"),
    "raw": (["cat/a.cr2", "cat/deep/b.dcm", "dog/c"], "(.cr2, .dcm, no suffix)"),
    "hidden": (["cat/.a.png", "dog/.thumbs/b.jpg"], "2 images with a hidden name"),
    "outside": (["a.png"], "1 image outside class folders"),
}


@pytest.mark.parametrize("has_parts", [False, True])
@pytest.mark.parametrize("name", ["set", "set.zip"])
@pytest.mark.parametrize("kind", LEFT_OUT)
def test_files_in_class_folders_that_are_not_read_are_counted(write_tree, capsys, kind, name, has_parts):
    names, words = LEFT_OUT[kind]
    train = CLASSES | dict.fromkeys(names, CLASSES["cat/0.png"])
    files = {f"{'train/' * has_parts}{file}": data for file, data in train.items()}
    files |= {f"test/{label}/{k}.png": grey_bytes(255 - NOISE[k, 1]) for k, label in enumerate(("cat", "dog"))}
    files = files if has_parts else {file: data for file, data in files.items() if not file.startswith("test/")}
    path = write_tree(name, files)
    for read in (
        lambda: load_splits(path),
        lambda: load_material(Data(str(path), size=8, stream=True), 0),
        lambda: read_collection(path, 8),
    ):
        note_first_time.cache_clear()
        read()
        error = capsys.readouterr().err
        assert f"pellucid: {path}: not read: " in error
        assert words in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    "names",
    [["README.md"], ["cat/Thumbs.db", "dog/.DS_Store"], ["cat/._1.png"], ["cat/deep/9.png"], ["__MACOSX/cat/._1.png"]],
)
def test_files_of_desktop_systems_and_of_subfolders_are_no_news(write_tree, capsys, names):
    splits = load_splits(write_tree("set.zip", CLASSES | dict.fromkeys(names, SMALL)), size=8)
    assert len(splits.train) + len(splits.test) == 6 + ("cat/deep/9.png" in names)
    assert capsys.readouterr().err == ""


def test_links_to_folders_below_are_counted(write_tree, capsys):
    path = write_tree("set", CLASSES)
    (path / "cat/more").symlink_to(write_tree("elsewhere", {"1.png": SMALL}))
    assert len(load_splits(path).train) == 4
    assert f"{path}: not read: 1 link to a folder\n" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["cat", "dog", "cat/.", ".", ".."])
@pytest.mark.parametrize("is_absolute", [False, True])
@pytest.mark.parametrize("name", ["kitty", "a", "train"])
def test_a_link_to_a_folder_of_the_same_data_is_no_class(write_tree, capsys, target, is_absolute, name):
    path = write_tree("set", CLASSES)
    (path / name).symlink_to(path / target if is_absolute else target)
    splits = load_splits(path, size=8)
    assert splits.train.classes == ("cat", "dog")
    assert len(splits.train) + len(splits.test) == 6
    assert f"{path}: not read: 1 link to a folder\n" in capsys.readouterr().err


def test_links_to_folders_outside_are_read_once(write_tree, capsys):
    """Parts and classes on another disk are linked in this way."""
    path, outside = write_tree("set", CLASSES), write_tree("disk", {f"birds/{k}.png": SMALL for k in range(3)})
    (path / "bird").symlink_to(outside / "birds")
    (path / "duck").symlink_to(outside / "birds")
    assert load_splits(path, size=8).train.classes == ("bird", "cat", "dog")
    assert f"{path}: not read: 1 link to a folder\n" in capsys.readouterr().err


@pytest.mark.parametrize(("depth", "count"), [(1, 1), (1, 3), (3, 2)])
def test_predictions_for_a_folder_say_what_they_leave_out(write_tree, capsys, depth, count):
    files = {f"{'sub/' * depth}{k}.png": SMALL for k in range(count)} | {"sub/.hidden.png": SMALL, "sub/notes.txt": b""}
    folder = write_tree("photos", files | {"a.png": SMALL})
    left_out = f"{count} image{'s' * (count > 1)} in subfolders, such as {'sub/' * depth}0.png"
    assert main(["predict", "cifar", str(folder)]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"pellucid: {folder}: not read: {left_out}\n"
    assert captured.out.count("a.png") == 1
    (folder / "a.png").unlink()
    assert main(["predict", "cifar", str(folder)]) == 2
    assert f"{folder} contains no images; it has {left_out}; give a subfolder\n" in capsys.readouterr().err
