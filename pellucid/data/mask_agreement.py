"""Whether the values of all masks mean the same: their palettes, and the value of what is not the background."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data.colour_modes import SampleDepth
from pellucid.data.image_formats import decode_array
from pellucid.data.images import attempt_all
from pellucid.data.tree import Tree

ONE, WHITE = {0, 1}, {0, 255}  # the values of masks of two classes in their two usual forms


def check_agreement(tree: Tree, masks: Sequence[str]) -> None:
    """Raise PellucidError if a value has other colours in the palettes of two masks, or if 1 and 255 mean the same.

    1 and 255 mean the same if some masks have only 0 and 1, all others only 0 and 255. Masks that cannot be read are
    reported where they are read.
    """
    colour_of_value: dict[int, tuple[int, str]] = {}
    name_of_form: dict[str, str] = {}  # a mask with 1, and one with 255, beside 0 or alone
    is_binary = True
    for name, used in _used_colours(tree, masks):
        values = {value for value, _ in used}
        is_binary = is_binary and (values <= ONE or values <= WHITE)
        name_of_form |= {form: name for form, value in (("1", 1), ("255", 255)) if value in values}
        for value, colour in used:
            if colour is None:
                continue
            first_colour, first_name = colour_of_value.setdefault(value, (colour, name))
            if colour != first_colour:
                raise PellucidError(
                    f"{tree.where(name)}: the value {value} has another colour in its palette than in {first_name}, so "
                    "it may be another class; set data.mask_kind=colours to read the colours, or =values if the "
                    "palettes mean nothing"
                )
    if is_binary and len(name_of_form) == 2:
        raise PellucidError(
            f"{tree.where(name_of_form['1'])} has the values 0 and 1, {name_of_form['255']} 0 and 255, which may mean "
            "the same; write all masks with the same values, or name both in classes.txt (`1: NAME`, `255: NAME`)"
        )


def _used_colours(tree: Tree, masks: Sequence[str]) -> list[tuple[str, list[tuple[int, int | None]]]]:
    """Return, for each readable mask of values, its values with their colours in its palette, None without one."""

    def read(name: str) -> list[tuple[int, int | None]]:
        def used(image: Image.Image, depth: SampleDepth) -> Any:
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

        rows = decode_array(tree.read(name), tree.where(name), used).tolist()
        return [(value, None if colour < 0 else colour) for value, colour in rows]

    with attempt_all(read, masks) as results:
        return [(name, used) for name, used in results if not isinstance(used, PellucidError)]
