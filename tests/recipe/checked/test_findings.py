"""The text and the JSON of the findings in a collection."""

import json

import pytest
from PIL import ImageFilter

from pellucid.command.out import to_json_types
from pellucid.recipe.checked.findings import finding_lines, findings_to_json
from pellucid.recipe.checked.reading import read_collection
from tests.data.quality.photos import file_of, photo


@pytest.fixture
def collection(tree):
    """Return a collection with damaged files, a near copy in the other class, an exact copy and a blurry picture."""
    files = {f"{name}/{k:02}.png": file_of(photo(12 * c + k)) for c, name in enumerate("ab") for k in range(12)}
    files |= {"a/x.png": b"", "b/y.png": b"no"}
    files |= {"b/near.jpg": file_of(photo(2), "JPEG", quality=70), "a/same.png": files["a/05.png"]}
    files["b/07.png"] = file_of(photo(19).filter(ImageFilter.GaussianBlur(2)))
    return read_collection(tree("mine", files), 16)


def test_the_text_lists_all_findings(collection):
    text_lines = finding_lines(collection)
    assert text_lines[0].endswith(
        "mine: 26 images of 2 classes; train 20, test 6 (split here, near duplicates on one side)"
    )
    rows = [line.split() for line in text_lines[1:4]]
    assert rows[0] == ["class", "train", "test"]
    assert [[int(n) for n in row[1:]] for row in rows[1:]] == [
        [train, test] for train, test in zip(collection.train.counts(), collection.test.counts(), strict=True)
    ]
    findings = text_lines[4:]
    assert findings[0] == "2 files cannot be read and are left out:"
    assert findings[1].startswith("  a/x.png is empty")
    assert findings[3] == "4 images in 2 groups of near duplicates, 1 pair with the same bytes:"
    assert findings[4].startswith("  a/02.png  b/near.jpg  correlation "), "what matters most comes first"
    assert findings[5] == "  a/05.png  a/same.png  same bytes"
    assert findings[6] == "1 image looks blurry:"
    assert findings[7].startswith("  b/07.png  sharpness 0.")
    assert findings[8].startswith(
        "warning: 1 pair is of near duplicates in two classes, such as a/02.png and b/near.jpg"
    )
    assert len(findings) == 9


def test_the_json_lists_every_file(collection):
    values = json.loads(json.dumps(findings_to_json(collection)))
    assert values == to_json_types(findings_to_json(collection))
    assert (values["corrupt"], values["duplicate_groups"], values["duplicate_images"], values["blurry"]) == (2, 2, 4, 1)
    assert values["images"] == {"train": 20, "test": 6}
    assert [row["class"] for row in values["classes"]] == ["a", "b"]
    assert [row["train"] + row["test"] for row in values["classes"]] == [13, 13]
    assert {tuple(pair["files"]): pair["exact"] for pair in values["duplicates"]} == {
        ("a/02.png", "b/near.jpg"): False,
        ("a/05.png", "a/same.png"): True,
    }
    assert values["held_out_files"] == list(collection.test.files)
    assert not values["given_parts"]


def test_long_lists_are_truncated_with_the_number_of_the_rest(tree):
    files = {f"{name}/{k}.png": file_of(photo(2 * c + k)) for c, name in enumerate("ab") for k in range(2)}
    collection = read_collection(tree("mine", files | {f"a/bad{k}.png": b"" for k in range(8)}), 16)
    text_lines = finding_lines(collection)
    assert text_lines.count("  and 3 more files") == 1
    assert sum("is empty" in line for line in text_lines) == 5
    assert len(findings_to_json(collection)["corrupt_files"]) == 8
