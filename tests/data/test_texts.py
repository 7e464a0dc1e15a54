"""Texts of users in any common encoding: lists of names and annotations are read alike, or refused with the byte."""

import codecs
import json

import pytest

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text
from pellucid.base.text import note_first_time
from pellucid.cli.calc import read_boxes
from pellucid.data import MaskFolder
from pellucid.data.annotations import read_annotations
from pellucid.data.picture_list import picture_list
from pellucid.data.tree import open_tree
from tests.data.annotations.sets import voc_xml
from tests.data.pictures import grey_bytes, picture_bytes

NAME = "Größe é"  # in Latin-1, so that all encodings can write it
# The encodings of a text file, as Windows' and other editors write them: the byte-order mark, and Python's codec.
ENCODINGS = {
    "UTF-8": (b"", "utf-8"),
    "UTF-8 with a mark": (codecs.BOM_UTF8, "utf-8"),
    "UTF-16 LE": (codecs.BOM_UTF16_LE, "utf-16-le"),
    "UTF-16 BE": (codecs.BOM_UTF16_BE, "utf-16-be"),
    "UTF-32 LE": (codecs.BOM_UTF32_LE, "utf-32-le"),
    "UTF-32 BE": (codecs.BOM_UTF32_BE, "utf-32-be"),
    "Latin-1": (b"", "latin-1"),
}


@pytest.fixture(autouse=True)
def each_note_is_new():
    note_first_time.cache_clear()


def encoded(text: str, encoding: str, newline: str) -> bytes:
    mark, codec = ENCODINGS[encoding]
    return mark + text.replace("\n", newline).encode(codec)


def labelme_text() -> str:
    shape = {"label": NAME, "shape_type": "rectangle", "points": [[1, 1], [4, 3]]}
    return json.dumps({"imagePath": "a.png", "shapes": [shape]}, ensure_ascii=False)


def coco_text() -> str:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 2]}
    images, categories = [{"id": 1, "file_name": "a.png"}], [{"id": 1, "name": NAME}]
    return json.dumps({"images": images, "annotations": [annotation], "categories": categories}, ensure_ascii=False)


# The text files of a data set of each format: the name of each file and its text.
SETS = {
    "voc": {"a.xml": voc_xml((NAME, 1, 1, 4, 3, 0), size=(4, 6)).decode()},
    "coco": {"a.json": coco_text()},
    "labelme": {"a.json": labelme_text()},
    "yolo": {"data.yaml": f"names:\n- {NAME}\n", "a.txt": "0 0.5 0.5 0.5 0.5\n"},
    "yolo, list": {"classes.txt": f"{NAME}\n", "a.txt": "0 0.5 0.5 0.5 0.5\n"},
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", SETS)
def test_annotations_are_read_in_any_encoding(write_tree, capsys, kind, encoding, newline):
    files = {name: encoded(text, encoding, newline) for name, text in SETS[kind].items()}
    with open_tree(write_tree("set", {"a.png": picture_bytes((9, 9, 9), (6, 4)), **files})) as tree:
        annotations = read_annotations(tree)
    assert annotations.classes == (NAME,)
    assert [len(record.instances) for record in annotations.records] == [1]
    assert annotations.faults == ()
    assert ("Windows-1252" in capsys.readouterr().err) == (encoding == "Latin-1")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_lists_are_read_in_any_encoding(write_tree, capsys, encoding):
    image = picture_bytes((9, 9, 9), (6, 4))
    listed = {"ImageSets/Main/train.txt": encoded(f"{NAME}\n", encoding, "\r\n"), f"Annotations/{NAME}.xml": voc_xml()}
    with open_tree(write_tree("voc", {f"JPEGImages/{NAME}.png": image, **listed})) as tree:
        (record,) = read_annotations(tree, "train").records
    assert record.image == f"JPEGImages/{NAME}.png"
    names = encoded(f"background\n{NAME}\n", encoding, "\r\n")
    masks = write_tree(
        "masks", {"train/a.png": image, "trainannot/a.png": grey_bytes([[1] * 6] * 4), "classes.txt": names}
    )
    assert MaskFolder(masks).classes == ("background", NAME)
    folder = write_tree("list", {f"{NAME}.png": image, "list.txt": encoded(f"{NAME}.png\n", encoding, "\r\n")})
    assert picture_list(str(folder / "list.txt")).name(0) == f"{NAME}.png"
    boxes = f"image,class,x0,y0,x1,y1\na,{NAME},0,0,2,2\n"
    table = write_tree("boxes", {"boxes.csv": encoded(boxes, encoding, "\r\n")})
    assert read_boxes(str(table / "boxes.csv"))[0][1] == NAME
    assert capsys.readouterr().err.count("is read as Windows-1252") == (4 if encoding == "Latin-1" else 0)


@pytest.mark.parametrize("declaration", ["ISO-8859-1", "windows-1252", "UTF-8"])
def test_a_declared_encoding_of_xml_is_used(write_tree, declaration):
    text = f'<?xml version="1.0" encoding="{declaration}"?>\n' + SETS["voc"]["a.xml"]
    files = {"a.png": picture_bytes((9, 9, 9), (6, 4)), "a.xml": text.encode(declaration)}
    with open_tree(write_tree("set", files)) as tree:
        assert read_annotations(tree).classes == (NAME,)


def test_the_note_shows_the_first_line_that_is_not_utf8(capsys):
    assert decode_text("cat\nMöwe\nBär\n".encode("latin-1"), "classes.txt") == "cat\nMöwe\nBär\n"
    assert capsys.readouterr().err == (
        "pellucid: classes.txt is not UTF-8 (byte 0xF6 at 5); it is read as Windows-1252: 'Möwe'; save it as UTF-8 if "
        "this is wrong\n"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("ab\n".encode("utf-16-le"), "its character 1 is NUL"),
        (b"\xff\xfea\0b", "not a text in UTF-16-LE .byte 0x62 at 4."),
        (b"cat\nd\x81g\n", "not a text in UTF-8 or Windows-1252 .byte 0x81 at 5."),
        (b"\x89PNG\r\n\x1a\n", "not a text in UTF-8 or Windows-1252 .byte 0x1A at 6."),
        (b"\xef\xbb\xbf\xff", "not a text in UTF-8 .byte 0xFF at 3."),
    ],
)
def test_other_files_are_refused_with_the_byte(data, message):
    with pytest.raises(PellucidError, match=f"^classes.txt is {message}|^classes.txt is not a text: {message}"):
        decode_text(data, "classes.txt")
