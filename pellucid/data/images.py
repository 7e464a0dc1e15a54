"""Decoding of image files, or of their bytes, to uint8 tensors; files are checked before they are decoded."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import LIMITS_HINT, MAX_FULL_SIZE_PIXELS, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, scaled_limit
from pellucid.base.settings.arguments import checked
from pellucid.base.text import note_once
from pellucid.data.image_formats import (
    DAMAGE_ERRORS,
    JPEG,
    LOSSLESS_WEBP,
    ROWS_PER_STRIP,
    WEBP,
    ColourMode,
    SampleDepth,
    damage_error,
    decode_array,
    deep_values,
    depth_of,
    flatten_mode,
    reader_for,
    unit_floats,
)

K = TypeVar("K")
T = TypeVar("T")


OnError = Literal["raise", "skip"]
JPEG_SCALE_MARGIN = 2  # a JPEG decoded at a reduced scale has at least this many times the requested size
DECODE_THREADS = 2  # Pillow releases the global interpreter lock while it decodes
FILES_PER_CHUNK = 256  # files submitted to the workers at a time; an interrupt waits only for these
MAX_DARK_VALUE = 4095  # of 16 bits; images with at most this value have 12 bits or fewer, or are nearly black
_ORIENTATION = 0x0112  # the EXIF tag
PNG_ADVICE = "save it as PNG, or set data.mask_nearest=true to read each pixel as the nearest class"
COLOUR_ADVICE = ", or state the colour of each class in classes.txt, in lines such as `128,0,0: NAME`"
FULL_16_BITS = 65_535  # white in grey of 16 bits; it is 257 times 255, white in 8 bits
_COLOUR_MASKS = ("RGB", "RGBA", "LA")  # modes of masks that are read if all colours are equal


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
    uniform. Only the upper 8 of 16 bits, or of fewer that a TIFF states, and the first frame of an animation, are read;
    floats from 0 to 1 become 0 to 255. Raises PellucidError,
    naming the file, unless it is a complete image in one of SUPPORTED_FORMATS with at most 64 million pixels.
    """
    size, name, data = check_format(size, mode), name or _name_of(source), _bytes_of(source)
    with pillow_warnings_as_errors():
        image = decode(data, name, size, mode)
        if (maximum := deep_maximum(data, name)) is not None and 0 < maximum <= MAX_DARK_VALUE:
            note_once(
                f"images of 16 bits with values up to {MAX_DARK_VALUE:,} of 65,535 or less are nearly black, such as "
                "this one; if they have 10 or 12 bits, scale them like the images of the training"
            )
    return image


@checked
def load_channels(source: str | os.PathLike[str] | bytes, name: str = "") -> Tensor:
    """Read an image with its own channels: (1, H, W) grey, (3, H, W) RGB, or (2 or 4, H, W) with a final alpha channel.

    Values are uint8, except that 16-bit grey and floats become float32 from 0 to 1. Otherwise it does the same as
    `load_image`.
    """

    def channels(image: Image.Image, depth: SampleDepth) -> Any:
        upright = _apply_orientation(image)
        if upright.mode == "F":
            return unit_floats(upright).astype(np.float32)
        if upright.mode.startswith("I"):
            return (deep_values(upright, depth) / ((1 << depth.bits) - 1)).astype(np.float32)
        is_grey = upright.mode in ("1", "L", "LA", "La")
        return upright.convert(("L" if is_grey else "RGB") + ("A" if upright.has_transparency_data else ""))

    with pillow_warnings_as_errors():
        return channels_first(decode_array(_bytes_of(source), name or _name_of(source), channels))


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
    if not is_valid or sides[0] * sides[1] > MAX_IMAGE_PIXELS:
        raise PellucidError(f"invalid image size {size!r:.60}; give (height, width) in pixels, or one number")
    return sides[0], sides[1]


def check_on_error(on_error: str) -> str:
    """Return on_error; raise PellucidError unless it is "raise" or "skip"."""
    if on_error not in ("raise", "skip"):
        raise PellucidError(f"unknown on_error {on_error!r}; give 'raise' or 'skip'")
    return on_error


@contextlib.contextmanager
def pillow_warnings_as_errors() -> Iterator[None]:
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

    The results are computed ahead in threads, inside `pillow_warnings_as_errors`.
    """

    def attempt(item: K) -> T | PellucidError:
        try:
            return function(item)
        except PellucidError as error:
            return error

    with pillow_warnings_as_errors(), contextlib.closing(map_in_threads(attempt, items)) as results:
        yield results


def decode(source: str | os.PathLike[str] | bytes, name: str, size: tuple[int, int] | None, mode: ColourMode) -> Tensor:
    """Decode an image as `load_image` does, from any thread; call inside `pillow_warnings_as_errors`.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size, which is much faster, if JPEG_SCALE_MARGIN times `size` remain.
    """

    def flattened(image: Image.Image, depth: SampleDepth) -> Image.Image:
        upright = _apply_orientation(image)
        if upright.mode == "L" and not upright.has_transparency_data:
            return _resized(upright, size).convert(mode)  # same result as converting first, with a third of the memory
        return _resized(flatten_mode(upright, mode, depth), size)

    # Each side keeps the pixels that the longer one needs: the EXIF orientation may exchange them after decoding.
    side = None if size is None else JPEG_SCALE_MARGIN * max(size)
    return channels_first(decode_array(_bytes_of(source), name, flattened, side))


def _apply_orientation(image: Image.Image) -> Image.Image:
    """Return the image with its EXIF orientation applied; the image itself if it is upright."""
    is_rotated = image.getexif().get(_ORIENTATION, 1) != 1
    return ImageOps.exif_transpose(image) if is_rotated else image


def _resized(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    """Return the image resized bilinearly to (H, W), with antialiasing; unchanged for None."""
    if size is None or image.size == (size[1], size[0]):
        return image
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def read_full_size(source: str | os.PathLike[str] | bytes, name: str = "", limit: int = MAX_FULL_SIZE_PIXELS) -> bytes:
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


class MaskFormatError(PellucidError):
    """An image that is not damaged, but whose pixels are no class indices."""


def decode_mask(data: bytes, name: str) -> Tensor:
    """Read the values of a mask as uint8 (H, W).

    A mask has one value below 256 for each pixel: an index of a palette, grey of up to 16 bits, or equal channels of 8
    bits, without transparency. In a mask of 16 bits with only 0 and 65,535, these are read as 0 and 255. Raises
    MaskFormatError for other images, and PellucidError for unreadable ones.
    """
    is_lossy_webp = data.startswith(WEBP) and data[12:16] != LOSSLESS_WEBP
    if data.startswith(JPEG) or is_lossy_webp:
        kind = "WebP with loss" if is_lossy_webp else "JPEG"
        raise MaskFormatError(f"{name} is a {kind}, whose compression changes the values of a mask; {PNG_ADVICE}")

    def values(image: Image.Image, depth: SampleDepth) -> Any:
        if fault := _mask_fault(image, depth):
            raise MaskFormatError(
                f"{name} is a mask {fault}; save one 8-bit value, the index of its class, for each pixel"
                f"{COLOUR_ADVICE if 'colours' in fault else ''}"
            )
        if image.mode.startswith("I") and np.array(image).max() == FULL_16_BITS:
            return np.array(image) // 257
        return image.getchannel(0) if image.mode in _COLOUR_MASKS else image

    return torch.from_numpy(decode_array(data, name, values).astype(np.uint8))


def _mask_fault(image: Image.Image, depth: SampleDepth) -> str:
    """Return why the pixels of a mask are no class indices, as a phrase; "" if they are."""
    mode = image.mode
    if mode in ("L", "P", "1"):
        return ""
    if mode.startswith("I"):
        array = np.array(image)
        is_index = array.min() >= 0 and array.max() < 256
        is_binary = array.max() == FULL_16_BITS and bool(np.isin(array, (0, FULL_16_BITS)).all())
        return "" if is_index or is_binary else f"with values from {array.min():,} to {array.max():,}"
    if mode not in _COLOUR_MASKS or image.format == "PPM":  # Pillow scales the values of a PPM to 8 bits
        return f"of mode {mode}"
    if depth.is_colour:  # Pillow reads only the upper 8 bits
        return f"of 16 bits in several channels (mode {mode})"
    if mode != "RGB" and image.getchannel("A").getextrema() != (255, 255):
        return f"with transparent pixels (mode {mode})"
    first_channel, *other_channels = (image.getchannel(band).tobytes() for band in image.getbands() if band != "A")
    return "" if all(channel == first_channel for channel in other_channels) else f"in colours (mode {mode})"


def deep_maximum(data: bytes, name: str) -> int | None:
    """Return the largest value of an image of 16 bits, None for other images and for a TIFF that states fewer bits.

    Of colours, of which Pillow reads the upper bits, it is the largest possible value. Raises the errors of `decode`.
    """
    reader = reader_for(data, name)
    try:
        with reader(io.BytesIO(data)) as image:
            depth = depth_of(image)
            if depth.bits != 16 or depth.is_stated:
                return None
    except DAMAGE_ERRORS as error:
        raise damage_error(name, error) from error

    def maximum(image: Image.Image, depth: SampleDepth) -> Any:
        if not depth.is_colour:
            return deep_values(image, depth).max()
        bands = image.getbands()
        return max(int(np.array(image.getchannel(band)).max()) for band in bands if band != "A") << 8 | 0xFF

    return int(decode_array(data, name, maximum))


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
        return np.array(flatten_mode(_apply_orientation(image), "RGB", depth_of(image)))
    except DAMAGE_ERRORS as error:
        raise damage_error(name, error) from error


def channels_first(array: Any) -> Tensor:
    """Return a copy of an array (H, W) or (H, W, C) as a tensor (C, H, W)."""
    return torch.from_numpy(np.array(array.reshape(*array.shape[:2], -1).transpose(2, 0, 1), order="C"))


def image_size(data: bytes, name: str, limit: int = MAX_IMAGE_PIXELS) -> tuple[int, int]:
    """Return (H, W) of an image after EXIF rotation; raise PellucidError, naming the file, if damaged.

    limit: number of pixels above which the rotation is not read, because Pillow decodes a PNG file to read it.
    """
    reader = reader_for(data, name)
    try:
        with reader(io.BytesIO(data)) as image:
            width, height = image.size
            # 5 to 8 are the orientations that are turned by 90 degrees.
            is_rotated = width * height <= limit and image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    except DAMAGE_ERRORS as error:
        raise damage_error(name, error) from error
    return (width, height) if is_rotated else (height, width)


def read_file(path: Path, limit: int = MAX_IMAGE_BYTES, kind: str = "an image file") -> bytes:
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
