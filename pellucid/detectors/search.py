"""Proposals that are not learned: windows of fixed sizes, selective search, and proposals from a JSON file."""

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text, read_regular
from pellucid.data.annotations.base import parse_numbers
from pellucid.ops.anchors import base_anchors, grid_anchors
from pellucid.ops.boxes import area, clip

Search = Literal["windows", "selective_search"]
DEFAULT_STRIDE = 16  # pixels between windows, by default
WINDOW_SCALES = (1, 2, 4, 8, 16)  # sides of square windows, in strides
N_SHAPES = 3  # shapes of the windows of one size: wide, square and high
MAX_WINDOWS = 100_000  # windows per image; an image of 640x640 has 24,000 with the default stride
MIN_SIDE = 8  # shortest side, in pixels, of a segment that selective search proposes


def search(image: Tensor, by: Search, stride: int = DEFAULT_STRIDE) -> Tensor:
    """Return the proposals (m, 4) of an image (C, H, W), found by `windows` with `stride` or by `selective_search`."""
    height, width = image.shape[1:]
    boxes = windows((height, width), stride) if by == "windows" else selective_search(image)
    return boxes.to(image)


def windows(size: tuple[int, int], stride: int = DEFAULT_STRIDE) -> Tensor:
    """Return windows (m, 4) of five sizes and three shapes around each cell of `stride` pixels, clipped to `size`."""
    count_windows(size, stride)  # raises PellucidError for too many windows
    cells = tuple(-(-length // stride) for length in size)
    boxes = clip(grid_anchors([base_anchors(stride, WINDOW_SCALES)], [(cells[0], cells[1])], [stride]), size)
    return boxes[area(boxes) > 0]


def count_windows(size: tuple[int, int], stride: int) -> int:
    """Return the number of windows in an image of `size`, before clipping; raise PellucidError above MAX_WINDOWS."""
    count = -(-size[0] // stride) * -(-size[1] // stride) * len(WINDOW_SCALES) * N_SHAPES
    if count > MAX_WINDOWS:
        raise PellucidError(
            f"an image of {size[0]}x{size[1]} has {count:,} windows with a stride of {stride}, above the limit of "
            f"{MAX_WINDOWS:,}; give a larger stride, or smaller images"
        )
    return count


def selective_search(image: Tensor, quality: bool = False) -> Tensor:
    """Return the boxes (m, 4) of segments that are merged by colour, texture, size and fill, in descending rank.

    image: (3, H, W), any range of values; an image with a side below MIN_SIDE has no proposals. quality: use more
    colour spaces and scales, which takes longer. Raises PellucidError without OpenCV's contributed modules. Source:
    Uijlings et al. 2013, in OpenCV's implementation, whose quality mode differs from the original.
    """
    try:
        from cv2 import ximgproc  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
    except ImportError as error:
        raise PellucidError(
            "selective search needs OpenCV with its contributed modules; run: pip install 'pellucid[search]', "
            'or search by "windows"'
        ) from error
    if min(image.shape[1:]) < MIN_SIDE:
        return torch.zeros(0, 4)
    min_value, max_value = image.min(), image.max()
    pixels = ((image - min_value) / (max_value - min_value).clamp_min(1e-6) * 255).byte().permute(1, 2, 0).contiguous()
    method: Any = ximgproc.segmentation.createSelectiveSearchSegmentation()  # pyright: ignore[reportUnknownMemberType]
    method.setBaseImage(pixels.cpu().numpy())
    if quality:
        method.switchToSelectiveSearchQuality()
    else:
        method.switchToSelectiveSearchFast()
    rectangles = torch.as_tensor(method.process()).float().view(-1, 4)  # x, y, width, height
    rectangles = rectangles[(rectangles[:, 2:] >= MIN_SIDE).all(1)]
    return torch.cat([rectangles[:, :2], rectangles[:, :2] + rectangles[:, 2:]], 1)


def read_proposals(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the proposals (m, 4) of each image, by file name, from a JSON file.

    The file maps images to boxes, {"image.jpg": [[x0, y0, x1, y1], ...], ...}, in pixels of the original image, as in
    `Objects`. Raises PellucidError, which names the file and the image, for any other content, for boxes without an
    area, and for two images of the same name.
    """
    path = Path(path)
    try:
        values: Any = json.loads(decode_text(read_regular(path), str(path)))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PellucidError(
            f"{path} cannot be read as proposals ({reason}); give a JSON file that maps image names to boxes"
        ) from error
    if not isinstance(values, dict):
        raise PellucidError(f"{path} does not map image names to boxes; write {{name: [[x0, y0, x1, y1], ...]}}")
    proposals: dict[str, Tensor] = {}
    for image, boxes in values.items():
        name = PurePosixPath(image).name
        if name in proposals:
            raise PellucidError(f"{path} has two images named {name}; keep one")
        proposals[name] = _parse_boxes(path, image, boxes)
    return proposals


def _parse_boxes(path: Path, image: str, boxes: Any) -> Tensor:
    rows = [parse_numbers(box, 4) for box in boxes] if isinstance(boxes, list) else [None]
    for index, row in enumerate(rows):
        if row is None or not (row[0] < row[2] and row[1] < row[3]):
            raise PellucidError(
                f"{path}: proposal {index} of {image} is not a box; give [x0, y0, x1, y1] with x0 < x1, y0 < y1"
            )
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
