"""`pellucid data lint`, `show` and `convert` print their results as text and as JSON."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Cli
from tests.data.annotations.sets import voc_set, voc_xml


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = voc_set() | {"Annotations/a.xml": voc_xml(("cat", 5, 5, 5, 5, 0), ("dog", 2, 4, 12, 14, 0))}
    for name, data in files.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    return tmp_path / "set"


def test_lint_lists_file_line_and_reason(cli: Cli, folder: Path):
    result = cli("data", "lint", str(folder))
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == f"{folder}/Annotations/a.xml:4: box (5, 5, 5, 5) has no area [dropped]"
    assert f"{folder}: part 'train': no object is of the class 'cat' [listed]" in lines
    assert lines[-3:] == [
        "train: 2 images, 1 without objects, 1 object", "val: 1 image, 1 object", "voc: 3 faults: 1 dropped, 2 listed"
    ]  # fmt: skip
    output = cli("data", "lint", str(folder), "--json").json
    assert output["counts"] == {"dropped": 1, "listed": 2}
    assert output["faults"][0] | {"file": ""} == {
        "file": "", "line": 4, "reason": "box (5, 5, 5, 5) has no area", "effect": "dropped"
    }  # fmt: skip


def test_lint_of_files_that_training_refuses_is_exit_2(cli: Cli, folder: Path):
    (folder / "Annotations/b.xml").write_text("<annotation>")
    result = cli("data", "lint", str(folder))
    assert (result.code, result.err) == (2, "")
    assert "b.xml:1: is not XML" in result.out


def test_convert_reports_objects_that_are_left_out(cli: Cli, folder: Path, tmp_path: Path):
    result = cli("data", "convert", str(folder), str(tmp_path / "out"), "--to", "coco")
    assert result.out.splitlines()[0] == "train: 2 images, 1 object"
    assert "1 object left out" in result.err
    output = cli("data", "convert", str(folder), str(tmp_path / "other"), "--to", "yolo", "--json").json
    assert (output["from"], output["images"], output["lost"]) == ("voc", {"train": 2, "val": 1}, {})


def test_show_prints_the_numbers_and_writes_the_page(cli: Cli, folder: Path, tmp_path: Path):
    result = cli("data", "show", str(folder), "--html", str(tmp_path / "page.html"))
    lines = [line.split() for line in result.out.splitlines()]
    assert ["examples", "2", "1"] in lines
    assert ["images", "without", "boxes", "1", "0"] in lines
    assert "<svg" in (tmp_path / "page.html").read_text()
    output = cli("data", "show", str(folder), "--task", "detect", "--json").json
    assert output["parts"]["training"]["examples"] == 2
    assert "1 object left out" not in output["parts"]["test"]["left_out"]
    assert any("(5, 5, 5, 5) has no area" in reason for reason in output["parts"]["training"]["left_out"])


def test_show_reads_data_by_settings_and_says_what_is_left_out(cli: Cli, folder: Path, tmp_path: Path):
    result = cli("data", "show", str(folder), "data.size=32")
    assert any(line.startswith("left out of training: ") and "has no area" in line for line in result.out.splitlines())
    other = tmp_path / "other"
    for k in range(10):
        for name, value in (("photos", 20 * k), ("regions", k % 2)):
            (other / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (16, 16), value).save(other / name / f"{k}.png")
    words = ("data", "show", str(other), "--json")
    assert cli(*words).json["recipe"].endswith("-classify")
    output = cli(*words, "data.mask_folders=['photos','regions']").json
    assert output["recipe"].endswith("-segment")
    assert "is not a setting" in cli(*words, "photos").error_line


def test_a_contact_sheet_is_written_with_a_note_that_it_is_deprecated(cli: Cli, folder: Path, tmp_path: Path):
    result = cli("data", "show", str(folder), "--out", str(tmp_path / "sheet.png"), "--json")
    assert "deprecated" in result.err
    assert result.json["images"] == ["JPEGImages/a.png", "JPEGImages/b.png", "JPEGImages/c.png"]
    with Image.open(BytesIO((tmp_path / "sheet.png").read_bytes())) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    assert {(255, 0, 0), (0, 255, 0)} <= colours  # the training images
    assert (213, 94, 0) in colours  # the box of a dog, in the colour of the second class


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lint", "mnist"], "has no annotated objects"),
        (["lint", "nothing"], "unknown data set 'nothing'"),
        (["show", "bccd", "--out", "a.gif"], "does not end in .png"),
        (["show", "nothing"], "no folder, file or data set 'nothing'"),
        (["show", "bccd", "--task", "detekt"], "did you mean 'detect'?"),
        (["show", "digits", "--task", "classify", "--recipe", "digits"], "leave out --task"),
        (["convert", "a", "b"], "required: --to"),
        (["convert", "a", "b", "--to", "coco"], "a is missing"),
    ],
)
def test_invalid_arguments_are_refused(cli: Cli, words: list[str], message: str):
    assert message in cli("data", *words).error_line
