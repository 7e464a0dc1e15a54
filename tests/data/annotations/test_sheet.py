"""Contact sheets: the size of the images and the number of drawn objects are limited."""

import pytest

from pellucid.data import DetectionFolder
from pellucid.data.annotations import sheet
from tests.data.annotations.sets import annotation, coco_set


@pytest.mark.parametrize(("side", "size", "box"), [(600, (20, 30), (2, 4, 12, 14)), (15, (10, 15), (1, 2, 6, 7))])
def test_the_contact_sheet_has_reduced_images_with_their_first_objects(write_tree, monkeypatch, side, size, box):
    drawn_sheets = []
    monkeypatch.setattr(sheet, "sheet_of_objects", lambda *arguments: drawn_sheets.append(arguments))
    monkeypatch.setattr(sheet, "MAX_DRAWN_OBJECTS", 2)
    monkeypatch.setattr(sheet, "DRAWN_SIDE", side)
    source = DetectionFolder(write_tree("set", coco_set(*(annotation(id=k) for k in range(3)))), size=8)
    checksum = source.checksum
    assert sheet.contact_sheet([source])[1] == ["train/a.png"]
    (((image,), (marks,), (title,), _),) = drawn_sheets
    assert image.shape == (3, *size)
    assert marks.boxes.tolist() == [[*box]] * 2
    assert title == "a.png: 3 objects, 2 drawn"
    assert (len(source.records[0].instances), source.longest, source.checksum) == (3, 8, checksum)
