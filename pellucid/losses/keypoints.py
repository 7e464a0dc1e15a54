"""The base class of losses of key-points (N, K, 3).

Key-points are x and y in pixels, and COCO's visibility, which is 0 for points that are not labelled.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.layers.base import Shape
from pellucid.losses.base import Loss


class KeypointLoss(Loss):
    """A loss of the key-points of one object in each image, (N, K, 3), averaged over the labelled points."""

    @abstractmethod
    def point_count(self, output_shape: Shape) -> int:
        """Return K for outputs of this shape, without the batch axis; raise PellucidError for an unexpected shape."""

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Raise PellucidError unless targets are finite key-points (n, K, 3) for outputs of this shape."""
        count = self.point_count(outputs)
        if targets.shape[1:] != (count, 3) or not targets.is_floating_point():
            raise PellucidError(
                f"{type(self).__name__}: targets of shape {tuple(targets.shape[1:])} and dtype {targets.dtype} do not "
                f"fit a network with outputs for {count} points; give floats ({count}, 3): x, y and visibility of "
                "each point"
            )
        if not bool(targets.isfinite().all()):
            raise PellucidError(f"{type(self).__name__}: targets must be finite; look for NaN and infinity in the data")

    def draw(self, count: int, outputs: Shape, inputs: Shape, rng: torch.Generator) -> Tensor:
        """Draw labelled points (count, K, 3), at least one pixel from the edges of images of shape `inputs`."""
        _, height, width = inputs
        positions = torch.rand(count, self.point_count(outputs), 3, generator=rng)
        return 1 + positions * torch.tensor([width - 2, height - 2, 1])

    def total_weight(self, target: Tensor) -> float | Tensor:
        """Return the number of labelled points."""
        count = (target[..., 2] > 0).sum()
        return float(count) if target.device.type == "cpu" else count  # float() would synchronize with the device


def point_weights(target: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weight (N, K) of each point in the mean: 1 / number of labelled points, or 0 if not labelled."""
    is_labelled = (target[..., 2] > 0).to(dtype)
    return is_labelled / is_labelled.sum().clamp_min(1)  # without labelled points, the loss is 0 instead of 0/0
