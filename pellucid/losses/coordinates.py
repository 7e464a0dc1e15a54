"""The loss of a network that outputs the coordinates of key-points."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_range
from pellucid.layers.base import Shape
from pellucid.losses.keypoints import KeypointLoss, point_weights


class CoordinatePieces(NamedTuple):
    """The terms of the loss.

    error: y - c, (N, 2 K). weight: the weight of each output in the mean, (N, 2 K), 0 for unlabelled points.
    """

    error: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Coordinates(KeypointLoss):
    """The absolute error of coordinates: C = Σ |y - c|, summed over x and y and averaged over the labelled points.

    y: (N, 2 K), x and y of each point in turn, relative to the centre of the image and in units of its sides, so the
    borders are at -0.5 and 0.5. targets: key-points (N, K, 3) in pixels; c is their position in the units of y. The
    gradient is dy = sign(y - c) / number of labelled points. size: height and width of the images in pixels.
    """

    metrics: ClassVar[tuple[str, ...]] = ()

    size: tuple[int, int] = (112, 112)

    def __post_init__(self) -> None:
        """Raise PellucidError for sides that are not above 0."""
        check_range(self, exclude_low=True, height=self.size[0], width=self.size[1])

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        terms = self.pieces(y, target)
        return (terms.error.abs() * terms.weight).sum(), terms.error.sign() * terms.weight

    def pieces(self, y: Tensor, target: Tensor) -> "CoordinatePieces":
        """Return the terms of the value and of the gradient."""
        height, width = self.size
        point_x, point_y, _ = target.to(y.dtype).unbind(-1)
        c = torch.stack((point_x / width, point_y / height), -1) - 0.5  # (N, K, 2)
        weight = point_weights(target, y.dtype)[..., None].expand_as(c)
        return CoordinatePieces(y - c.reshape(y.shape), weight.reshape(y.shape))

    def point_count(self, output_shape: Shape) -> int:
        """Return K for outputs of shape (2 K,); raise PellucidError for other shapes."""
        if len(output_shape) != 1 or output_shape[0] % 2:
            raise PellucidError(
                f"Coordinates: the network outputs {tuple(output_shape)}, not x and y of each point (2 K,)"
            )
        return output_shape[0] // 2

    def predict(self, y: Tensor) -> Tensor:
        """Return key-points (N, K, 3): x and y in pixels, and 1, since coordinates have no score."""
        height, width = self.size
        x_coordinate, y_coordinate = (y.view(len(y), -1, 2) + 0.5).unbind(-1)  # (N, K) each
        return torch.stack((x_coordinate * width, y_coordinate * height, torch.ones_like(x_coordinate)), -1)
