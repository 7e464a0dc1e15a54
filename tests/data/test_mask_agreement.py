"""Masks whose values mean different things in different files are refused, and alike ones are read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import MaskFolder
from pellucid.data.mask_settings import MaskSettings, reading_masks

COLOURS = [(0, 0, 0), (255, 0, 0), (0, 0, 255)]


def write(root: Path, name: str, mask: Image.Image) -> None:
    for folder in ("images", "masks"):
        (root / folder).mkdir(exist_ok=True)
    Image.new("RGB", mask.size).save(root / "images" / f"{name}.png")
    mask.save(root / "masks" / f"{name}.png")


def palette_mask(values: np.ndarray, colours: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(values.astype(np.uint8), "P")
    image.putpalette([number for colour in colours for number in colour])
    return image


def drawn(seed: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, count, (6, 8))


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (2, 1, 0)])
def test_palettes_in_another_order_are_refused_or_read_by_their_colours(tmp_path: Path, order: tuple[int, ...]) -> None:
    masks = [drawn(0), drawn(1)]
    write(tmp_path, "a", palette_mask(masks[0], COLOURS))
    write(tmp_path, "b", palette_mask(np.argsort(order)[masks[1]], [COLOURS[k] for k in order]))
    with pytest.raises(PellucidError, match=r"b\.png: the value \d has another colour in its palette than in masks/a"):
        MaskFolder(tmp_path, "")
    with reading_masks(MaskSettings(mask_kind="colours")):
        source = MaskFolder(tmp_path, "")
    classes = [tuple(map(int, name.split(","))) for name in source.classes or ()]
    for k, mask in enumerate(masks):
        read = source.example(k)[1].numpy()
        assert [classes[value] for value in read.flatten()] == [COLOURS[value] for value in mask.flatten()]


def test_alike_palettes_and_unused_colours_are_read_as_values(tmp_path: Path) -> None:
    write(tmp_path, "a", palette_mask(drawn(0), COLOURS))
    write(tmp_path, "b", palette_mask(drawn(1, 2), [*COLOURS[:2], (9, 9, 9)]))  # its third colour is not used
    source = MaskFolder(tmp_path, "")
    assert [source.example(k)[1].numpy().tolist() for k in range(2)] == [drawn(0).tolist(), drawn(1, 2).tolist()]


def test_ones_in_some_masks_and_255_in_others_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", Image.fromarray(drawn(0, 2).astype(np.uint8)))
    write(tmp_path, "b", Image.fromarray((255 * drawn(1, 2)).astype(np.uint8)))
    with pytest.raises(PellucidError, match=r"a\.png has the values 0 and 1, masks/b\.png 0 and 255, .* classes\.txt"):
        MaskFolder(tmp_path, "")
    write(tmp_path, "b", Image.fromarray(drawn(1, 2).astype(np.uint8)))
    assert len(MaskFolder(tmp_path, "")) == 2


def test_255_beside_ones_in_one_mask_is_read(tmp_path: Path) -> None:
    mask = drawn(0, 2)
    mask[0] = 255
    write(tmp_path, "a", Image.fromarray(mask.astype(np.uint8)))
    write(tmp_path, "b", Image.fromarray(drawn(1, 2).astype(np.uint8)))
    assert len(MaskFolder(tmp_path, "")) == 2


@pytest.mark.parametrize("delimiter", [";", *(pytest.param(mark, marks=pytest.mark.long) for mark in (",", "\t"))])
@pytest.mark.parametrize(("start", "end"), [("", "\n"), ("\ufeff", "\r\n")])
def test_class_dict_may_have_other_delimiters(tmp_path: Path, delimiter: str, start: str, end: str) -> None:
    write(tmp_path, "a", Image.fromarray(np.array(COLOURS, np.uint8)[drawn(0)]))
    rows = ["Name,R,G,B", "sky,0,0,0", "red,255,0,0", "blue,0,0,255"]
    text = start + "".join(row.replace(",", delimiter) + end for row in rows)
    (tmp_path / "class_dict.csv").write_bytes(text.encode())
    source = MaskFolder(tmp_path, "")
    assert source.classes == ("sky", "red", "blue")
    assert source.example(0)[1].numpy().tolist() == drawn(0).tolist()
    (tmp_path / "class_dict.csv").write_text("colour,what\n")
    with pytest.raises(PellucidError, match=r"class_dict\.csv has no columns name, r, g and b"):
        MaskFolder(tmp_path, "")
