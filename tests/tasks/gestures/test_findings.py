"""What people and programs read of a collection."""

import json

import pytest
from PIL import ImageFilter

from pellucid.command.out import plain
from pellucid.tasks.gestures.findings import findings_to_json, lines
from pellucid.tasks.gestures.reading import read_collection
from tests.data.quality.photos import file_of, photo


@pytest.fixture
def found(tree):
    """Two classes of twelve with two damaged files, a copy in the other class, the same bytes twice, and blur."""
    files = {f"{name}/{k:02}.png": file_of(photo(12 * c + k)) for c, name in enumerate("ab") for k in range(12)}
    files |= {"a/x.png": b"", "b/y.png": b"no"}
    files |= {"b/near.jpg": file_of(photo(2), "JPEG", quality=70), "a/same.png": files["a/05.png"]}
    files["b/07.png"] = file_of(photo(19).filter(ImageFilter.GaussianBlur(2)))
    return read_collection(tree("mine", files), 16)


def test_the_text_lists_all_findings(found):
    text = lines(found)
    assert text[0].endswith("mine: 26 images of 2 classes; train 20, test 6 (split here, near duplicates on one side)")
    rows = [line.split() for line in text[1:4]]
    assert rows[0] == ["class", "train", "test"]
    assert [[int(n) for n in row[1:]] for row in rows[1:]] == [
        [train, test] for train, test in zip(found.train.counts(), found.test.counts(), strict=True)
    ]
    rest = text[4:]
    assert rest[0] == "2 files cannot be read and are left out:"
    assert rest[1].startswith("  a/x.png is empty")
    assert rest[3] == "4 images in 2 groups of near duplicates, 1 pair with the same bytes:"
    assert rest[4].startswith("  a/02.png  b/near.jpg  correlation "), "what matters most comes first"
    assert rest[5] == "  a/05.png  a/same.png  same bytes"
    assert rest[6] == "1 image looks blurry:"
    assert rest[7].startswith("  b/07.png  sharpness 0.")
    assert rest[8].startswith("warning: 1 pair is of near duplicates in two classes, such as a/02.png and b/near.jpg")
    assert len(rest) == 9


def test_json_holds_every_file(found):
    value = json.loads(json.dumps(findings_to_json(found)))
    assert value == plain(findings_to_json(found))
    assert (value["corrupt"], value["duplicate_groups"], value["duplicate_images"], value["blurry"]) == (2, 2, 4, 1)
    assert value["images"] == {"train": 20, "test": 6}
    assert [row["class"] for row in value["classes"]] == ["a", "b"]
    assert [row["train"] + row["test"] for row in value["classes"]] == [13, 13]
    assert {tuple(pair["files"]): pair["exact"] for pair in value["duplicates"]} == {
        ("a/02.png", "b/near.jpg"): False,
        ("a/05.png", "a/same.png"): True,
    }
    assert value["held_out_files"] == list(found.test.files)
    assert not value["given_parts"]


def test_long_lists_are_cut_with_their_number(tree):
    files = {f"{name}/{k}.png": file_of(photo(2 * c + k)) for c, name in enumerate("ab") for k in range(2)}
    collection = read_collection(tree("mine", files | {f"a/bad{k}.png": b"" for k in range(8)}), 16)
    text = lines(collection)
    assert text.count("  and 3 more files") == 1
    assert sum("is empty" in line for line in text) == 5
    assert len(findings_to_json(collection)["corrupt_files"]) == 8
