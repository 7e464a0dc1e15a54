"""Proposals are read from a file, and invalid files are refused in one line."""

import json

import pytest

from pellucid.base.errors import PellucidError
from pellucid.detectors.search import read_proposals


def write_proposals(folder, value):
    path = folder / "boxes.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_proposals_are_stored_by_file_name(tmp_path):
    proposals = read_proposals(write_proposals(tmp_path, {"images/a.jpg": [[1, 2, 3.5, 4], [0, 0, 9, 9]], "b.jpg": []}))
    assert {name: boxes.tolist() for name, boxes in proposals.items()} == {
        "a.jpg": [[1, 2, 3.5, 4], [0, 0, 9, 9]],
        "b.jpg": [],
    }
    assert proposals["b.jpg"].shape == (0, 4)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "cannot be read as proposals"),
        ("[" * 100_000, "cannot be read as proposals"),
        ([1], "does not map image names to boxes"),
        ({"a.jpg": 3}, "proposal 0 of a.jpg is not a box"),
        ({"a.jpg": [[0, 0, 1, 1], [5, 5, 2, 9]]}, "proposal 1 of a.jpg is not a box"),
        ({"a.jpg": [[0, 0, 1]]}, "proposal 0 of a.jpg is not a box"),
        ({"a.jpg": [[0, 0, 1, float("nan")]]}, "proposal 0 of a.jpg is not a box"),
        ({"x/a.jpg": [], "y/a.jpg": []}, "two images named a.jpg"),
    ],
    ids=["json", "deep", "list", "number", "order", "three", "nan", "twice"],
)
def test_invalid_files_of_proposals_are_refused_in_one_line(tmp_path, value, message):
    with pytest.raises(PellucidError, match=message) as error:
        read_proposals(write_proposals(tmp_path, value))
    assert "\n" not in str(error.value)
    with pytest.raises(PellucidError, match="cannot be read"):
        read_proposals(tmp_path / "absent.json")
