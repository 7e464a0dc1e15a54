"""Classes and splits found in a tree of files."""

import stat
import zipfile
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.data.class_folders import class_of, class_parts, classes_of, files_of, root_of
from pellucid.data.tree import open_tree


def test_splits_and_classes_are_found_inside_one_enclosing_folder(write_tree):
    names = ["set/train/cat/a.png", "set/train/dog/deep/b.png", "set/val/cat/c.png", "set/train/README"]
    with open_tree(write_tree("wrapped.zip", dict.fromkeys(names, b"x"))) as files:
        root = root_of(files)
        assert root == "set/"
        assert class_parts(files, root) == ("train", "val", ())
        assert classes_of(files, "set/train/") == ("cat", "dog")
        assert files_of(files, "set/train/") == ["set/train/cat/a.png", "set/train/dog/deep/b.png"]
        assert class_of("set/train/dog/deep/b.png", "set/train/") == "dog"


def test_classes_are_the_folders_of_a_tree_without_splits(write_tree):
    with open_tree(write_tree("plain", {"cat/a.png": b"x", "dog/b.png": b"x", "README": b"x"})) as files:
        assert root_of(files) == ""
        assert class_parts(files, "") == (None, None, ())
        assert classes_of(files, "") == ("cat", "dog")


def test_a_tree_without_class_folders_is_refused(write_tree):
    with (
        open_tree(write_tree("flat", {"a.png": b"x"})) as files,
        pytest.raises(PellucidError, match="no class folders"),
    ):
        classes_of(files, "")


@pytest.mark.parametrize(
    "name",
    ["/cat/a.png", "//cat/a.png", "cat//a.png", "../cat/a.png", "cat/../../a.png", "./cat/a.png", "C:/cat/a.png",
     "C:cat/a.png", "cat\\a.png", "..\\cat\\a.png", "/", "../"],
)  # fmt: skip
def test_a_zip_with_a_name_outside_itself_is_refused(write_tree, name):
    root = write_tree("packed.zip", {"dog/b.png": b"x", name: b"x"})
    with (
        pytest.raises(PellucidError, match="whose name is not a path inside it; make the zip again") as info,
        open_tree(root),
    ):
        pass
    assert "\n" not in str(info.value)


def test_a_symbolic_link_in_a_zip_is_refused(write_tree):
    root = write_tree("packed.zip", {"dog/b.png": b"x"})
    link = zipfile.ZipInfo("dog/c.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(root, "a") as packed:
        packed.writestr(link, "/etc/passwd")
    with pytest.raises(PellucidError, match=r"'dog/c.png', which is a symbolic link"), open_tree(root):
        pass


@pytest.mark.parametrize("name", ["plain", "packed.zip"])
def test_an_empty_class_folder_is_refused(write_tree, name):
    root = write_tree(name, {"train/cat/a.png": b"x", "train/dog/b.png": b"x"})
    if root.is_dir():
        (root / "train" / "eel").mkdir()
        (root / "train" / "eel" / ".DS_Store").write_bytes(b"litter")
        (root / "train" / ".cache").mkdir()
    else:
        with zipfile.ZipFile(root, "a") as packed:
            packed.mkdir("train/eel")
            packed.mkdir("train/.cache")
    with open_tree(root) as files, pytest.raises(PellucidError, match="train/eel is a class folder without images"):
        classes_of(files, "train/")


def test_a_settings_file_on_another_drive_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows no relative path leads from one drive to another."""

    def relpath(path: Path, start: Path) -> str:
        raise ValueError(f"path is on mount {path!r}, start on mount {start!r}")

    data = tmp_path / "data"
    data.mkdir()
    settings = tmp_path / "data.yaml"
    settings.write_text(f"path: {data}\n")
    monkeypatch.setattr("os.path.relpath", relpath)
    with open_tree(settings) as tree:
        assert tree.path == data
        assert tree.document(tree.settings) == settings.read_bytes()
