"""Proposals from a file: `{"image.jpg": [[x0, y0, x1, y1], ...], ...}`."""

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from pellucid.data.annotations.base import numbers
from pellucid.errors import PellucidError
from pellucid.files import read_regular


def read_proposals(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the proposals (m, 4) of each image, by file name, from a JSON file.

    Boxes are x0, y0, x1, y1 in pixels of the original image, as in `Objects`. Raises PellucidError, which names the
    file and the image, for anything else, for boxes without an area, and for two images of the same name.
    """
    path = Path(path)
    try:
        found: Any = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PellucidError(
            f"{path} cannot be read as proposals ({reason}); give a JSON file, image names to boxes"
        ) from error
    if not isinstance(found, dict):
        raise PellucidError(f"{path} does not map image names to boxes; write {{name: [[x0, y0, x1, y1], ...]}}")
    proposals: dict[str, Tensor] = {}
    for image, boxes in found.items():
        name = PurePosixPath(image).name
        if name in proposals:
            raise PellucidError(f"{path} has two images named {name}; keep one")
        proposals[name] = _boxes(path, image, boxes)
    return proposals


def _boxes(path: Path, image: str, boxes: Any) -> Tensor:
    rows = [numbers(box, 4) for box in boxes] if isinstance(boxes, list) else [None]
    for index, row in enumerate(rows):
        if row is None or not (row[0] < row[2] and row[1] < row[3]):
            raise PellucidError(
                f"{path}: proposal {index} of {image} is not a box; give [x0, y0, x1, y1] with x0 < x1, y0 < y1"
            )
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
