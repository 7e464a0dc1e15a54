"""CVAT's XML of images is read as OpenCV draws its shapes, and damaged files are refused."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_first_time
from pellucid.data.annotations import read_annotations
from pellucid.data.annotations.convert import convert
from pellucid.data.tree import open_tree
from tests.data.pictures import picture_bytes

pycocotools_mask = pytest.importorskip("pycocotools.mask")
SIZE = (40, 60)
RNG = np.random.default_rng(0)
META = "<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>"


@pytest.fixture(autouse=True)
def each_note_is_new():
    note_first_time.cache_clear()


def cvat(*shapes: str, head: str = "", meta: str = META, name: str = "a.png", size=SIZE) -> bytes:
    image = f'<image id="0" name="{name}" width="{size[1]}" height="{size[0]}">{"".join(shapes)}</image>'
    start = f'<?xml version="1.0" encoding="utf-8"?>{head}<annotations><version>1.1</version>'
    return f"{start}{meta}{image}</annotations>".encode()


def polygon(label: str, points, z: int = 0) -> str:
    text = ";".join(f"{x},{y}" for x, y in points)
    return f'<polygon label="{label}" source="manual" occluded="0" points="{text}" z_order="{z}"></polygon>'


def mask_shape(label: str, mask: np.ndarray) -> str:
    """Return a mask as CVAT writes it: run lengths of the rows of its box, which begin with pixels outside."""
    rows, columns = np.nonzero(mask)
    top, left = rows.min(), columns.min()
    box = mask[top : rows.max() + 1, left : columns.max() + 1]
    runs, value, count = [], False, 0
    for pixel in box.flatten().tolist():
        if pixel != value:
            runs.append(count)
            value, count = pixel, 0
        count += 1
    text = ", ".join(map(str, [*runs, count]))
    return (
        f'<mask label="{label}" rle="{text}" left="{left}" top="{top}" width="{box.shape[1]}" height="{box.shape[0]}" '
        'z_order="0"></mask>'
    )


def read(path: Path):
    with open_tree(path) as tree:
        return read_annotations(tree)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pycocotools
def test_shapes_are_read(write_tree):
    points = [(5.5, 3.25), (50.0, 10.0), (20.0, 35.75)]
    mask = RNG.random(SIZE) < 0.5
    mask[:, :7], mask[33:] = False, False
    shapes = (
        '<box label="cat" xtl="3.5" ytl="4" xbr="20" ybr="30.25" z_order="2"></box>',
        polygon("dog", points, z=1),
        mask_shape("cat", mask),
        '<ellipse label="dog" cx="30" cy="20" rx="10" ry="5" z_order="3"></ellipse>',
        '<box label="dog" xtl="20" ytl="10" xbr="40" ybr="20" rotation="90" z_order="4"></box>',
        '<points label="cat" points="1,2" z_order="9"></points>',
    )
    path = write_tree("set", {"images/a.png": picture_bytes((9, 9, 9), SIZE[::-1]), "annotations.xml": cvat(*shapes)})
    annotations = read(path)
    assert annotations.classes == ("dog", "cat")
    (record,) = annotations.records
    drawn_mask, drawn_polygon, box, ellipse, turned = record.instances  # by z_order
    np.testing.assert_array_equal(record.mask(drawn_mask).numpy(), mask)
    expected = pycocotools_mask.decode(
        pycocotools_mask.merge(pycocotools_mask.frPyObjects([[value for point in points for value in point]], *SIZE))
    )
    np.testing.assert_array_equal(record.mask(drawn_polygon).numpy(), expected.astype(bool))
    assert (box.box, box.label, box.outline) == ((3.5, 4.0, 20.0, 30.25), 1, None)
    assert abs(int(record.mask(ellipse).sum()) - np.pi * 50) < 8
    assert turned.box == pytest.approx((25, 5, 35, 25))
    assert [fault.effect for fault in annotations.faults] == ["dropped"]


def test_an_export_becomes_masks(write_tree, tmp_path):
    square = [(10, 10), (30, 10), (30, 30), (10, 30)]
    inner = [(15, 15), (20, 15), (20, 20), (15, 20)]
    files = {"images/a.png": picture_bytes((9, 9, 9), SIZE[::-1])}
    files["annotations.xml"] = cvat(polygon("cat", inner, z=5), polygon("dog", square))
    convert(write_tree("set", files), tmp_path / "out", "masks")
    mask = np.array(Image.open(tmp_path / "out/masks/a.png"))
    expected = np.zeros(SIZE, np.uint8)
    expected[10:30, 10:30] = 1
    expected[15:20, 15:20] = 2
    np.testing.assert_array_equal(mask, expected)
    assert (tmp_path / "out/classes.txt").read_text() == "0: background\n1: dog\n2: cat\n"


REFUSED = {
    "entity": (cvat(head='<!DOCTYPE a [<!ENTITY b "cccc">]>'), "declares an entity"),
    "external DTD": (cvat(head='<!DOCTYPE annotations SYSTEM "http://localhost/a.dtd">'), "names an external DTD"),
    "damaged": (cvat(polygon("dog", [(1, 1), (9, 1), (9, 9)]))[:-30], "is not XML"),
    "video": (b"<annotations><track id='0' label='dog'></track></annotations>", "has tracks of a video"),
    "no label": (cvat(polygon("bird", [(1, 1), (9, 1), (9, 9)])), "label 'bird' is not among dog, cat"),
    "two points": (cvat(polygon("dog", [(1, 1), (9, 1)])), "give three points or more"),
    "text": (cvat('<box label="dog" xtl="a" ytl="1" xbr="3" ybr="4"></box>'), "box has 'a' in place of a number"),
    "far away": (cvat(polygon("dog", [(1, 1), (9000, 1), (9, 9)])), "points far outside the image"),
    "short rle": (
        cvat('<mask label="dog" rle="1,2" left="0" top="0" width="9" height="9"></mask>'), "of another length",
    ),
    "large mask": (
        cvat('<mask label="dog" rle="1" left="0" top="0" width="99999" height="99999"></mask>'), "not inside",
    ),
    "missing image": (cvat(name="b.png"), "image 'b.png' is not below"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(write_tree, kind, tmp_path):
    data, message = REFUSED[kind]
    path = write_tree("set", {"a.png": picture_bytes((9, 9, 9), SIZE[::-1]), "annotations.xml": data})
    with pytest.raises(PellucidError, match=message):
        convert(path, tmp_path / "out", "coco")


@given(st.data())
def test_changed_bytes_raise_only_pellucid_errors(tmp_path_factory, data):
    whole = bytearray(cvat(polygon("dog", [(1, 1), (9, 1), (9, 9)]), mask_shape("cat", np.eye(40, 60) > 0)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("set")
    (folder / "a.png").write_bytes(picture_bytes((9, 9, 9), SIZE[::-1]))
    (folder / "annotations.xml").write_bytes(bytes(whole))
    with suppress(PellucidError):
        read(folder)
