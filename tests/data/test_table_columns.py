"""Columns of tables of labels that may mean two things: flags of one class, numbers of rows, names in two cases."""

from pathlib import Path

import pytest

from pellucid.data.labelled_images import load_table
from pellucid.data.table_targets import TableFormat
from tests.data.test_tables import NUMBERS, folder, rows, write

__all__ = ["folder"]


@pytest.mark.parametrize("order", [(1, 0), (0, 1)])
def test_columns_with_exactly_one_1_are_noted_and_read_as_classes_on_request(
    folder: Path, order: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("cat", "dog")
    lines = [f"p{k},{int(k % 2 == order[0])},{int(k % 2 == order[1])}" for k in range(3)]
    path = write(folder, rows(f"file,{','.join(names)}", *lines))
    assert load_table(path, TableFormat()).y.shape == (3, 2)
    assert "exactly 1 label a picture (data.labels=one" in capsys.readouterr().err
    images = load_table(path, TableFormat("class"))
    assert images.classes == names
    assert images.y.tolist() == [order.index(k % 2) for k in range(3)]


@pytest.mark.parametrize("name", ["id", "ID", "sample_id"])
def test_a_column_that_numbers_the_rows_is_no_target(folder: Path, name: str) -> None:
    path = write(folder, rows(f"file,{name},height", "p0,17,1.5", "p1,4,2.5", "p2,90,3"))
    assert load_table(path, NUMBERS).format_found.names == ("height",)
    repeated = write(folder, rows(f"file,{name},height", "p0,17,1.5", "p1,17,2.5", "p2,90,3"), "r.csv")
    assert load_table(repeated, NUMBERS).format_found.names == (name, "height")


def test_classes_that_differ_in_case_are_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = load_table(write(folder, rows("file,label", "p0,cat", "p1,Cat", "p2,dog", "p3,dog")), TableFormat())
    assert images.classes == ("Cat", "cat", "dog")
    assert "the classes 'Cat', 'cat' differ only in case, and are read as different" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["row", "index", "no"])
def test_a_column_of_other_numbers_is_a_target(folder: Path, name: str) -> None:
    path = write(folder, rows(f"file,{name},col", "p0,57,4", "p1,13,5", "p2,412,6"))
    assert load_table(path, NUMBERS).format_found.names == (name, "col")
    counted = write(folder, rows(f"file,{name},col", "p0,1,4", "p1,2,5", "p2,3,6"), "c.csv")
    assert load_table(counted, NUMBERS).format_found.names == ("col",)


def test_a_label_of_0_and_1_beside_another_flag_is_one_class(folder: Path) -> None:
    path = write(folder, rows("file,label,blurry", "p0,0,1", "p1,1,0", "p2,1,1"))
    images = load_table(path, TableFormat("class"))
    assert (images.classes, images.y.tolist()) == (("0", "1"), [0, 1, 1])


def test_flags_of_one_class_beside_remarks_are_read_on_request(folder: Path) -> None:
    path = write(folder, rows("file,cat,dog,notes", "p0,0,1,dark", "p1,1,0,", "p2,1,0,old"))
    images = load_table(path, TableFormat("class"))
    assert (images.classes, images.y.tolist()) == (("cat", "dog"), [1, 0, 0])
