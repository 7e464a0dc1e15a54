"""Square crops around the boxes of objects, and the position of a picture in the input of a network."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.data.annotations.base import BoxCorners

# The side of a crop relative to the longer side of its box, as in the top-down networks of Xiao et al. 2018.
CROP_FACTOR = 1.25


@dataclass(frozen=True)
class InputFrame:
    """The position of a picture in the input of a network: the picture is padded or cropped, then scaled.

    left, top: the padding in pixels of the picture, negative for a crop. scale: the factors of x and y.
    """

    left: float
    top: float
    scale: tuple[float, float]

    def to_input(self, points: Tensor) -> Tensor:
        """Convert key-points (K, 3) from pixels of the picture to pixels of the input; 0 for unlabelled ones."""
        x, y, visibility = points.unbind(-1)
        moved = torch.stack(((x + self.left) * self.scale[0], (y + self.top) * self.scale[1], visibility), -1)
        return torch.where(points[..., 2:] > 0, moved, 0.0)

    def to_picture(self, points: Tensor) -> Tensor:
        """Convert key-points (K, 3) from pixels of the input to pixels of the picture."""
        x, y, score = points.unbind(-1)
        return torch.stack((x / self.scale[0] - self.left, y / self.scale[1] - self.top, score), -1)


@dataclass(frozen=True)
class CropSquare:
    """A square of a picture, which may extend beyond it; in pixels."""

    left: int
    top: int
    side: int

    def cut_out(self, image: Tensor) -> Tensor:
        """Return the pixels (C, side, side) of an image (C, H, W); those of its border are repeated outside it."""
        rows = (torch.arange(self.side) + self.top).clamp(0, image.shape[1] - 1)
        columns = (torch.arange(self.side) + self.left).clamp(0, image.shape[2] - 1)
        return image[:, rows][:, :, columns]

    def frame(self, size: tuple[int, int]) -> InputFrame:
        """Return the position of the picture in this window after it is resized to `size` (H, W)."""
        return InputFrame(-self.left, -self.top, (size[1] / self.side, size[0] / self.side))


def square_around(box: BoxCorners) -> CropSquare:
    """Return the square with the centre of a box whose side is CROP_FACTOR times the longer side of the box."""
    x0, y0, x1, y1 = box
    side = max(1, math.ceil(CROP_FACTOR * max(x1 - x0, y1 - y0)))
    return CropSquare(round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2), side)
