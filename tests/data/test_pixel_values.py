"""Values of pixels: compressed TIFFs, floats, and images of 10 or 12 bits in files of 16."""

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
from pellucid.data import DetectionFolder, load_image, load_splits
from pellucid.data.annotations.lint import lint
from pellucid.data.images import load_channels
from pellucid.recipe.checked.reading import read_collection
from pellucid.recipe.material import load_material
from pellucid.recipe.tables import Data
from tests.data.annotations.sets import voc_xml
from tests.data.pictures import grey_bytes, picture_bytes

RNG = np.random.default_rng(0)
COMPRESSIONS = ("tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits")
SHORT, LONG = 3, 4  # types of TIFF's tags


@pytest.fixture(autouse=True)
def each_note_is_new():
    note_first_time.cache_clear()


def smooth(shape, largest=255):
    """Return an array of ramps, which compress well."""
    return (np.indices(shape).sum(0) * 7 % (largest + 1)).astype(np.float64)


def tiff_bytes(data, width, height, bits=16, **tags):
    """Return a TIFF of one strip, written by hand. tags: number by `tNUMBER`."""
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 0, 277: 1, 278: height, 279: len(data)}
    entries |= {int(name[1:]): value for name, value in tags.items()}
    offset = 8 + 2 + 12 * len(entries) + 4
    entries[273] = offset
    out = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, value in sorted(entries.items()):
        out += struct.pack("<HHII", tag, LONG, 1, value)
    return out + struct.pack("<I", 0) + data


def deep_png(values):
    """Return a PNG of 16 bits of colours (H, W, 3), which Pillow cannot write."""
    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("kind", ["grey", "colour", "alpha", "16 bits", "float"])
def test_compressed_tiffs_are_read(kind, noise, compression):
    channels = {"colour": (3,), "alpha": (4,)}.get(kind, ())
    values = RNG.integers(0, 256, (13, 17, *channels)) if noise else smooth((13, 17, *channels))
    array = {"16 bits": values * 257, "float": values / 255}.get(kind, values)
    array = array.astype({"16 bits": np.uint16, "float": np.float32}.get(kind, np.uint8))
    if kind == "alpha":
        array[..., 3] = 255
    result = load_image(grey_bytes(array, "TIFF", compression=compression))
    expected = np.broadcast_to(values[..., None] if not channels else values[..., :3], (13, 17, 3))
    np.testing.assert_array_equal(result.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_tiffs_with_a_predictor_are_read(compression, predictor):
    array = smooth((20, 30, 3)).astype(np.uint8)
    data = grey_bytes(array, "TIFF", compression=compression, tiffinfo={317: predictor})
    np.testing.assert_array_equal(load_image(data).permute(1, 2, 0).numpy(), array)


@pytest.mark.parametrize("compression", [8, 5])
@pytest.mark.parametrize("cut", [7, 40, 100])
def test_truncated_tiffs_are_refused_without_a_line_of_the_decoder(compression, cut, capfd):
    array = RNG.integers(0, 256, (30, 40), np.uint8)
    if compression == 8:
        data = zlib.compress(array.tobytes())
    else:
        encoded = grey_bytes(array, "TIFF", compression="tiff_lzw")
        with Image.open(io.BytesIO(encoded)) as image:
            data = encoded[image.tag_v2[273][0] :][: image.tag_v2[279][0]]
    whole = tiff_bytes(data, 40, 30, 8, t259=compression)
    np.testing.assert_array_equal(load_image(whole, mode="L")[0].numpy(), array)
    cut = max(cut, 12) if compression == 8 else cut  # without its checksum, a strip of deflate is complete
    for damaged in (tiff_bytes(data[:-cut], 40, 30, 8, t259=compression), whole[:-cut]):
        with pytest.raises(PellucidError, match=r"a\.tif is damaged or cannot be decoded"):
            load_image(damaged, "a.tif")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("compression", ["jpeg", "group4", "tiff_ccitt"])
def test_other_compressions_are_refused(compression, capfd):
    image = Image.fromarray(RNG.integers(0, 256, (9, 9), np.uint8)).convert("L" if compression == "jpeg" else "1")
    out = io.BytesIO()
    image.save(out, "TIFF", compression=compression)
    message = "a.tif is a TIFF with another compression than LZW, deflate, PackBits; save it as PNG"
    with pytest.raises(PellucidError, match=message):
        load_image(out.getvalue(), "a.tif")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("seed", range(5))
def test_floats_from_0_to_1_are_read_as_8_bits(seed):
    values = np.random.default_rng(seed).uniform(0, 1, (5, 6)).astype(np.float32)
    values[0, :2] = 0, 1
    data = grey_bytes(values, "TIFF")
    np.testing.assert_array_equal(load_image(data, mode="L")[0].numpy(), np.round(values.astype(float) * 255))
    np.testing.assert_array_equal(load_channels(data)[0].numpy(), values)
    dark = grey_bytes(values * np.float32(0.1), "TIFF")
    assert int(load_image(dark).max()) == 26, "each image is scaled alike"


@pytest.mark.parametrize(
    ("low", "high"), [(0, 255), (0, 65535), (-1, 1), (0, 1.01), (-0.001, 1), (0, float("inf")), (float("nan"), 1)]
)
def test_other_floats_are_refused_with_their_range(low, high):
    values = np.array([[low, high, 0.5]], np.float32)
    with pytest.raises(PellucidError, match=r"a\.tif has floats from .* to .*; scale all images alike to floats"):
        load_image(grey_bytes(values, "TIFF"), "a.tif")


def test_integers_of_other_bits_are_refused_with_their_range():
    for values in (np.array([[0, 70_000]], np.int32), np.array([[-1024, 3071]], np.int32)):
        with pytest.raises(PellucidError, match=r"has integers from .* to .*, not 16 bits; scale all images alike"):
            load_image(grey_bytes(values, "TIFF"), "a.tif")


@pytest.mark.parametrize("bits", [9, 10, 11, 12, 14, 15])
def test_a_tiff_may_state_its_bits(bits):
    """The same shift is used for all images, also for one that is dark."""
    for largest in ((1 << bits) - 1, 300):
        values = np.linspace(0, largest, 48).astype(np.uint16).reshape(6, 8)
        data = tiff_bytes(values.tobytes(), 8, 6, t281=(1 << bits) - 1)
        np.testing.assert_array_equal(load_image(data, mode="L")[0].numpy(), values >> (bits - 8))
        np.testing.assert_allclose(load_channels(data)[0].numpy(), values / ((1 << bits) - 1), rtol=1e-6)
    values[0, 0] = 1 << bits
    with pytest.raises(PellucidError, match=f"has integers from .* to .*, not {bits} bits"):
        load_image(tiff_bytes(values.tobytes(), 8, 6, t281=(1 << bits) - 1))


def test_packed_12_bits_are_read():
    values = (np.arange(48) * 85).astype(np.uint16).reshape(6, 8)
    bits = "".join(f"{value:012b}" for value in values.ravel())
    data = bytes(int(bits[k : k + 8], 2) for k in range(0, len(bits), 8))
    np.testing.assert_array_equal(load_image(tiff_bytes(data, 8, 6, 12), mode="L")[0].numpy(), values >> 4)


@pytest.mark.parametrize("maximum", [4000, 3872, 255, 65535, 0])
def test_a_largest_value_that_is_no_number_of_bits_states_nothing(maximum):
    values = np.full((2, 3), 40_000, np.uint16)
    assert int(load_image(tiff_bytes(values.tobytes(), 3, 2, t281=maximum)).max()) == 40_000 >> 8


def deep_images(largest, count=6, kind="PNG"):
    """Return files of 16 bits with values up to `largest` in one of them."""
    images = []
    for k in range(count):
        shape = (8, 8, 3) if kind == "colour" else (8, 8)
        values = RNG.integers(0, largest + 1 if k == 3 else largest // 2 + 1, shape)
        values[0, 0] = largest if k == 3 else values[0, 0]
        images.append(deep_png(values) if kind == "colour" else grey_bytes(values.astype(np.uint16), kind))
    return images


def class_folders(images, suffix):
    return {f"{'ab'[k % 2]}/{k}.{suffix}": data for k, data in enumerate(images)}


def in_memory(path):
    load_splits(path)


def streamed(path):
    load_material(Data(str(path), size=8, stream=True), 0).refuse_unreadable()


def in_memory_masks(path):
    load_material(Data(str(path)), 0)


def annotated(path):
    DetectionFolder(path).refuse_unreadable()


def gestures(path):
    read_collection(path, 8)


@pytest.mark.parametrize("largest", [200, 255, 800, 1023, 2047, 4095])
@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("TIFF", "tif"), ("colour", "png")])
@pytest.mark.parametrize("read", [in_memory, streamed, gestures])
def test_sets_of_8_to_12_bits_in_16_are_refused(write_tree, read, kind, suffix, largest):
    path = write_tree("set", class_folders(deep_images(largest, kind=kind), suffix))
    shown = largest | 0xFF if kind == "colour" else largest
    bits = 8 if shown < 256 else max(10, shown.bit_length())
    with pytest.raises(PellucidError, match=rf"\d\.{suffix}: the images of 16 bits have values of at most") as caught:
        read(path)
    assert f" {shown:,} of 65,535, so they would be nearly black; if they have {bits} bits, mult" in str(caught.value)
    assert f"by {1 << (16 - bits)}, or save" in str(caught.value)


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("TIFF", "tif"), ("colour", "png")])
@pytest.mark.parametrize("largest", [4096, 5000, 65535])
def test_sets_of_16_bits_are_read_alike_even_with_dark_images(write_tree, kind, suffix, largest):
    images = deep_images(largest, kind=kind)
    path = write_tree("set", class_folders(images, suffix))
    for read in (in_memory, streamed):
        read(path)
    assert int(load_image(images[3]).max()) == largest >> 8


@pytest.mark.parametrize("format_name", ["masks", "voc"])
def test_other_data_of_12_bits_are_refused(write_tree, format_name):
    images = deep_images(3000)
    files = {f"{'train/' * (format_name == 'masks')}{k}.png": data for k, data in enumerate(images)}
    for k in range(6):
        files |= {f"trainannot/{k}.png": grey_bytes(np.arange(64).reshape(8, 8) % 2)} if format_name == "masks" else {}
        files |= {f"{k}.xml": voc_xml(("a", 1, 1, 5, 5, 0), size=(8, 8))} if format_name == "voc" else {}
    path = write_tree("set", files)
    read = in_memory_masks if format_name == "masks" else annotated
    with pytest.raises(PellucidError, match="the images of 16 bits have values of at most 3,000 of 65,535"):
        read(path)


def test_16_bit_files_that_are_not_read_do_not_matter(write_tree):
    """Such as Pascal VOC's maps of objects, and depths beside the images of a data set."""
    maps = deep_images(9)
    files = {f"{k}.xml": voc_xml(("a", 1, 1, 5, 5, 0), size=(8, 8)) for k in range(6)}
    files |= {f"{k}.png": picture_bytes((k, 90, 9), (8, 8)) for k in range(6)}
    files |= {f"SegmentationObject/x{k}.png": data for k, data in enumerate(maps)}
    path = write_tree("set", files)
    annotated(path)
    assert not any("16 bits" in fault.reason for fault in lint(path).faults)
    folders = {f"train/{'ab'[k % 2]}/{k}.png": picture_bytes((k, 90, 9), (8, 8)) for k in range(6)}
    folders |= {f"depth/{'ab'[k % 2]}/{k}.png": data for k, data in enumerate(maps)}
    path = write_tree("classes", folders)
    assert len(load_splits(path).train) + len(load_splits(path).test) == 6


def test_a_single_dark_image_is_read_with_a_note(tmp_path, capsys):
    dark, bright = deep_images(3000)[3], deep_images(30_000)[3]
    assert int(load_image(dark).max()) == 3000 >> 8
    assert "images of 16 bits with values up to 4,095 of 65,535 or less are nearly black" in capsys.readouterr().err
    assert int(load_image(bright).max()) == 30_000 >> 8
    black = grey_bytes(np.zeros((2, 2), np.uint16))
    assert torch.equal(load_image(black), torch.zeros(3, 2, 2, dtype=torch.uint8))
    assert capsys.readouterr().err == ""


def test_an_evaluation_refuses_12_bits(write_tree, capsys):
    path = write_tree("set", {f"{k}/a.png": data for k, data in enumerate(deep_images(3000, 10))})
    assert main(["evaluate", "mnist-mlp-100", "--data", str(path)]) == 2
    assert "the images of 16 bits have values of at most 3,000" in capsys.readouterr().err
