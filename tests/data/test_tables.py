"""Tables of labels: formats as people have them, what is recognized, and refusals with file, row and cure."""

import csv
import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import from_table
from pellucid.data.annotations.lint import lint
from pellucid.data.labelled_images import TableImages, load_table, parts_of
from pellucid.data.skipping import skipping
from pellucid.data.table_files import has_table
from pellucid.data.table_targets import TableFormat, check_occurrence
from pellucid.data.tables import read_table

WILD = Path(__file__).resolve().parents[2] / "../shared/data/wild/multilabel"
NUMBERS = TableFormat("numbers")
N_PICTURES = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k in range(N_PICTURES):
        path = tmp_path / ("images" if k % 2 else "") / f"p{k}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 5, 3), 20 * k, np.uint8)).save(path)
    return tmp_path


def write(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def rows(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


ONE_CLASS = ["cat", "dog", "cat", "dog", "cat", "dog"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name_of", [lambda k: f"p{k}.png", lambda k: f"p{k}", lambda k: f"./p{k}.png"])
def test_one_class_in_every_delimiter_encoding_and_spelling(
    folder: Path, delimiter: str, encoding: str, name_of: Callable[[int], str]
) -> None:
    lines = [f"{name_of(k)}{delimiter} {label}" for k, label in enumerate(ONE_CLASS)]
    images = load_table(write(folder, rows(f"file{delimiter}label", *lines), encoding=encoding), TableFormat())
    assert images.classes == ("cat", "dog")
    assert images.y.tolist() == [0, 1, 0, 1, 0, 1]
    assert [int(images.image(k)[0, 0, 0]) for k in range(N_PICTURES)] == [20 * k for k in range(N_PICTURES)]


def test_quotes_absolute_paths_windows_paths_and_the_index_of_pandas(folder: Path) -> None:
    names = [str(folder / "p0.png"), r"images\p1.png", "p2.PNG".lower(), "images/p3", "p4", "p5.png"]
    lines = [f'{k},"{name}","a, ""b"" {k % 2}"' for k, name in enumerate(names)]
    images = load_table(write(folder, rows(",path,class", *lines)), TableFormat("class"))
    assert images.classes == ('a, "b" 0', 'a, "b" 1')
    assert images.names[1] == "images/p1.png"


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["a|b", "b", "c|a", "c", "a", "b|c"], "|"),
        (["a;b", "b", "c;a", "c", "a", "b;c"], ";"),
        (['"a, b"', "b", '"c,a"', "c", "a", '"b,c"'], ","),
        (["a b", "b", "c a", "c", "a", "b c"], " "),
        (["\"['a', 'b']\"", "['b']", "\"['c', 'a']\"", "['c']", "['a']", "\"['b', 'c']\""], ","),
    ],
)
def test_lists_of_labels(folder: Path, cells: Sequence[str], separator: str) -> None:
    images = load_table(write(folder, rows("image,labels", *(f"p{k},{c}" for k, c in enumerate(cells)))), TableFormat())
    assert (images.format_found.separator, images.classes) == (separator, ("a", "b", "c"))
    assert images.y.int().tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 1, 1]]


def test_names_of_classes_with_spaces_are_no_lists(folder: Path) -> None:
    cells = ["ankle boot", "bag", "ankle boot", "t-shirt", "bag", "t-shirt"]
    images = load_table(write(folder, rows("image,class", *(f"p{k},{c}" for k, c in enumerate(cells)))), TableFormat())
    assert images.classes == ("ankle boot", "bag", "t-shirt")


def test_columns_of_0_and_1(folder: Path) -> None:
    lines = [f"p{k}.png, {k % 2}, {int(k > 2)}, true" for k in range(N_PICTURES)]
    images = load_table(write(folder, rows("filename,odd,large,all", *lines)), TableFormat())
    assert images.classes == ("odd", "large", "all")
    expected = [[k % 2, int(k > 2), 1] for k in range(N_PICTURES)]
    assert images.y.tolist() == expected
    assert images.y.dtype == torch.float32


@pytest.mark.parametrize(
    ("header", "names", "units"),
    [
        ("weight_kg,length (mm)", ("weight", "length"), ("kg", "mm")),
        ("weight [g],count", ("weight", "count"), ("g", "")),
        ("age_group,t_c", ("age_group", "t"), ("", "c")),
    ],
)
def test_numbers_with_units(folder: Path, header: str, names: Sequence[str], units: Sequence[str]) -> None:
    lines = [f"p{k},{k}.5,-{k}e1" for k in range(N_PICTURES)]
    images = load_table(write(folder, rows(f"file,{header}", *lines)), NUMBERS)
    assert (images.format_found.names, images.format_found.units, images.classes) == (names, units, None)
    assert images.y.tolist() == [[k + 0.5, -10.0 * k] for k in range(N_PICTURES)]


def test_decimal_commas_beside_semicolons(folder: Path) -> None:
    images = load_table(write(folder, rows("file;x", *(f"p{k};{k},25" for k in range(N_PICTURES)))), NUMBERS)
    assert images.y[:, 0].tolist() == [k + 0.25 for k in range(N_PICTURES)]


@pytest.mark.parametrize(
    ("delimiter", "cells", "expected"),
    [
        (",", ['"1,200"', '"0,5"', "3"], [1.2, 0.5, 3.0]),
        (",", ['"0,125"', '"1,200"', "-2"], [0.125, 1.2, -2.0]),
        (",", ['"1234,567"', '"1,200"', "2"], [1234.567, 1.2, 2.0]),
        (";", ["1,200", "-2,125", "950"], [1.2, -2.125, 950.0]),
    ],
)
def test_a_comma_is_decimal_in_the_whole_column(
    folder: Path, delimiter: str, cells: Sequence[str], expected: Sequence[float]
) -> None:
    lines = [f"p{k}{delimiter}{cell}" for k, cell in enumerate(cells)]
    images = load_table(write(folder, rows(f"file{delimiter}x", *lines)), NUMBERS)
    assert images.y[:, 0].tolist() == pytest.approx(expected)


def test_settings_decide_what_a_separator_means(folder: Path) -> None:
    cells = ["cat", '"dog, small"', "cat", '"dog, small"', "cat", '"dog, small"']
    path = write(folder, rows("file,label", *(f"p{k},{cell}" for k, cell in enumerate(cells))))
    assert load_table(path, TableFormat("class")).classes == ("cat", "dog, small")
    assert load_table(path, TableFormat("labels")).classes == ("cat", "dog", "small")
    assert load_table(path, TableFormat(separator=",")).classes == ("cat", "dog", "small")


def test_named_columns_are_read_beside_others(folder: Path) -> None:
    lines = [f"p{k},{label},{k % 3 % 2},{k % 2}" for k, label in enumerate(ONE_CLASS)]
    path = write(folder, rows("file,label,occluded,truncated", *lines))
    assert load_table(path, TableFormat(columns=("label",))).classes == ("cat", "dog")
    assert load_table(path, TableFormat("class")).classes == ("cat", "dog")
    flags = load_table(path, TableFormat(columns=("occluded", "truncated")))
    assert flags.y.tolist() == [[k % 3 % 2, k % 2] for k in range(N_PICTURES)]


def test_none_in_lower_case_is_a_class(folder: Path) -> None:
    lines = [f"p{k},{('none', 'scratch')[k % 2]}" for k in range(N_PICTURES)]
    assert load_table(write(folder, rows("file,defect", *lines)), TableFormat()).classes == ("none", "scratch")


def test_json_lines_and_frames_are_read_like_csv(folder: Path) -> None:
    labels = [["a"], ["a", "b"], [], ["b"], ["a"], ["b"]]
    text = rows(*(json.dumps({"file": f"p{k}.png", "labels": row}) for k, row in enumerate(labels)))
    images = load_table(write(folder, text, "t.jsonl"), TableFormat())
    expected = [[1, 0], [1, 1], [0, 0], [0, 1], [1, 0], [0, 1]]
    assert images.y.int().tolist() == expected
    columns = {"file": [f"p{k}" for k in range(N_PICTURES)], "w": np.arange(N_PICTURES) / 4}
    parts = from_table(columns, folder, requested=NUMBERS)
    assert len(parts.train) + len(parts.test) == N_PICTURES
    assert isinstance(parts.train.source, TableImages)
    assert parts.train.source.y[:, 0].tolist() == columns["w"].tolist()


def test_frames_of_pandas(folder: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="a data frame")
    frame = pandas.DataFrame({"file": [f"p{k}" for k in range(N_PICTURES)], "label": ONE_CLASS})
    parts = from_table(frame, folder, size=4)
    assert parts.train.classes == ("cat", "dog")
    frame.loc[2, "label"] = None
    with pytest.raises(PellucidError, match="data frame, row 2: 'label' is empty"):
        from_table(frame, folder)


def test_parquet(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="it writes Parquet")
    parquet = pytest.importorskip("pyarrow.parquet", reason="it writes Parquet")
    columns = {"file": [f"p{k}" for k in range(N_PICTURES)], "x_mm": [float(k) for k in range(N_PICTURES)]}
    parquet.write_table(pyarrow.table(columns), folder / "t.parquet")
    images = load_table(folder / "t.parquet", NUMBERS)
    assert (images.y[:, 0].tolist(), images.format_found.units) == ([*range(N_PICTURES)], ("mm",))
    (folder / "t.parquet").write_bytes((folder / "t.parquet").read_bytes()[:200])
    with pytest.raises(PellucidError, match=r"t\.parquet is no Parquet file"):
        load_table(folder / "t.parquet", NUMBERS)


def test_a_zip_with_a_table(folder: Path, tmp_path: Path) -> None:
    text = rows("file,label", *(f"p{k}.png,{label}" for k, label in enumerate(ONE_CLASS)))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("labels.csv", text)
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder))
    assert load_table(tmp_path / "a.zip", TableFormat()).y.tolist() == [0, 1, 0, 1, 0, 1]


def test_parts_by_a_column(folder: Path) -> None:
    parts = ["Train", "training", "val", "val", "TEST", "test"]
    lines = [f"p{k},{label},{part}" for k, (label, part) in enumerate(zip(ONE_CLASS, parts, strict=True))]
    divided = parts_of(load_table(write(folder, rows("file,label,split", *lines)), TableFormat()))
    assert divided.validation is not None
    assert [part.indices.tolist() for part in (divided.train, divided.validation, divided.test)] == [
        [0, 1], [2, 3], [4, 5],
    ]  # fmt: skip


def test_a_drawn_part_depends_on_the_names_not_on_the_order(folder: Path) -> None:
    lines = [f"p{k},{k}" for k in range(N_PICTURES)]
    first = parts_of(load_table(write(folder, rows("file,x", *lines)), NUMBERS))
    second = parts_of(load_table(write(folder, rows("file,x", *lines[::-1])), NUMBERS))
    names: list[set[str]] = []
    for parts in (first, second):
        assert isinstance(parts.test.source, TableImages)
        names.append({parts.test.source.names[k] for k in parts.test.indices.tolist()})
    assert names[0] == names[1]
    other = parts_of(load_table(folder / "t.csv", NUMBERS), seed=3)
    assert len(other.test) == len(first.test) == 1


def test_copies_of_one_picture_stay_together(folder: Path) -> None:
    for k in range(20):
        Image.new("RGB", (4, 4)).save(folder / f"q{k // 4}_jpg.rf.{k:032x}.jpg")
    names = sorted(path.name for path in folder.glob("q*.jpg"))
    images = load_table(write(folder, rows("file,x", *(f"{n},{k}" for k, n in enumerate(names)))), NUMBERS)
    parts = parts_of(images)
    stems = [{images.names[k].split("_")[0] for k in part.indices.tolist()} for part in (parts.train, parts.test)]
    assert not stems[0] & stems[1]


@pytest.mark.skipif(not WILD.exists(), reason="needs ../shared")
def test_a_folder_of_roboflow_is_read_as_the_csv_module_reads_it() -> None:
    parts = parts_of(load_table(WILD, TableFormat(), size=16))
    for part, name in ((parts.train, "train"), (parts.test, "test")):
        with (WILD / name / "_classes.csv").open(newline="") as file:
            expected = [[cell.strip() for cell in row] for row in csv.reader(file)]
        assert part.classes == tuple(expected[0][1:])
        images = part.source
        assert isinstance(images, TableImages)
        rows_read = [
            [images.names[k].rpartition("/")[2], *(str(int(v)) for v in images.y[k].tolist())]
            for k in part.indices.tolist()
        ]
        assert sorted(rows_read) == sorted(expected[1:])


ONE_FLAG = "t.csv, line 3: 2 of the classes have a 1, but data.labels=one needs exactly one"
BAD_TABLES = {
    "missing": (["file,label", "p0,a", "nope.png,b", "gone.png,a"],
                "t.csv, line 3: 2 of 3 pictures are missing, such as 'nope.png', 'gone.png'"),
    "empty label": (["file,label", "p0,a", "p1,", "p2,b"], "t.csv, line 3: 'label' is empty; write the label"),
    "nan": (["file,label", "p0,a", "p1,nan", "p2,b"], "t.csv, line 3: 'label' is empty"),
    "duplicate": (["file,label", "p0,a", "p1,b", "p0.png,b"], "t.csv, line 4: 'p0.png' has other labels than in"),
    "mixed flags": (["file,a,b", "p0,0,1", "p1,1,0", "p2,1,2", "p3,0,1"], "t.csv, line 4: 'b' is '2' in a column of 0"),
    "empty flag": (["file,a,b", "p0,0,1", "p1,,0", "p2,1,1", "p3,0,1"], "t.csv, line 3: 'a' is empty"),
    "one class": (["file,label", "p0,a", "p1,a"], "t.csv: all rows have the label 'a'; give at least two"),
    "unique": (["file,label", "p0,a", "p1,b", "p2,c"], "t.csv: each of the 3 rows has another class in 'label'"),
    "no header": (["p0.png,a", "p1.png,b"], "t.csv has no header, its first line names a picture"),
    "no files": (["a,b", "x,y", "y,z"], "t.csv: no column has the names of pictures"),
    "two columns": (["file,a,b", "p0,x,y", "p1,y,x"], "t.csv: several columns may have the labels ('a', 'b')"),
    "ragged": (["file,label", "p0,a", "p1"], "t.csv, line 3 has 1 cells, but the header has 2"),
    "quotes": (["file,label", 'p0,"a', "p1,b"], "cannot be read (unexpected end of data); check its quotes"),
    "same names": (["file,a,a", "p0,x,y"], "t.csv has two columns 'a'; rename one"),
    "only header": (["file,label"], "t.csv has no rows below its header"),
    "NA": (["file,label", "p0,a", "p1,NA", "p2,b"], "t.csv, line 3: 'label' is empty (NA); write the label"),
    "None in a list": (["file,tags", "p0,a|b", "p1,None"], "t.csv, line 3: 'tags' is empty (None); write []"),
    "null flag": (["file,a,b", "p0,0,1", "p1,null,0", "p2,1,1"], "t.csv, line 3: 'a' is empty (null); write 0 or 1"),
    "label and flags": (["file,label,occluded,truncated", "p0,a,0,1", "p1,b,1,0"],
                        "t.csv: several columns may have the labels ('label', 'occluded', 'truncated'); choose with"),
    "name with a comma": (["file,label", "p0,cat", 'p1,"dog, small"', "p2,cat", "p3,dog"],
                          "t.csv, line 3: 'label' is 'dog, small', which may be one label or several; set data.labels"),
    "name with a bar": (["file,label", "p0,cat", "p1,a|b", "p2,cat", "p3,a"],
                        "data.labels=one, or data.labels=several data.separator='|'"),
    "two of one": (["file,a,b", "p0,0,1", "p1,1,1"], ONE_FLAG),
    "none of one": (["file,a,b", "p0,0,1", "p1,0,0"], ONE_FLAG.replace("2 of", "0 of")),
    "split": (["file,label,split", "p0,a,train", "p1,b,later"], "t.csv, line 3: split is 'later'; give train, val"),
}  # fmt: skip
BAD_NUMBERS = {
    "text": (["file,x", "p0,1", "p1,2", "p2,3 kg"], "t.csv, line 4: 'x' is '3 kg', no finite number"),
    "nan": (["file,x", "p0,1", "p1,nan", "p2,3"], "t.csv, line 3: 'x' is empty (nan); write the number"),
    "N/A": (["file,x", "p0,1", "p1,N/A", "p2,3"], "t.csv, line 3: 'x' is empty (N/A); write the number"),
    "point": (["file;x", "p0;950", "p1;1.200", "p2;3"], "t.csv, line 3: 'x' is '1.200', whose point may be decimal"),
    "comma": (["file,x", "p0,950", 'p1,"1,200"', "p2,3"], "t.csv, line 3: 'x' is '1,200', whose comma may be decimal"),
    "inf": (["file,x", "p0,1", "p1,1e99", "p2,3"], "t.csv, line 3: 'x' is '1e99', no finite number"),
    "empty": (["file,x", "p0,1", "p1,", "p2,3"], "t.csv, line 3: 'x' is empty; write the number, or remove the row"),
    "none": (["file,x", "p0,a", "p1,b"], "t.csv: no column has numbers ('x' with 'a')"),
    "units": (["file,x,y", "p0,1.5 kg,a", "p1,2 kg,b"], "('x' with '1.5 kg', 'y' with 'a'); write numbers without"),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*BAD_TABLES, *(f"number {kind}" for kind in BAD_NUMBERS)])
def test_refusals_are_one_line_with_the_row_and_the_cure(folder: Path, kind: str) -> None:
    is_number = kind.startswith("number ")
    lines, message = BAD_NUMBERS[kind.removeprefix("number ")] if is_number else BAD_TABLES[kind]
    path = write(folder, rows(*lines))
    requested = TableFormat("class" if kind.endswith("of one") else None)
    with pytest.raises(PellucidError) as error:
        parts_of(load_table(path, NUMBERS if is_number else requested))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_class_that_never_occurs_is_refused() -> None:
    format_found = TableFormat("labels", names=("a", "b"))
    with pytest.raises(PellucidError, match="t: 'b' never occurs in the training part"):
        check_occurrence("t", format_found, torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "training")


def test_missing_pictures_are_left_out_on_request(folder: Path) -> None:
    for k in range(10, 30):
        Image.new("RGB", (4, 4)).save(folder / f"r{k}.png")
    lines = [f"r{k}.png,{k % 2}" for k in range(10, 30)]
    path = write(folder, rows("file,label", *lines, "gone.png,1"))
    with skipping():
        images = load_table(path, TableFormat("class"), size=4)
    assert (len(images), images.skipped) == (20, ("gone.png",))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", b"a,b\n" + b"1,2\n" * 1200, "has more than 1,000 rows"),
        ("t.jsonl", b'{"a": 1}\n' * 1200, "has more than 1,000 rows"),
        ("t.csv", ",".join(map(str, range(300))).encode() + b"\n1\n", "has 300 columns, above the limit of 200"),
        ("t.csv", b"a" * 20000, "has more than 10,000 bytes"),
        ("t.jsonl", b'{"a": {"b": 1}}', "is no text, number or list"),
        ("t.jsonl", b'{"a": NaN}', "is no JSON object"),
        ("t.jsonl", b"[" * 9000, "is no JSON object"),
    ],
)
def test_tables_beyond_the_limits_are_refused(
    name: str, data: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, value in (("MAX_TABLE_ROWS", 1000), ("MAX_TABLE_COLUMNS", 200), ("MAX_TABLE_BYTES", 10000)):
        monkeypatch.setattr(f"pellucid.data.tables.{limit}", value)
    if "bytes" not in message:
        monkeypatch.setattr("pellucid.data.tables.MAX_TABLE_BYTES", 1 << 20)
    with pytest.raises(PellucidError, match=message):
        read_table(data, name)


@pytest.mark.parametrize(
    ("rows", "effect", "text"),
    [
        (["file,label", "p0,cat", "p1,dog", "p2,cat"], "listed", "one of 2 classes"),
        (["file,weight_kg", "p0,1.5", "p1,2.5", "p2,3.25"], "listed", "weight"),
        (["file,label", "p0,cat,x", "p1,dog", "p2,cat"], "refused", "line 2 has 3 cells"),
        (["file,label", "p0,cat", "p9,dog", "p2,cat"], "refused", "missing"),
    ],
)
def test_lint_says_what_is_read_from_a_table_or_what_is_wrong(
    folder: Path, rows: list[str], effect: str, text: str
) -> None:
    for file in (folder / "images").iterdir():
        file.rename(folder / file.name)
    (folder / "images").rmdir()
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (fault,) = (fault for fault in lint(folder).faults if "labels.csv" in str(fault))
    assert (fault.effect, text in str(fault)) == (effect, True)


@pytest.mark.parametrize(("yes", "no"), [("True", "False"), ("1", "0")])
def test_the_column_is_valid_of_fastai_names_the_parts(folder: Path, yes: str, no: str) -> None:
    flags = [yes if k % 3 == 0 else no for k in range(N_PICTURES)]
    rows = [f"p{k},{'cat' if k % 2 else 'dog'},{flag}" for k, flag in enumerate(flags)]
    images = load_table(write(folder, "\n".join(["fname,label,is_valid", *rows]) + "\n"), TableFormat())
    parts = parts_of(images)
    assert [Path(images.names[k]).stem for k in parts.test.indices.tolist()] == [
        f"p{k}" for k, flag in enumerate(flags) if flag == yes
    ]
    assert len(parts.train) == flags.count(no)


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_in_the_only_folder_with_one_is_found(packed: bool, tmp_path: Path) -> None:
    root = tmp_path / "repository"
    for folder in ("dataset", "code"):
        (root / folder).mkdir(parents=True)
    (root / "README.md").write_text("cars")
    (root / "code/results.csv").write_text("run,value\n1,2")
    for k in range(N_PICTURES):
        Image.new("RGB", (4, 4), (20 * k, 0, 0)).save(root / f"dataset/p{k}.png")
    lines = [f"p{k}.png,{label}" for k, label in enumerate(ONE_CLASS)]
    write(root / "dataset", rows("file,label", *lines), "labels.csv")
    path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", root)) if packed else root
    assert load_table(path, TableFormat()).y.tolist() == [0, 1, 0, 1, 0, 1]
    shutil.copytree(root / "dataset", root / "other")
    assert has_table(str(root / "dataset"))
    assert not has_table(str(root))  # two folders have one
