"""Pixels of masks as values: indices as they are, and colours by the classes that have them.

Values must mean the same in all masks: in their palettes, and for what is not the background.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.data.image_formats import DAMAGE_ERRORS, JPEG, SampleDepth, damage_error, decode_array, reader_for
from pellucid.data.images import FULL_16_BITS, PNG_ADVICE, MaskFormatError, attempt_all, decode_mask
from pellucid.data.mask_checks import MAX_LISTED_VALUES, RARE_SHARE, VOID
from pellucid.data.mask_classes import N_VALUES, ClassList, Colour
from pellucid.data.mask_settings import mask_settings
from pellucid.data.tree import Tree

ZERO_AND_ONE, ZERO_AND_WHITE = {0, 1}, {0, 255}  # the values of masks of two classes in their two usual forms


def check_agreement(tree: Tree, masks: Sequence[str]) -> None:
    """Raise PellucidError if a value has other colours in the palettes of two masks, or if 1 and 255 mean the same.

    1 and 255 mean the same if some masks have only 0 and 1, all others only 0 and 255. Masks that cannot be read are
    reported where they are read.
    """
    colour_of_value: dict[int, tuple[int, str]] = {}
    name_by_form: dict[str, str] = {}  # a mask with 1, and one with 255, beside 0 or alone
    is_binary = True
    for name, values_and_colours in _used_colours(tree, masks):
        values = {value for value, _ in values_and_colours}
        is_binary = is_binary and (values <= ZERO_AND_ONE or values <= ZERO_AND_WHITE)
        name_by_form |= {form: name for form, value in (("1", 1), ("255", 255)) if value in values}
        for value, colour in values_and_colours:
            if colour is None:
                continue
            first_colour, first_name = colour_of_value.setdefault(value, (colour, name))
            if colour != first_colour:
                raise PellucidError(
                    f"{tree.where(name)}: the value {value} has another colour in its palette than in {first_name}, so "
                    "it may be another class; set data.mask_kind=colours to read the colours, or =values if the "
                    "palettes mean nothing"
                )
    if is_binary and len(name_by_form) == 2:
        raise PellucidError(
            f"{tree.where(name_by_form['1'])} has the values 0 and 1, {name_by_form['255']} 0 and 255, which may mean "
            "the same; write all masks with the same values, or name both in classes.txt (`1: NAME`, `255: NAME`)"
        )


def _used_colours(tree: Tree, masks: Sequence[str]) -> list[tuple[str, list[tuple[int, int | None]]]]:
    """Return, for each readable mask of values, its values with their colours in its palette, None without one."""

    def read(name: str) -> list[tuple[int, int | None]]:
        def used_values(image: Image.Image, depth: SampleDepth) -> Any:
            if image.mode not in ("L", "1", "P"):
                return np.zeros((0, 2), np.int64)
            values = np.unique(np.array(image.convert("L") if image.mode == "1" else image))
            palette = image.getpalette() if image.mode == "P" else None
            colours = [-1] * len(values)
            if palette is not None:
                triples = np.array(palette, np.int64)[: len(palette) // 3 * 3].reshape(-1, 3)
                codes = triples @ [1 << 16, 1 << 8, 1]
                colours = [int(codes[value]) if value < len(codes) else -1 for value in values]
            return np.stack([values.astype(np.int64), np.array(colours, np.int64)], 1)

        rows = decode_array(tree.read(name), tree.where(name), used_values).tolist()
        return [(value, None if colour < 0 else colour) for value, colour in rows]

    with attempt_all(read, masks) as results:
        return [
            (name, values_and_colours)
            for name, values_and_colours in results
            if not isinstance(values_and_colours, PellucidError)
        ]


FOREGROUND = 255  # the larger value of masks that have only two, 0 and 255
MAX_END_DISTANCE = 48  # distance from 0 or 255 of nearly all values of a mask with two values that was compressed
MIN_NEAR_SHARE = 0.9  # the share of such values
COMPARISONS_PER_CHUNK = 1 << 20  # of a colour with a colour of a class, at a time
BACKGROUND_NAMES = ("background", "_background_", "bg", "unlabeled", "unlabelled", "none", "other")
_GREY = 0x010101  # a grey value times this is its colour
_CLASSES_ADVICE = "state the colour of each class in classes.txt, in lines such as `{}: NAME`"


@dataclass(frozen=True)
class MaskReader:
    """Reads masks as values (H, W) uint8.

    codes: the value of each colour R << 16 | G << 8 | B; None if the pixels are values. ignored: values that become
    VOID. void: VOID, or another value if that is one of a class. is_nearest: whether other colours are read as the
    nearest one.
    """

    codes: Mapping[int, int] | None = None
    ignored: frozenset[int] = frozenset()
    void: int = VOID
    is_nearest: bool = False
    by_palette: bool = True
    clear_is_black: bool = True  # whether transparent pixels may be read as black
    _sorted: Any = field(default=None, init=False, compare=False, repr=False)  # colours in order, and their values

    def __post_init__(self) -> None:
        """Sort the colours, to find those of pixels by bisection."""
        codes = self.codes or {}
        sorted_codes = sorted(codes)
        codes_and_values = np.array(sorted_codes, np.int32), np.array([codes[code] for code in sorted_codes], np.uint8)
        object.__setattr__(self, "_sorted", codes_and_values)

    def read(self, data: bytes, name: str) -> Tensor:
        """Return the values of a mask; raise PellucidError, naming the file, for colours of no class."""
        return self.read_counted(data, name)[0]

    def read_counted(self, data: bytes, name: str) -> tuple[Tensor, int]:
        """Return the values of a mask, and the number of pixels that were read as the nearest class."""
        if self.codes is None:
            return self._without_ignored(decode_mask(data, name)), 0
        if data.startswith(JPEG) and not self.is_nearest:
            raise MaskFormatError(f"{name} is a JPEG, whose compression changes the colours of a mask; {PNG_ADVICE}")
        colours = packed_colours(data, name, self.by_palette, self.clear_is_black)
        codes, values = self._sorted
        indices = np.searchsorted(codes, colours).clip(max=len(codes) - 1)
        is_other = codes[indices] != colours
        n_others = int(is_other.sum())
        if n_others and not self.is_nearest:
            raise MaskFormatError(f"{name} {_unknown_colours_fault(colours[is_other], self.codes)}")
        if n_others:
            other_colours, inverse = np.unique(colours[is_other], return_inverse=True)
            indices[is_other] = _nearest_indices(other_colours, codes)[inverse]
        return torch.from_numpy(values[indices]), n_others

    def ignored_text(self) -> str:
        """Return the values or colours of pixels without a class in words, "" if none is known."""
        codes = self.codes or {}
        texts = [colour_name(code) for code, value in codes.items() if value == self.void and self.by_palette]
        texts += map(str, sorted(self.ignored))
        return " or ".join(texts) if len(texts) <= MAX_LISTED_VALUES else "another value"

    def _without_ignored(self, mask: Tensor) -> Tensor:
        if not self.ignored:
            return mask
        table = torch.arange(N_VALUES, dtype=torch.uint8)
        table[list(self.ignored)] = self.void
        return table[mask.long()]


def packed_colours(data: bytes, name: str, by_palette: bool = True, clear_is_black: bool = True) -> np.ndarray:
    """Return the colours (H, W) of a mask as R << 16 | G << 8 | B; by_palette: those of its palette, or its values.

    clear_is_black: whether transparent pixels may be black.
    """

    def pixel_codes(image: Image.Image, depth: SampleDepth) -> Any:
        if image.mode.startswith("I") and {*np.unique(np.array(image)).tolist()} <= {0, FULL_16_BITS}:
            return (np.array(image) // 257).astype(np.int32) * _GREY
        if image.mode.startswith("I") or depth.is_colour or image.mode == "F":
            raise MaskFormatError(f"{name} is a mask of 16 bits or floats beside colours; save it with 8 bits")
        if image.mode == "P" and not by_palette:
            return np.array(image).astype(np.int32) * _GREY
        if image.has_transparency_data:
            _check_transparency(image, name, clear_is_black)
        if image.mode in ("L", "1", "LA"):
            return np.array(image.convert("L")).astype(np.int32) * _GREY
        pixels = np.array(image.convert("RGB")).astype(np.int32)
        return pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]

    return decode_array(data, name, pixel_codes)


def _check_transparency(image: Image.Image, name: str, clear_is_black: bool) -> None:
    """Raise MaskFormatError for transparent pixels, unless they alone are black, as where nothing was painted."""
    *channels, opacity = (np.array(channel) for channel in image.convert("RGBA").split())
    is_clear = opacity == 0
    is_black = np.logical_and.reduce([channel == 0 for channel in channels])
    if (is_clear.any() and (not clear_is_black or (is_clear != is_black).any())) or (
        (opacity > 0) & (opacity < 255)
    ).any():
        raise MaskFormatError(
            f"{name} is a mask with transparent pixels (mode {image.mode}), which may be black or not painted; save it "
            "without"
        )


def _nearest_indices(other_colours: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the index in `codes` of the colour that is nearest to each of `other_colours`."""
    indices = np.empty(len(other_colours), np.int64)
    chunk_size = max(1, COMPARISONS_PER_CHUNK // len(codes))
    for start in range(0, len(other_colours), chunk_size):
        distances = _channels(other_colours[start : start + chunk_size])[:, None] - _channels(codes)
        indices[start : start + chunk_size] = (distances**2).sum(2).argmin(1)
    return indices


def _channels(codes: np.ndarray) -> np.ndarray:
    return np.stack((codes >> 16, codes >> 8 & 255, codes & 255), axis=-1).astype(np.int64)


def _unknown_colours_fault(other_colours: np.ndarray, codes: Mapping[int, int]) -> str:
    """Return what is wrong with a mask with some other colours than those of the classes."""
    different_codes, counts = np.unique(other_colours, return_counts=True)
    colour_text = colour_name(int(different_codes[counts.argmax()]))
    return (
        f"has {plural(len(other_colours), 'pixel')} of {plural(len(different_codes), 'colour')} that none of the "
        f"{len(set(codes.values()))} classes has, such as {colour_text}; {_CLASSES_ADVICE.format(colour_text)}, name "
        "it in data.mask_ignored, or set data.mask_nearest=true to read each pixel as the nearest class"
    )


def colour_name(code: int) -> str:
    """Return a colour as text: "128,0,0"."""
    return f"{code >> 16},{code >> 8 & 255},{code & 255}"


def colour_code(colour: Colour) -> int:
    """Return a colour as one number."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def choose_reader(tree: Tree, masks: Sequence[str], classes: ClassList) -> tuple[MaskReader, dict[int, str]]:
    """Return the reader of masks, and the names of their classes by value, {} if no list names them.

    Masks are read by colours if a list states them, unless they have one value for each pixel that is the place of a
    class in this list; and if no list names classes and all masks are in colours, whose names are then their numbers.
    Raises PellucidError for more than 255 colours, and for masks most of whose colours are rare.
    """
    mask_kind, is_nearest = mask_settings().mask_kind, mask_settings().mask_nearest
    if mask_kind != "values" and classes.colours and (mask_kind == "colours" or _has_colours_of(tree, masks, classes)):
        value_by_code = {colour_code(colour): k for k, colour in enumerate(classes.colours)}
        value_by_code |= dict.fromkeys(map(colour_code, classes.ignored_colours), VOID)
        black_class = classes.colours.get((0, 0, 0), BACKGROUND_NAMES[0])
        clear_is_black = black_class.lower() in BACKGROUND_NAMES
        reader = MaskReader(value_by_code, is_nearest=is_nearest, clear_is_black=clear_is_black)
        return reader, dict(enumerate(classes.colours.values()))
    is_unnamed = not classes.values and not is_nearest and mask_kind != "values"
    if is_unnamed and (mask_kind == "colours" or _are_coloured(tree, masks)):
        return _found_colours(tree, masks, classes)
    names_by_value = dict(classes.values)
    if is_nearest:
        names_by_value = names_by_value or _two_values(tree, masks)
        value_by_code = {value * _GREY: value for value in names_by_value} | {
            value * _GREY: VOID for value in classes.ignored_values
        }
        return MaskReader(value_by_code, is_nearest=True, by_palette=False), names_by_value
    if mask_kind == "auto" and not names_by_value:
        check_agreement(tree, masks)
    void = VOID
    if VOID in names_by_value and classes.ignored_values:
        void = next(value for value in range(N_VALUES) if value not in names_by_value)
    return MaskReader(ignored=classes.ignored_values, void=void), names_by_value


def _has_colours_of(tree: Tree, masks: Sequence[str], classes: ClassList) -> bool:
    """Return whether masks have the colours of classes, not their places in the list, as values."""
    if any(mode.startswith("RGB") for mode in _modes(tree, masks)):
        return True
    known_codes = {colour_code(colour) for colour in (*classes.colours, *classes.ignored_colours)}
    if not all(set(counts) <= known_codes for counts in _colour_counts(tree, masks)):
        return False
    if "P" in _modes(tree, masks):
        return True
    list_values = {*classes.values}
    return not all({code & 255 for code in counts} <= list_values for counts in _colour_counts(tree, masks))


def _are_coloured(tree: Tree, masks: Sequence[str]) -> bool:
    """Return whether all masks are in colours, and one has a colour that is not grey."""
    modes = [*_modes(tree, masks)]
    if not modes or not all(mode.startswith("RGB") for mode in modes):
        return False
    return any(any(code % _GREY for code in counts) for counts in _colour_counts(tree, masks))


def _found_colours(tree: Tree, masks: Sequence[str], classes: ClassList) -> tuple[MaskReader, dict[int, str]]:
    """Return the reader of masks whose classes are their colours, in the order of their numbers."""
    pixel_counts: dict[int, int] = {}
    for counts in _colour_counts(tree, masks):
        for code, count in counts.items():
            pixel_counts[code] = pixel_counts.get(code, 0) + count
    ignored = {colour_code(colour) for colour in classes.ignored_colours}
    codes = sorted(pixel_counts.keys() - ignored)
    rare_codes = [code for code in codes if pixel_counts[code] < RARE_SHARE * sum(pixel_counts.values())]
    if len(codes) >= N_VALUES or len(rare_codes) > len(codes) / 2:
        frequent_codes = sorted(pixel_counts, key=lambda code: -pixel_counts[code])[:MAX_LISTED_VALUES]
        raise PellucidError(
            f"{tree.path}: the masks have {len(codes):,} colours, {len(rare_codes):,} of them on few pixels, as "
            f"smoothing and compression make; the most frequent are {' '.join(map(colour_name, frequent_codes))}; "
            f"{_CLASSES_ADVICE.format(colour_name(frequent_codes[0]))}, and set data.mask_nearest=true to read each "
            "pixel as the nearest class"
        )
    value_by_code = {code: k for k, code in enumerate(codes)} | dict.fromkeys(ignored, VOID)
    return MaskReader(value_by_code), {k: colour_name(code) for k, code in enumerate(codes)}


def _two_values(tree: Tree, masks: Sequence[str]) -> dict[int, str]:
    """Return the values 0 and 255 as classes; raise PellucidError unless nearly all pixels are near to one of them."""
    n_near, n_pixels = 0, 0
    for counts in _colour_counts(tree, masks, by_palette=False):
        for code, count in counts.items():
            channels = _channels(np.array(code)).tolist()
            is_near = max(channels) <= MAX_END_DISTANCE or min(channels) >= FOREGROUND - MAX_END_DISTANCE
            n_near += count if is_near else 0
            n_pixels += count
    if n_near < MIN_NEAR_SHARE * n_pixels:
        raise PellucidError(
            f"{tree.path}: data.mask_nearest needs the values or colours of the classes, since the masks are not "
            "nearly 0 and 255; state them in classes.txt, in lines such as `255: NAME` or `128,0,0: NAME`"
        )
    return {0: "0", FOREGROUND: str(FOREGROUND)}


def _modes(tree: Tree, masks: Sequence[str]) -> Iterator[str]:
    """Yield Pillow's mode of each readable mask, "" for JPEG files unless they are read as the nearest classes."""
    is_nearest = mask_settings().mask_nearest  # of this thread, not of those that decode

    def mode(name: str) -> str:
        data = tree.read(name)
        try:
            with reader_for(data, name)(io.BytesIO(data)) as image:
                return "" if data.startswith(JPEG) and not is_nearest else image.mode
        except DAMAGE_ERRORS as error:
            raise damage_error(tree.where(name), error) from error

    yield from _results_of_readable(mode, masks)


def _colour_counts(tree: Tree, masks: Sequence[str], by_palette: bool = True) -> Iterator[dict[int, int]]:
    """Yield the number of pixels of each colour in each readable mask."""

    def count(name: str) -> dict[int, int]:
        colours = packed_colours(tree.read(name), tree.where(name), by_palette)
        codes, counts = np.unique(colours, return_counts=True)
        return dict(zip(codes.tolist(), counts.tolist(), strict=True))

    yield from _results_of_readable(count, masks)


def _results_of_readable(function: Callable[[str], Any], masks: Sequence[str]) -> Iterator[Any]:
    with attempt_all(function, masks) as results:
        for _, result in results:
            if not isinstance(result, PellucidError):
                yield result
