"""Hints: colours that the user gives at pixels of a picture."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text, read_regular
from pellucid.ops.colour import rgb_to_lab
from pellucid.task.look import Hint

HINT_FORMAT = 'a hint is {"x": 12, "y": 30, "color": "#c03020"}, in pixels from the upper left corner'


def read_hints(path: Path) -> dict[str, tuple[Hint, ...]]:
    """Return the hints of a JSON file by the name of the image file.

    The file contains an object with a list of hints for each image file, or one list, which is returned under "".
    Raises PellucidError, which names the file, for anything else.
    """
    try:
        content: Any = json.loads(decode_text(read_regular(path), str(path)))
    except OSError as error:
        raise PellucidError(f"{path} cannot be read ({error.strerror}); give a JSON file of hints") from error
    except ValueError as error:
        raise PellucidError(f"{path} is not JSON ({error}); {HINT_FORMAT}") from error
    lists_by_file = content if isinstance(content, dict) else {"": content}
    return {
        name: tuple(_parse_hint(path, value) for value in _check_list(path, values))
        for name, values in lists_by_file.items()
    }


def _check_list(path: Path, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise PellucidError(f"{path} contains {value!r:.60} in place of a list of hints; {HINT_FORMAT}")
    return value


def _parse_hint(path: Path, value: Any) -> Hint:
    is_valid = isinstance(value, Mapping) and value.keys() == {"x", "y", "color"}
    is_valid = is_valid and all(type(value[axis]) is int and value[axis] >= 0 for axis in ("x", "y"))
    if not is_valid or not re.fullmatch("#[0-9a-fA-F]{6}", str(value["color"])):
        raise PellucidError(f"{path} contains the invalid hint {value!r:.60}; {HINT_FORMAT}")
    red, green, blue = bytes.fromhex(value["color"][1:])
    return Hint(value["x"], value["y"], (red, green, blue))


def check_inside(hints: Sequence[Hint], size: tuple[int, int]) -> None:
    """Raise PellucidError for a hint outside a picture of `size` (H, W)."""
    for hint in hints:
        if hint.x >= size[1] or hint.y >= size[0]:
            raise PellucidError(
                f"the hint at x={hint.x}, y={hint.y} is outside the picture of {size[0]}x{size[1]}; count pixels "
                "from 0 at the upper left corner"
            )


def hint_maps(hints: Sequence[Hint], size: tuple[int, int], map_size: tuple[int, int]) -> Tensor:
    """Return hints for a picture of `size` (H, W) as maps (1, 3, h, w) of size `map_size`: a, b, and 1 at hints.

    If several hints fall on one pixel of the maps, the last one is used. Raises PellucidError for a hint outside the
    picture.
    """
    check_inside(hints, size)
    maps = torch.zeros(1, 3, *map_size)
    for hint in hints:
        colour = torch.tensor(hint.colour, dtype=torch.float32)[:, None, None] / 255
        y, x = hint.y * map_size[0] // size[0], hint.x * map_size[1] // size[1]
        maps[0, :2, y, x] = rgb_to_lab(colour)[1:, 0, 0]
        maps[0, 2, y, x] = 1
    return maps
