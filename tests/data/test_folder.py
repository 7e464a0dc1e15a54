"""Image folders, plain or zipped, in common layouts."""

import os
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import load_folder, load_splits
from tests.data.pictures import picture_bytes

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
CLASS_FILES = {
    "cat/b.png": picture_bytes(GREEN),
    "cat/a.png": picture_bytes(RED),
    "dog/deep/c.bmp": picture_bytes(BLUE, kind="BMP"),
}
SPLIT_FILES = {
    "train/cat/a.png": picture_bytes(RED),
    "train/dog/b.png": picture_bytes(GREEN),
    "val/dog/c.png": picture_bytes(BLUE),
}


@pytest.mark.parametrize("name", ["plain", "packed.zip"])
def test_classes_are_folders_and_the_order_is_sorted(write_tree, name):
    data = load_folder(write_tree(name, CLASS_FILES))
    assert data.classes == ("cat", "dog")
    assert data.y.tolist() == [0, 0, 1]
    assert tuple(data.x.shape) == (3, 3, 4, 6)
    assert data.x[:, :, 0, 0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert data.skipped == ()


def test_a_folder_of_masks_is_not_a_class(tmp_path):
    for name in ("train", "trainannot"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"")
    with pytest.raises(PellucidError, match=r"has masks in trainannot for the images in train; .*load_masks"):
        load_folder(tmp_path)


def test_a_folder_and_its_zip_give_equal_data(write_tree):
    assert (
        load_folder(write_tree("plain", CLASS_FILES)).checksum
        == load_folder(write_tree("packed.zip", CLASS_FILES)).checksum
    )


def test_an_integer_size_gives_square_images(write_tree):
    path = write_tree("plain", CLASS_FILES)
    assert torch.equal(load_folder(path, size=8).x, load_folder(path, size=(8, 8)).x)
    assert load_splits(path, 8, on_error="skip").train.x.shape[2:] == (8, 8)
    for size in ("8", 0, True, (8,), 8.0, (8, "8")):
        with pytest.raises(PellucidError, match=r"image size .*; give \(height, width\) in pixels, or one number"):
            load_folder(path, size=size)


def test_images_have_the_given_size_and_mode(write_tree):
    data = load_folder(write_tree("plain", CLASS_FILES), size=(8, 5), mode="L")
    assert tuple(data.x.shape) == (3, 1, 8, 5)
    assert data.x[:, 0, 0, 0].tolist() == [76, 150, 29]  # luma of the three colours


@pytest.mark.parametrize("name", ["plain", "packed.zip"])
def test_folders_train_and_val_are_the_splits(write_tree, name):
    parts = load_splits(write_tree(name, SPLIT_FILES))
    assert parts.train.y.tolist() == [0, 1]
    assert parts.test.y.tolist() == [1]
    assert parts.train.classes == parts.test.classes == ("cat", "dog")
    assert parts.test.x[0, :, 0, 0].tolist() == [0, 0, 255]


def test_the_folder_test_is_preferred_to_val(write_tree):
    parts = load_splits(write_tree("both", SPLIT_FILES | {"test/cat/d.png": picture_bytes(RED)}))
    assert parts.test.y.tolist() == [0]


def test_an_enclosing_folder_is_skipped(write_tree):
    parts = load_splits(write_tree("wrapped.zip", {f"set/{name}": data for name, data in SPLIT_FILES.items()}))
    assert (len(parts.train), len(parts.test)) == (2, 1)


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_without_a_test_part_a_fifth_is_held_out(write_tree, prefix):
    files = {f"{prefix}{c}/{i:02}.png": picture_bytes((i, 0, k)) for k, c in enumerate("ab") for i in range(10)}
    parts = load_splits(write_tree("plain", files))
    assert torch.bincount(parts.train.y).tolist() == [8, 8]
    assert torch.bincount(parts.test.y).tolist() == [2, 2]


def test_a_class_folder_may_be_named_train(write_tree):
    files = {f"{c}/{i}.png": picture_bytes(RED) for c in ("train", "car") for i in range(2)}
    assert load_splits(write_tree("vehicles", files)).train.classes == ("car", "train")


def test_hidden_files_and_files_outside_class_folders_are_ignored(write_tree):
    ignored_files = {
        "README.md": b"x",
        ".git/x/y": b"x",
        "cat/.DS_Store": b"x",
        "__MACOSX/cat/._a.png": b"x",
        "cat/Thumbs.db": b"",
    }
    assert len(load_folder(write_tree("plain.zip", CLASS_FILES | ignored_files))) == 3


CLASS_FILES_WITH_BROKEN = CLASS_FILES | {"dog/broken.png": CLASS_FILES["cat/a.png"][:40], "dog/text.png": b"hello"}


@pytest.mark.parametrize("name", ["plain", "packed.zip"])
def test_an_unreadable_image_is_an_error_or_is_listed(write_tree, name):
    path = write_tree(name, CLASS_FILES_WITH_BROKEN)
    with pytest.raises(PellucidError, match=r"dog/broken\.png"):
        load_folder(path)
    data = load_folder(path, on_error="skip")
    assert data.y.tolist() == [0, 0, 1]
    assert [where.rsplit("/", 1)[1] for where in data.skipped] == ["broken.png", "text.png"]


def test_a_folder_without_readable_images_is_an_error_even_when_skipping(write_tree):
    with pytest.raises(PellucidError, match="none of its 1 images"):
        load_folder(write_tree("plain", {"cat/a.png": b"no"}), on_error="skip")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.png": b""}, "no class folders"),
        (CLASS_FILES | {"cat/wide.png": picture_bytes(RED, (7, 4))}, r"wide\.png is 4x7 but .*give a size"),
    ],
)
@pytest.mark.parametrize("name", ["plain", "packed.zip"])
def test_folders_without_classes_are_refused(write_tree, name, files, message):
    with pytest.raises(PellucidError, match=message):
        load_folder(write_tree(name, files))


def test_splits_with_different_classes_are_refused(write_tree):
    with pytest.raises(PellucidError, match="load_splits"):
        load_folder(write_tree("a", SPLIT_FILES))
    with pytest.raises(PellucidError, match="fox is a class that is not in train/"):
        load_splits(write_tree("b", SPLIT_FILES | {"val/fox/a.png": picture_bytes(RED)}))
    with pytest.raises(PellucidError, match="4x6 but test images are 4x7"):
        load_splits(write_tree("c", SPLIT_FILES | {"val/dog/c.png": picture_bytes(RED, (7, 4))}))


def test_arguments_are_checked(write_tree, tmp_path):
    with pytest.raises(PellucidError, match="on_error"):
        load_folder(write_tree("a", CLASS_FILES), on_error="ignore")
    with pytest.raises(PellucidError, match="mode"):
        load_folder(write_tree("a", CLASS_FILES), mode="HSV")
    with pytest.raises(PellucidError, match="is missing"):
        load_folder(tmp_path / "none")


def test_a_file_that_is_not_a_zip_is_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK no")
    with pytest.raises(PellucidError, match=r"a\.zip is not a readable zip"):
        load_folder(tmp_path / "a.zip")


def test_an_encrypted_member_is_refused(write_tree):
    path = write_tree("secret.zip", CLASS_FILES)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the encryption flag in the central directory
    path.write_bytes(data)
    with pytest.raises(PellucidError, match="is encrypted"):
        load_folder(path)


def test_a_member_with_a_too_large_declared_size_is_refused_unread(write_tree):
    path = write_tree("bomb.zip", {"cat/a.png": b"abc"})
    data = bytearray(path.read_bytes())
    offset = data.index(b"PK\x01\x02") + 24
    data[offset : offset + 4] = struct.pack("<I", 1 << 30)
    path.write_bytes(data)
    with pytest.raises(PellucidError, match=r"cat/a\.png declares 1073741824 bytes"):
        load_folder(path)


def test_a_member_longer_than_its_declared_size_is_refused(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/a.png", bytes(50 << 20))
    data = bytearray(path.read_bytes())
    offset = data.index(b"PK\x01\x02") + 24
    data[offset : offset + 4] = struct.pack("<I", 1000)
    path.write_bytes(data)
    with pytest.raises(PellucidError, match=r"cat/a\.png"):
        load_folder(path)


def test_two_members_of_one_name_are_refused(tmp_path):
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/a.png", picture_bytes(RED))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("cat/a.png", picture_bytes(GREEN))
    with pytest.raises(PellucidError, match="two files of the same name"):
        load_folder(path)


@pytest.mark.real
def test_the_signs_data_set_has_its_published_counts(real_data):
    parts = load_splits(real_data("signs"), size=(32, 32))
    assert (len(parts.train), len(parts.test)) == (1428, 309)
    assert parts.train.classes == tuple("0123456789")


def test_a_class_that_cannot_be_listed_is_reported_and_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replace os.scandir by a function that fails, since the root user may list every folder."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(picture_bytes(RED))
    real_scandir = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PellucidError, match=r"cannot be listed.*check its permissions"):
        load_folder(tmp_path)
