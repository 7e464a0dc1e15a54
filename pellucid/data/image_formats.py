"""Decoding of image formats by Pillow's readers, with strict checks of the files, and conversion to grey or RGB."""

import contextlib
import ctypes
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    _imaging,  # pyright: ignore[reportPrivateImportUsage]  # for its path
)

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_IMAGE_PIXELS

ColourMode = Literal["RGB", "L"]
MIN_RANGE = 10  # of 255; images with a smaller or equal range of values count as uniform
FLOAT_TOLERANCE = 1e-6  # of floats from 0 to 1
_BITS_TAG, _MAXIMUM_TAG = 258, 281  # of TIFF: BitsPerSample and MaxSampleValue


class PixelValueError(ValueError):
    """Pixels with values that cannot be converted to 8 bits in the same way for all images; the message is a phrase."""


class SampleDepth(NamedTuple):
    """The bits of each value that an image uses, from 8 to 16, and whether its file states that they are fewer than 16.

    is_colour: whether the values are those of colours.
    """

    bits: int
    is_stated: bool
    is_colour: bool


def depth_of(image: Image.Image) -> SampleDepth:
    """Return the depth of an image in memory, or of a file that is not yet loaded.

    A TIFF states it by 12 bits for each value, or by MaxSampleValue if that is the largest number of some bits, such as
    4095. (PNG's chunk sBIT does not, because the values of such files have been scaled to 16 bits.)
    """
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else ()
    # The last entry of a tile contains the mode of the values in the file, such as "RGB;16B".
    is_deep = image.mode.startswith("I") or any(";16" in str(tile[3]) for tile in tiles)
    if not is_deep:
        return SampleDepth(8, False, False)
    tags: Any = getattr(image, "tag_v2", {})
    bits = min([*_numbers(tags.get(_BITS_TAG)), 16])
    for largest in _numbers(tags.get(_MAXIMUM_TAG)):
        if 255 < largest < 0xFFFF and largest & (largest + 1) == 0:
            bits = min(bits, largest.bit_length())
    return SampleDepth(bits, bits < 16, not image.mode.startswith("I"))


def _numbers(value: Any) -> list[int]:
    """Return the integers in a TIFF tag, which is a number, a tuple or anything else in a damaged file."""
    return [number for number in (value if isinstance(value, tuple) else (value,)) if isinstance(number, int)]


def flatten_mode(image: Image.Image, mode: ColourMode, depth: SampleDepth) -> Image.Image:
    """Convert any Pillow mode to RGB or L, composited over white, or over black if the result over white is uniform.

    depth: of the file. Of values with more than 8 bits, the upper 8 are kept; floats from 0 to 1 become 0 to 255.
    """
    if depth.is_colour and depth.is_stated:
        raise PixelValueError(f"has colours of {depth.bits} bits in 16, which are not read; save it with 8 bits")
    if image.mode == "F":
        image = Image.fromarray((unit_floats(image) * 255).round().astype(np.uint8))
    elif image.mode.startswith("I"):  # "I" and "I;16...": 16-bit grey
        image = Image.fromarray((deep_values(image, depth) >> (depth.bits - 8)).astype(np.uint8))
    if not image.has_transparency_data:
        return image if image.mode == mode else image.convert(mode)
    image = image.convert("RGBA")
    on_white = _composite_over(255, image).convert(mode)
    if _value_range(on_white) > MIN_RANGE:
        return on_white
    on_black = _composite_over(0, image).convert(mode)
    return on_black if _value_range(on_black) > MIN_RANGE else on_white


def unit_floats(image: Image.Image) -> Any:
    """Return the values of an image of floats; raise PixelValueError unless they are from 0 to 1."""
    values = np.array(image)
    low, high = float(values.min()), float(values.max())  # NaN if there is one
    if not (low >= -FLOAT_TOLERANCE and high <= 1 + FLOAT_TOLERANCE):
        raise PixelValueError(
            f"has floats from {low:g} to {high:g}; scale all images alike to floats from 0 to 1, or to 8 bits"
        )
    return values.clip(0, 1)


def deep_values(image: Image.Image, depth: SampleDepth) -> Any:
    """Return the values of an image in Pillow's mode "I" or "I;16"; raise PixelValueError for values of other bits."""
    values = np.array(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= 1 << depth.bits:
        raise PixelValueError(
            f"has integers from {low:,} to {high:,}, not {depth.bits} bits; scale all images alike to 8 bits"
        )
    return values


def _composite_over(grey: int, image: Image.Image) -> Image.Image:
    """Composite an RGBA image over a uniform grey background."""
    return Image.alpha_composite(Image.new("RGBA", image.size, (grey, grey, grey, 255)), image)


def _value_range(image: Image.Image) -> int:
    """Return the range of values of an image, the largest over its channels."""
    values = np.asarray(image)  # (H, W) or (H, W, 3)
    return int(np.max(values.max(axis=(0, 1)) - values.min(axis=(0, 1))))


ROWS_PER_STRIP = 1024  # of a large image that are copied at a time
JPEG = b"\xff\xd8\xff"  # the first bytes of a file
WEBP = b"RIFF"
LOSSLESS_WEBP = b"VP8L"  # bytes 12 to 16 of a WebP that is compressed without loss
_COMPRESSION_TAG = 259  # of TIFF
_TIFF_COMPRESSIONS = {5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits"}  # that libtiff decompresses

# Readers are called directly: Image.open would also try other formats, and would warn about large images before the
# check of their size.
_READERS: tuple[tuple[bytes, Callable[[io.BytesIO], ImageFile.ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (JPEG, JpegImagePlugin.JpegImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"GIF87a", GifImagePlugin.GifImageFile),
    (b"GIF89a", GifImagePlugin.GifImageFile),
    (WEBP, WebPImagePlugin.WebPImageFile),
    *((b"P%d" % kind, PpmImagePlugin.PpmImageFile) for kind in range(1, 7)),
    (b"II*\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", TiffImagePlugin.TiffImageFile),
)
SUPPORTED_FORMATS = "PNG, JPEG, BMP, GIF, WEBP, PPM or TIFF"

# Exceptions of Pillow's readers for damaged files, and its warnings, see `pillow_warnings_as_errors`.
DAMAGE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError,
    AttributeError, AssertionError, NotImplementedError, RuntimeError, struct.error, zlib.error,
    UnidentifiedImageError, Image.DecompressionBombError, Warning,
)  # fmt: skip


# Without handlers, libtiff prints nothing; Pillow raises its errors. Where the symbols are hidden, it prints them too.
with contextlib.suppress(OSError, AttributeError):
    _libtiff = ctypes.CDLL(_imaging.__file__)
    _libtiff.TIFFSetErrorHandler(None)
    _libtiff.TIFFSetWarningHandler(None)


def decode_array(
    data: bytes, name: str, convert: Callable[[Image.Image, SampleDepth], Any], side: int | None = None
) -> Any:
    """Decode an image and return `convert(image, depth)` as an array.

    Raises PellucidError, naming the file, if it is damaged, or if `convert` raises PixelValueError. side: the minimum
    length in pixels of the sides of a JPEG at a reduced scale; None for the full scale.
    """
    reader = reader_for(data, name)
    try:
        with reader(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > MAX_IMAGE_PIXELS:
                raise PellucidError(
                    f"{name} declares {width}x{height} pixels, above the limit of {MAX_IMAGE_PIXELS}; make it smaller"
                )
            depth = depth_of(image)
            if any(tile[0] == "libtiff" for tile in image.tile):
                _check_compression(image, name)
            if image.format == "PNG":
                _check_png(data)
            if side is not None:
                # a JPEG at 1/2, 1/4 or 1/8: the decoder omits frequencies that the resizing would average out
                image.draft(None, (side, side))  # changes nothing for other formats
            image.load()
            pixels = convert(image, depth)
            return _pixel_array(pixels) if isinstance(pixels, Image.Image) else pixels
    except PixelValueError as error:
        raise PellucidError(f"{name} {error}") from error
    except DAMAGE_ERRORS as error:
        raise damage_error(name, error) from error


def _check_compression(image: Any, name: str) -> None:
    """Raise PellucidError for a TIFF with another compression than those of _TIFF_COMPRESSIONS."""
    if image.tag_v2.get(_COMPRESSION_TAG) not in _TIFF_COMPRESSIONS:
        known_compressions = ", ".join(dict.fromkeys(_TIFF_COMPRESSIONS.values()))
        raise PellucidError(f"{name} is a TIFF with another compression than {known_compressions}; save it as PNG")


def _pixel_array(image: Image.Image) -> Any:
    """Return the pixels of an image as an array; a large image is copied in strips, to save memory."""
    strips = [
        (0, first_row, image.width, min(first_row + ROWS_PER_STRIP, image.height))
        for first_row in range(0, image.height, ROWS_PER_STRIP)
    ]
    first_strip = np.array(image.crop(strips[0]))
    if len(strips) == 1:
        return first_strip
    array = np.empty((image.height, *first_strip.shape[1:]), first_strip.dtype)
    for left, top, right, bottom in strips:
        array[top:bottom] = np.asarray(image.crop((left, top, right, bottom)))
    return array


def reader_for(data: bytes, name: str) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    """Return the reader of an image's format; raise PellucidError, naming the file, for an unsupported format."""
    if not data:
        raise PellucidError(f"{name} is empty; replace it by an image")
    reader = next((reader for magic, reader in _READERS if data.startswith(magic)), None)
    if reader is None:
        raise PellucidError(f"{name} is not an image that can be read; give {SUPPORTED_FORMATS}")
    return reader


def damage_error(name: str, error: Exception) -> PellucidError:
    """Return the error for a file in which Pillow finds a fault."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return PellucidError(f"{name} is damaged or cannot be decoded ({reason}); replace it")


def _check_png(data: bytes) -> None:
    """Raise ValueError unless every chunk up to IEND has the right CRC; Pillow does not check it for pixel data."""
    position = 8  # after the signature; a chunk has its length and its type, 4 bytes each, its data, and 4 bytes of CRC
    chunk_type = b""
    while chunk_type != b"IEND":
        length, chunk_type = struct.unpack_from(">I4s", data, position)
        (crc,) = struct.unpack_from(">I", data, position + 8 + length)
        if zlib.crc32(data[position + 4 : position + 8 + length]) != crc:
            raise ValueError(f"the checksum of chunk {chunk_type.decode('ascii', 'replace')!r} is wrong")
        position += 12 + length
