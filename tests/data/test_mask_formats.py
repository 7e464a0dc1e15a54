"""Files of masks in other modes than 8-bit grey, and lists of classes in other forms."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_first_time
from pellucid.cli.main import main
from pellucid.data import MaskFolder
from pellucid.data.images import MaskFormatError, decode_mask
from tests.data.pictures import picture_bytes

RNG = np.random.default_rng(0)
VALUES = RNG.integers(0, 256, (9, 14), dtype=np.uint8)
SHAPE = VALUES.shape
OPAQUE = np.full(SHAPE, 255, np.uint8)
INDEX = "; save one 8-bit value, the index of its class, for each pixel"


@pytest.fixture(autouse=True)
def each_note_is_new():
    note_first_time.cache_clear()


def image_bytes(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def channels(mode, *arrays):
    return Image.merge(mode, [Image.fromarray(array) for array in arrays])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("values", [VALUES, VALUES // 200, VALUES * 0], ids=["many", "few", "black"])
def test_masks_of_one_value_per_pixel_are_read_in_every_mode(values, kind):
    images = {
        "L": Image.fromarray(values),
        "P": Image.fromarray(values, "P"),
        "16 bits": Image.fromarray(values.astype(np.uint16)),
        "RGB": channels("RGB", values, values, values),
        "RGBA": channels("RGBA", values, values, values, OPAQUE),
        "LA": channels("LA", values, OPAQUE),
    }
    images["P"].putpalette([200, 0, 0, 0, 200, 0] * 128)
    for name, image in images.items():
        decoded = decode_mask(image_bytes(image, kind), "a mask")
        assert torch.equal(decoded, torch.from_numpy(values)), name
    for name in ("L", "RGB", "RGBA"):
        decoded = decode_mask(image_bytes(images[name], "WEBP", lossless=True, exact=True), "a mask")
        assert torch.equal(decoded, torch.from_numpy(values)), name


OTHER = VALUES.copy()
OTHER[4, 7] += 1
HOLE = OPAQUE.copy()
HOLE[2, 3] = 0
WHITE = np.where(VALUES > 3, 65_535, 0).astype(np.uint16)
WHITE[0, 0] = 1
DEEP = VALUES.astype(np.uint16)
DEEP[1, 1] = 256
REFUSED = {
    "red": (channels("RGB", OTHER, VALUES, VALUES), "is a mask in colours (mode RGB)"),
    "green": (channels("RGB", VALUES, OTHER, VALUES), "is a mask in colours (mode RGB)"),
    "blue, opaque": (channels("RGBA", VALUES, VALUES, OTHER, OPAQUE), "is a mask in colours (mode RGBA)"),
    "a hole": (channels("RGBA", VALUES, VALUES, VALUES, HOLE), "is a mask with transparent pixels (mode RGBA)"),
    "a hole in grey": (channels("LA", VALUES, HOLE), "is a mask with transparent pixels (mode LA)"),
    "white of 16 bits and 1": (Image.fromarray(WHITE), "is a mask with values from 0 to 65,535"),
    "256": (Image.fromarray(DEEP), f"is a mask with values from 0 to {DEEP.max()}"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_masks_are_refused_without_calling_them_damaged(write_tree, capsys, kind):
    image, message = REFUSED[kind]
    files = {}
    for part in ("train", "test"):
        for k in range(4):
            files[f"{part}/{k}.png"] = picture_bytes((30 * k, 9, 90), SHAPE[::-1])
            files[f"{part}annot/{k}.png"] = image_bytes(image if (part, k) == ("train", 1) else Image.fromarray(VALUES))
    path = write_tree("set", files)
    assert main(["train", "segment", str(path), "--out", str(path.parent / "runs")]) == 2
    error = capsys.readouterr().err
    assert f"trainannot/1.png {message}{INDEX}" in error
    assert error.count("\n") == 1
    assert not any(words in error for words in ("damaged", "replace it", "data.skip"))


def test_colours_of_16_bits_are_refused():
    """Pillow would read their upper 8 bits, which are 0 for indices of classes."""
    pixels = np.repeat(VALUES.astype(">u2")[..., None], 3, axis=2)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", SHAPE[1], SHAPE[0], 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        png += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    for name, data in {"a.png": png, "a.ppm": b"P6 14 9 65535\n" + pixels.tobytes()}.items():
        with pytest.raises(MaskFormatError, match=rf"{name} is a mask (of 16 bits|of mode RGB)"):
            decode_mask(data, name)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_webp_with_loss_is_refused(mode):
    data = image_bytes(Image.fromarray(VALUES).convert(mode), "WEBP", quality=95)
    with pytest.raises(MaskFormatError, match="a WebP with loss, whose compression changes the values"):
        decode_mask(data, "a.webp")


def mask_files(lines, values=(0, 1, 2), name="classes.txt"):
    """Return the files of images with masks of some values, and a list of classes."""
    files = {name: "\n".join(lines).encode()}
    for k in range(3):
        mask = RNG.choice(np.array(values, np.uint8), SHAPE)
        files |= {f"train/{k}.png": picture_bytes((9, 9, 9), SHAPE[::-1])}
        files |= {f"trainannot/{k}.png": image_bytes(Image.fromarray(mask))}
    return files


@pytest.mark.parametrize("separator", [":", ",", ";", "\t", "=", ": ", ", ", " = ", " ;\t"])
@pytest.mark.parametrize("values", [(0, 1, 2), (0, 7, 255), (255, 3, 0)])
def test_values_and_names_with_any_separator_are_read(write_tree, separator, values):
    names = ["background", "cat, small", "a = b"]
    lines = [f"{value}{separator}{name}" for value, name in zip(values, names, strict=True)]
    source = MaskFolder(write_tree("set", mask_files(["# VALUE: NAME", *lines, "  # end"], values)))
    assert source.classes == (*names,)
    assert source.values == {value: k for k, value in enumerate(values)}


@pytest.mark.parametrize("position", range(4))
def test_lines_that_begin_with_a_number_sign_are_comments(write_tree, position):
    lines = ["sky", "bird, #2", "tree"]
    lines.insert(position, "# 2026-11-28: our classes")
    assert MaskFolder(write_tree("set", mask_files(lines))).classes == ("sky", "bird, #2", "tree")


@pytest.mark.parametrize("separator", [",", ";", "\t", "="])
def test_values_in_some_lines_only_are_refused(write_tree, separator):
    lines = [f"value{separator}name", f"0{separator}sky", f"1{separator}bird"]
    with pytest.raises(PellucidError, match="or in each line a value from 0 to 255 and a name"):
        MaskFolder(write_tree("set", mask_files(lines)))


@pytest.mark.parametrize(("lines", "line"), [(["a", "b", "a"], 3), (["# x", "", "a", "a"], 4), (["0: a", "1,a"], 2)])
def test_a_repeated_name_is_named_with_its_line(write_tree, lines, line):
    with pytest.raises(PellucidError, match=rf"classes\.txt, line {line}: the class 'a' stands twice"):
        MaskFolder(write_tree("set", mask_files(lines)))


@pytest.mark.parametrize(
    "name", ["labels.txt", "Labels.txt", "classes.csv", "names.txt", "labelmap.txt", "CLASSES.TXT"]
)
def test_a_list_with_another_name_is_noted(write_tree, capsys, name):
    files = mask_files(["sky", "bird", "tree"], name=name)
    path = write_tree("set", files)
    assert MaskFolder(path).classes is None
    error = capsys.readouterr().err
    assert f"{name} is not read: the names of the classes of masks are those in classes.txt" in error
    assert error.count("\n") == 1
    MaskFolder(path, classes=["a", "b", "c"])
    (path / name).rename(path / "notes.txt")
    MaskFolder(path)
    (path / "notes.txt").rename(path / "classes.txt")
    assert MaskFolder(path).classes == ("sky", "bird", "tree")
    assert capsys.readouterr().err == ""
