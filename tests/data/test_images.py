"""Images of every accepted format become tensors; other files are refused by name before they are decoded."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from pellucid.base.errors import PellucidError
from pellucid.data import images, load_image
from pellucid.data.images import load_channels

KINDS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")


def encode(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def load_error(source, **options) -> str:
    with pytest.raises(PellucidError) as info:
        load_image(source, **options)
    assert "\n" not in str(info.value)
    return str(info.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_format_is_read(kind, noise_image, tmp_path):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(Image.fromarray(noise_image), kind, **options)
    (tmp_path / "picture").write_bytes(data)
    from_bytes, from_file = load_image(data, "picture"), load_image(tmp_path / "picture")
    assert torch.equal(from_bytes, from_file)
    assert from_bytes.dtype == torch.uint8
    assert tuple(from_bytes.shape) == (3, 7, 9)
    if kind in ("PNG", "BMP", "WEBP", "PPM", "TIFF"):
        np.testing.assert_array_equal(from_bytes.permute(1, 2, 0).numpy(), noise_image)


def test_grey_is_luma_and_size_is_height_by_width(noise_image):
    data = encode(Image.fromarray(noise_image), "PNG")
    grey = load_image(data, mode="L")
    assert tuple(grey.shape) == (1, 7, 9)
    np.testing.assert_allclose(grey[0].numpy(), noise_image @ [0.299, 0.587, 0.114], atol=1)
    assert tuple(load_image(data, size=(3, 11)).shape) == (3, 3, 11)
    assert tuple(load_image(data, size=7).shape) == (3, 7, 7)


def test_the_exif_orientation_is_applied(noise_image):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation 6: rotate by 90 degrees clockwise
    data = encode(Image.fromarray(noise_image), "PNG", exif=exif)
    np.testing.assert_array_equal(load_image(data).permute(1, 2, 0).numpy(), np.rot90(noise_image, -1))


def textured_image(height: int, width: int) -> Image.Image:
    """Return an image with edges, gradients and fine texture."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 7), np.cos(y / 11), np.sin((x + y) / 3)], -1)
    blocks = ((x // 60 + y // 40) % 3)[..., None] * 60
    return Image.fromarray((70 + blocks + 30 * waves).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("size", "decoded"), [((64, 48), (300, 200)), ((70, 70), (300, 200)), ((190, 100), (600, 400))]
)
def test_large_jpegs_are_decoded_at_a_reduced_scale(size, decoded, orientation, monkeypatch):
    """Pillow decodes at a reduced scale, of at least twice the requested size, before the image is resized."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(textured_image(800, 1200), "JPEG", quality=95, exif=exif)
    sizes = []
    load = JpegImageFile.load

    def record_size(image):
        sizes.append(image.size)
        return load(image)

    monkeypatch.setattr(JpegImageFile, "load", record_size)
    result = load_image(data, size=size).permute(1, 2, 0).numpy().astype(float)
    assert sizes[0] == decoded
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
    expected = np.array(upright.resize(size[::-1], Image.Resampling.BILINEAR)).astype(float)
    assert np.abs(result - expected).mean() < 1.5


def test_transparent_pixels_are_drawn_on_white():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = (0, 255, 51)  # alpha of three black pixels: transparent, opaque, one fifth
    assert load_image(encode(Image.fromarray(pixels), "PNG"))[0, 0].tolist() == [255, 0, 204]


def bar_on_transparent(ink: int, clear: int = 0) -> bytes:
    """Return a PNG with an opaque bar of value `ink` on a transparent ground, whose pixels have the value `clear`."""
    pixels = np.full((8, 8, 4), clear, np.uint8)
    pixels[..., 3] = 0
    pixels[2:6, 3] = (ink, ink, ink, 255)
    return encode(Image.fromarray(pixels), "PNG")


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("clear", [0, 255])
@pytest.mark.parametrize(("ink", "ground"), [(0, 255), (128, 255), (255, 0), (250, 0)])
def test_white_drawings_on_a_transparent_ground_are_drawn_on_black(ink, ground, clear, mode):
    result = load_image(bar_on_transparent(ink, clear), mode=mode)
    assert result[:, 0, 0].unique().tolist() == [ground]
    assert result[:, 3, 3].unique().tolist() == [ink]


def test_fully_transparent_and_white_images_are_white():
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    white = Image.new("RGBA", (4, 4), (255, 255, 255, 255))
    assert all(load_image(encode(image, "PNG")).unique().tolist() == [255] for image in (clear, white))


def test_palettes_with_a_transparent_entry_are_read():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putdata([0, 1])
    assert load_image(encode(image, "PNG"))[:, 0, 0].tolist() == [10, 20, 30]
    assert load_image(encode(image, "GIF", transparency=1))[:, 0, 1].tolist() == [255, 255, 255]
    assert load_image(encode(image, "PNG", transparency=b"\xff\x00"))[:, 0, 1].tolist() == [255, 255, 255]


def test_images_of_16_bits_keep_the_upper_8():
    image = Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16))
    assert load_image(encode(image, "PNG"), mode="L")[0, 0].tolist() == [0, 0, 1, 255]


def test_images_of_one_bit_and_cmyk_are_converted():
    assert load_image(encode(Image.new("1", (2, 2), 1), "PNG"))[:, 0, 0].tolist() == [255, 255, 255]
    assert load_image(encode(Image.new("CMYK", (2, 2)), "TIFF"))[:, 0, 0].tolist() == [255, 255, 255]


def png_header(width: int, height: int) -> bytes:
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(bytes(100))
    chunks = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (ihdr, idat, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(8001, 8000), (20000, 20000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bombs_are_refused_from_their_header(size):
    message = load_error(png_header(*size), name="bomb.png")
    assert "bomb.png" in message
    assert f"{size[0]}x{size[1]}" in message


def test_a_bmp_bomb_is_refused():
    header = b"BM" + struct.pack("<IHHI", 60, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 50000, 50000, 1, 24, *[0] * 6)
    assert "50000x50000" in load_error(header, name="bomb.bmp")


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_pictures_are_refused(kind):
    pixels = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = encode(Image.fromarray(pixels), kind)
    for fraction in (0.1, 0.5, 0.9):
        assert "cut" in load_error(data[: int(len(data) * fraction)], name="cut")


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.4", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"P6"])
def test_files_that_are_not_images_are_refused(data):
    assert "thing.png" in load_error(data, name="thing.png")


def test_formats_that_are_not_listed_are_refused(noise_image):
    assert "PNG, JPEG" in load_error(encode(Image.fromarray(noise_image), "ICO"), name="a.ico")


def test_missing_files_folders_and_named_pipes_are_refused(tmp_path):
    assert f"{tmp_path / 'none.png'} is missing" in load_error(tmp_path / "none.png")
    assert f"{tmp_path} is not a file" in load_error(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a file" in load_error(tmp_path / "pipe.png")
    load_error(Path("a\0b.png"))


def test_invalid_modes_and_sizes_are_refused(noise_image):
    data = encode(Image.fromarray(noise_image), "PNG")
    assert "CMYK" in load_error(data, mode="CMYK")
    assert "size" in load_error(data, size=(0, 5))
    assert "size" in load_error(data, size=(10**6, 10**6))


def test_large_images_resized_in_strips_have_equal_pixels(monkeypatch):
    """Decode and resize grey, palette, transparent and rotated images in strips of 4 rows and as a whole."""
    rng = np.random.default_rng(0)
    turned = Image.Exif()
    turned[0x0112] = 6
    for mode, channels in (("L", 1), ("RGB", 3), ("RGBA", 4), ("P", 1)):
        values = rng.integers(0, 255, (19, 11, channels), dtype=np.uint8)
        image = Image.fromarray(values[..., 0] if channels == 1 else values).convert(mode)
        file = io.BytesIO()
        image.save(file, "PNG", exif=turned)
        result = []
        for rows in (4, 1024):
            monkeypatch.setattr(images, "ROWS_PER_STRIP", rows)
            x = load_image(file.getvalue())
            result.append((x, images.luma(x), images.resized(x, (7, 9)), load_channels(file.getvalue())))
        assert result[0][0].shape == (3, 11, 19)
        assert all(torch.equal(one, other) for one, other in zip(*result, strict=True))
