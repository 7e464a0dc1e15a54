"""Decoding of image files, or of their bytes, to uint8 tensors; files are checked before they are decoded."""

import contextlib
import io
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)
from torch import Tensor

from pellucid.config import LIMITS_HINT, scaled_limit
from pellucid.data.colour_modes import ColourMode, check_not_float, flatten_mode, sixteen_bit_values
from pellucid.errors import PellucidError
from pellucid.settings.arguments import checked

K = TypeVar("K")
T = TypeVar("T")


OnError = Literal["raise", "skip"]
MAX_FILE_BYTES = 200 << 20
MAX_PIXELS = 64_000_000
MAX_FULL_PIXELS = 24_000_000  # of a picture that is processed at its full size; with copies it needs 25 bytes per pixel
ROWS_PER_STRIP = 1024  # of a large image that are copied at a time
JPEG_SCALE_MARGIN = 2  # a JPEG decoded at a reduced scale has at least this many times the requested size
DECODE_THREADS = 2  # Pillow releases the global interpreter lock while it decodes
FILES_PER_CHUNK = 256  # files submitted to the workers at a time; an interrupt waits only for these
_ORIENTATION = 0x0112  # the EXIF tag
_JPEG = b"\xff\xd8\xff"  # the first bytes of a file


# Readers are called directly: Image.open would also try other formats, and would warn about large images before the
# check of their size.
_READERS: tuple[tuple[bytes, Callable[[io.BytesIO], ImageFile.ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (_JPEG, JpegImagePlugin.JpegImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"GIF87a", GifImagePlugin.GifImageFile),
    (b"GIF89a", GifImagePlugin.GifImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    *((b"P%d" % kind, PpmImagePlugin.PpmImageFile) for kind in range(1, 7)),
    (b"II*\0", TiffImagePlugin.TiffImageFile),
    (b"MM\0*", TiffImagePlugin.TiffImageFile),
)
SUPPORTED_FORMATS = "PNG, JPEG, BMP, GIF, WEBP, PPM or uncompressed TIFF"

# Exceptions of Pillow's readers for damaged files; includes warnings, which `strict_warnings` turns into errors.
DAMAGE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError,
    AttributeError, AssertionError, NotImplementedError, RuntimeError, struct.error, zlib.error,
    UnidentifiedImageError, Image.DecompressionBombError, Warning,
)  # fmt: skip


@checked
def load_image(
    source: str | os.PathLike[str] | bytes,
    name: str = "",
    size: int | tuple[int, int] | None = None,
    mode: ColourMode = "RGB",
) -> Tensor:
    """Read an image into a uint8 tensor (3, H, W) for mode "RGB" or (1, H, W) for "L".

    source: a file or its bytes; name: its name in errors. size: (H, W) to resize to, or one number for a square. The
    EXIF orientation is applied. Transparent images are composited over white, or over black if the result over white is
    uniform. Only the upper 8 bits of 16-bit grey, and the first frame of an animation, are read. Raises PellucidError,
    naming the file, unless it is a complete image in one of SUPPORTED_FORMATS with at most 64 million pixels.
    """
    size = check_format(size, mode)
    with strict_warnings():
        return decode(source, name or _name_of(source), size, mode)


@checked
def load_channels(source: str | os.PathLike[str] | bytes, name: str = "") -> Tensor:
    """Read an image with its own channels: (1, H, W) grey, (3, H, W) RGB, or (2 or 4, H, W) with a final alpha channel.

    Values are uint8, except that 16-bit grey becomes float32 from 0 to 1. Otherwise it does the same as `load_image`.
    """

    def channels(image: Image.Image) -> Any:
        upright = _apply_orientation(image)
        check_not_float(upright)
        if upright.mode.startswith("I"):
            return (sixteen_bit_values(upright) / 0xFFFF).astype(np.float32)
        is_grey = upright.mode in ("1", "L", "LA", "La")
        return upright.convert(("L" if is_grey else "RGB") + ("A" if upright.has_transparency_data else ""))

    with strict_warnings():
        return channels_first(_decode_array(_bytes_of(source), name or _name_of(source), channels))


def check_format(size: int | tuple[int, int] | None, mode: str) -> tuple[int, int] | None:
    """Return the size as (H, W) or None; raise PellucidError for other sizes, and unless mode is "RGB" or "L"."""
    if mode not in ("RGB", "L"):
        raise PellucidError(f"unknown image mode {mode!r}; give 'RGB' or 'L'")
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int) else size
    is_valid = (
        isinstance(sides, list | tuple) and len(sides) == 2 and all(type(side) is int and side > 0 for side in sides)
    )
    if not is_valid or sides[0] * sides[1] > MAX_PIXELS:
        raise PellucidError(f"invalid image size {size!r:.60}; give (height, width) in pixels, or one number")
    return sides[0], sides[1]


def check_on_error(on_error: str) -> str:
    """Return on_error; raise PellucidError unless it is "raise" or "skip"."""
    if on_error not in ("raise", "skip"):
        raise PellucidError(f"unknown on_error {on_error!r}; give 'raise' or 'skip'")
    return on_error


@contextlib.contextmanager
def strict_warnings() -> Iterator[None]:
    """Turn Pillow's warnings about damaged files into errors; must not be entered by several threads.

    Pillow's log messages are not printed unless logging is configured.
    """
    logger, handler = logging.getLogger("PIL"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            warnings.simplefilter("error", RuntimeWarning)
            yield
    finally:
        logger.removeHandler(handler)


def map_in_threads(function: Callable[[K], T], items: Sequence[K]) -> Generator[tuple[K, T], None, None]:
    """Yield (item, function(item)) in order, computed ahead in threads; closing the iterator stops them."""
    pool = ThreadPoolExecutor(DECODE_THREADS)
    try:
        for start in range(0, len(items), FILES_PER_CHUNK):
            chunk = items[start : start + FILES_PER_CHUNK]
            yield from zip(chunk, pool.map(function, chunk), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def attempt_all(
    function: Callable[[K], T], items: Sequence[K]
) -> Generator[Iterator[tuple[K, T | PellucidError]], None, None]:
    """Return a context manager of an iterator over (item, function(item)), or (item, error) if PellucidError is raised.

    The results are computed ahead in threads, inside `strict_warnings`.
    """

    def attempt(item: K) -> T | PellucidError:
        try:
            return function(item)
        except PellucidError as error:
            return error

    with strict_warnings(), contextlib.closing(map_in_threads(attempt, items)) as results:
        yield results


def decode(source: str | os.PathLike[str] | bytes, name: str, size: tuple[int, int] | None, mode: ColourMode) -> Tensor:
    """Decode an image as `load_image` does, from any thread; call inside `strict_warnings`.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size, which is much faster, if JPEG_SCALE_MARGIN times `size` remain.
    """

    def flattened(image: Image.Image) -> Image.Image:
        upright = _apply_orientation(image)
        if upright.mode == "L" and not upright.has_transparency_data:
            return _resized(upright, size).convert(mode)  # same result as converting first, with a third of the memory
        return _resized(flatten_mode(upright, mode), size)

    # Each side keeps the pixels that the longer one needs: the EXIF orientation may exchange them after decoding.
    side = None if size is None else JPEG_SCALE_MARGIN * max(size)
    return channels_first(_decode_array(_bytes_of(source), name, flattened, side))


def _apply_orientation(image: Image.Image) -> Image.Image:
    """Return the image with its EXIF orientation applied; the image itself if it is upright."""
    is_rotated = image.getexif().get(_ORIENTATION, 1) != 1
    return ImageOps.exif_transpose(image) if is_rotated else image


def _resized(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    """Return the image resized bilinearly to (H, W), with antialiasing; unchanged for None."""
    if size is None or image.size == (size[1], size[0]):
        return image
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def read_full_size(source: str | os.PathLike[str] | bytes, name: str = "", limit: int = MAX_FULL_PIXELS) -> bytes:
    """Return the bytes of a picture that is processed at its full size.

    Raises PellucidError, naming the picture, if its header declares more pixels than `limit` (times PELLUCID_LIMITS).
    """
    data, name = _bytes_of(source), name or _name_of(source)
    height, width = image_size(data, name, scaled_limit(limit))
    if height * width > scaled_limit(limit):
        raise PellucidError(
            f"{name} has {width}x{height} pixels, above the limit of {scaled_limit(limit):,} for a picture that "
            f"is processed in its own size; {LIMITS_HINT}"
        )
    return data


def _bytes_of(source: str | os.PathLike[str] | bytes) -> bytes:
    return source if isinstance(source, bytes) else read_file(Path(source))


def _name_of(source: str | os.PathLike[str] | bytes) -> str:
    return "image" if isinstance(source, bytes) else str(source)


def decode_mask(data: bytes, name: str) -> Tensor:
    """Read the values of an 8-bit grey or palette image as uint8 (H, W); raise PellucidError for other images."""
    if data.startswith(_JPEG):
        raise PellucidError(f"{name} is a JPEG, whose compression changes the values of a mask; save it as PNG")

    def values(image: Image.Image) -> Image.Image:
        if image.mode not in ("L", "P", "1"):
            raise ValueError(f"a mask of mode {image.mode}; save it with one 8-bit value, its class, for each pixel")
        return image

    return torch.from_numpy(_decode_array(data, name, values).astype(np.uint8))


def resized(x: Tensor, size: tuple[int, int], smooth: bool = True) -> Tensor:
    """Resize a uint8 image (C, H, W) to `size`: bilinearly like `decode`, or without `smooth` to the nearest pixel."""
    if x.shape[1:] == size:
        return x
    method = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return channels_first(np.array(to_pillow(x).resize((size[1], size[0]), method)))


def to_pillow(x: Tensor) -> Image.Image:
    """Return a uint8 image (C, H, W) with 1 or 3 channels as a Pillow image."""
    array = x.permute(1, 2, 0).numpy()
    array = array[..., 0] if len(x) == 1 else array
    if len(array) <= ROWS_PER_STRIP:
        return Image.fromarray(array)
    image = Image.new("L" if len(x) == 1 else "RGB", (x.shape[2], x.shape[1]))
    for first_row in range(0, len(array), ROWS_PER_STRIP):
        image.paste(Image.fromarray(array[first_row : first_row + ROWS_PER_STRIP]), (0, first_row))
    return image


def luma(x: Tensor) -> Tensor:
    """Return the luma (1, H, W) of a uint8 image (C, H, W), as read in mode "L"."""
    return torch.cat(
        [channels_first(np.array(to_pillow(strip).convert("L"))) for strip in x.split(ROWS_PER_STRIP, 1)], 1
    )


def pillow_pixels(image: Image.Image, name: str) -> Any:
    """Return the pixels (H, W, 3) of an image in memory, of any Pillow mode, as `load_image` reads them from a file."""
    try:
        return np.array(flatten_mode(_apply_orientation(image), "RGB"))
    except DAMAGE_ERRORS as error:
        raise _damage_error(name, error) from error


def channels_first(array: Any) -> Tensor:
    """Return a copy of an array (H, W) or (H, W, C) as a tensor (C, H, W)."""
    return torch.from_numpy(np.array(array.reshape(*array.shape[:2], -1).transpose(2, 0, 1), order="C"))


def _decode_array(data: bytes, name: str, convert: Callable[[Image.Image], Any], side: int | None = None) -> Any:
    """Decode an image and return `convert(image)` as an array; raise PellucidError, naming the file, if it is damaged.

    side: the minimum length in pixels of the sides of a JPEG at a reduced scale; None for the full scale.
    """
    reader = _reader_for(data, name)
    try:
        with reader(io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PellucidError(
                    f"{name} declares {width}x{height} pixels, above the limit of {MAX_PIXELS}; make it smaller"
                )
            if any(tile[0] == "libtiff" for tile in image.tile):
                # libtiff prints its errors and ignores some damage.
                raise PellucidError(f"{name} is a compressed TIFF, which is not supported; save it as PNG")
            if image.format == "PNG":
                _check_png(data)
            if side is not None:
                image.draft(None, (side, side))  # changes nothing for other formats
            image.load()
            pixels = convert(image)
            return _pixel_array(pixels) if isinstance(pixels, Image.Image) else pixels
    except DAMAGE_ERRORS as error:
        raise _damage_error(name, error) from error


def _pixel_array(image: Image.Image) -> Any:
    """Return the pixels of an image as an array; a large image is copied in strips, to save memory."""
    strips = [
        (0, first_row, image.width, min(first_row + ROWS_PER_STRIP, image.height))
        for first_row in range(0, image.height, ROWS_PER_STRIP)
    ]
    first = np.array(image.crop(strips[0]))
    if len(strips) == 1:
        return first
    array = np.empty((image.height, *first.shape[1:]), first.dtype)
    for strip in strips:
        array[strip[1] : strip[3]] = np.asarray(image.crop(strip))
    return array


def _reader_for(data: bytes, name: str) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    """Return the reader of an image's format; raise PellucidError, naming the file, for an unsupported format."""
    if not data:
        raise PellucidError(f"{name} is empty; replace it by an image")
    reader = next((reader for magic, reader in _READERS if data.startswith(magic)), None)
    if reader is None:
        raise PellucidError(f"{name} is not an image that can be read; give {SUPPORTED_FORMATS}")
    return reader


def _damage_error(name: str, error: Exception) -> PellucidError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return PellucidError(f"{name} is damaged or cannot be decoded ({reason}); replace it")


def image_size(data: bytes, name: str, limit: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (H, W) of an image after EXIF rotation; raise PellucidError, naming the file, if damaged.

    limit: number of pixels above which the rotation is not read, because Pillow decodes a PNG file to read it.
    """
    reader = _reader_for(data, name)
    try:
        with reader(io.BytesIO(data)) as image:
            width, height = image.size
            is_rotated = width * height <= limit and image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    except DAMAGE_ERRORS as error:
        raise _damage_error(name, error) from error
    return (width, height) if is_rotated else (height, width)


def read_file(path: Path, limit: int = MAX_FILE_BYTES, kind: str = "an image file") -> bytes:
    """Return the bytes of a file; raise PellucidError if it is missing, not a file, unreadable or above `limit` bytes.

    kind: the expected file, in messages.
    """
    try:
        if not path.is_file():
            raise PellucidError(f"{path} is {'not a file' if path.exists() else 'missing'}; give {kind}")
        if path.stat().st_size > limit:
            raise PellucidError(f"{path} has {path.stat().st_size} bytes, above the limit of {limit}; make it smaller")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        raise PellucidError(f"{path} cannot be read ({error}); give {kind}") from error


def _check_png(data: bytes) -> None:
    """Raise ValueError unless every chunk up to IEND has the right CRC; Pillow does not check it for pixel data."""
    position, chunk_type = 8, b""
    while chunk_type != b"IEND":
        length, chunk_type = struct.unpack_from(">I4s", data, position)
        (crc,) = struct.unpack_from(">I", data, position + 8 + length)
        if zlib.crc32(data[position + 4 : position + 8 + length]) != crc:
            raise ValueError(f"the checksum of chunk {chunk_type.decode('ascii', 'replace')!r} is wrong")
        position += 12 + length
