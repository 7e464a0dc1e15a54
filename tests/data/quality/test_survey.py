"""One pass over files: what comes out is what the loaders give, and what could not be read is listed."""

import hashlib

import pytest
import torch
from PIL import Image

from pellucid.data import load_folder
from pellucid.data.quality import sharpness, survey
from pellucid.data.tree import open_tree
from pellucid.errors import PellucidError
from tests.data.quality.photos import file_of, photo, small

FILES = {
    "cat/a.png": file_of(photo(0)),
    "cat/b.jpg": file_of(photo(1), "JPEG", quality=90),
    "dog/c.png": file_of(photo(2).convert("L")),
    "dog/tiny.png": file_of(Image.new("RGB", (2, 1), (9, 9, 9))),
}
BAD = {"cat/broken.png": FILES["cat/a.png"][:200], "dog/empty.jpg": b"", "dog/notes.txt": b"hello"}


@pytest.mark.parametrize("name", ["plain", "packed.zip"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pictures_are_those_of_the_loader(tree, name, mode):
    path = tree(name, FILES | BAD)
    with open_tree(path) as files:
        seen = survey(files, files.names, (24, 30), mode)
    loaded = load_folder(path, (24, 30), mode, on_error="skip")
    assert torch.equal(seen.x, loaded.x)
    assert seen.files == tuple(FILES)
    assert [one.file for one in seen.corrupt] == list(BAD)
    assert len(loaded.skipped) == len(seen.corrupt)


def test_checks_get_the_picture_in_its_own_size(tree):
    with open_tree(tree("plain", FILES)) as files:
        seen = survey(files, files.names, (8, 8))
    assert torch.equal(seen.small[0], small(photo(0)))
    whole = torch.frombuffer(bytearray(photo(0).convert("L").tobytes()), dtype=torch.uint8).reshape(120, 160)
    assert float(seen.sharpness[0]) == pytest.approx(sharpness(whole))
    assert float(seen.sharpness[3]) == 0, "too small to tell"
    assert list(seen.digests) == [hashlib.sha256(data).digest() for data in FILES.values()]


def test_large_pictures_are_looked_at_in_256_pixels(tree):
    large = photo(3).resize((1600, 1200), Image.Resampling.NEAREST)
    with open_tree(tree("plain", {"a/large.png": file_of(large)})) as files:
        seen = survey(files, files.names, (8, 8))
    working = large.convert("L").resize((256, 192), Image.Resampling.BILINEAR)
    expected = sharpness(torch.frombuffer(bytearray(working.tobytes()), dtype=torch.uint8).reshape(192, 256))
    assert float(seen.sharpness[0]) == pytest.approx(expected)


def test_reasons_do_not_repeat_the_file(tree):
    with open_tree(tree("plain", FILES | BAD)) as files:
        reasons = {one.file: one.reason for one in survey(files, files.names, (8, 8)).corrupt}
    assert reasons["dog/empty.jpg"] == "is empty; replace it by a picture"
    assert reasons["cat/broken.png"].startswith("is damaged or cannot be decoded (")
    assert "is not a picture" in reasons["dog/notes.txt"]


def test_progress_ends_at_all(tree):
    told: list[tuple[int, int]] = []
    with open_tree(tree("plain", FILES | BAD)) as files:
        survey(files, files.names, (8, 8), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (7, 7)


def test_nothing_readable_and_too_much_are_errors(tree, monkeypatch):
    with (
        open_tree(tree("bad", BAD)) as files,
        pytest.raises(PellucidError, match=r"none of its 3 .*cat/broken\.png is"),
    ):
        survey(files, files.names, (8, 8))
    monkeypatch.setitem(survey.__globals__, "MEMORY_LIMIT", 4 * 3 * 8 * 8 - 1)
    with open_tree(tree("good", FILES)) as files, pytest.raises(PellucidError, match="4 images of 8x8 do not fit"):
        survey(files, files.names, (8, 8))
