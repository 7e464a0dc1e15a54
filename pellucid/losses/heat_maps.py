"""The loss of heat maps: one map of logits for each key-point."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_choice, check_range, is_number
from pellucid.layers.base import Shape
from pellucid.losses.keypoints import KeypointLoss, point_weights
from pellucid.ops import heatmaps

Decoding = Literal["expectation", "quarter", "taylor"]


class MapPieces(NamedTuple):
    """The terms of the loss, with dy = (p (1 + l1_slope) - t) weight.

    p, t: probabilities and targets of the cells, (N, K, H, W). l1_slope: the slope of the L1 term, (N, K, H, W), None
    for `l1` = 0. cost: (N, K), whose sum is the loss. weight: the weight of each point in the mean, (N, K), 0 for
    points that are not labelled.
    """

    p: Tensor
    t: Tensor
    l1_slope: Tensor | None
    cost: Tensor
    weight: Tensor


@dataclass(frozen=True)
class HeatMaps(KeypointLoss):
    """Softmax cross-entropy of each point's map over its cells, plus the L1 error of the expected position.

    y: logits (N, K, H, W). targets: key-points (N, K, 3) in pixels of the image, whose sides are `stride` times as long
    as those of the maps. For a labelled point, let p = softmax(y) over the H W cells, t the target map, E the expected
    position under p, and c the position of the point, both in cells. The loss is the mean over the labelled points of
    C = -Σ t ln p + l1 (|E_x - c_x| + |E_y - c_y|), and dy = (p - t + l1 p ((centres - E) · sign(E - c))) / number of
    labelled points. Points outside the maps are moved to the border.

    sigma: the standard deviation, in cells, of the Gaussian t, truncated at 3 sigma; 0 for one-hot targets. l1: the
    weight of the second term. decode: how `predict` locates a point between cells: "quarter", a quarter of a cell
    towards the larger neighbour, or another function of `pellucid.ops.heatmaps`. Source: He et al. 2017, section 5
    (softmax over the cells); Sun et al. 2018, equation 2 (expected position).
    """

    metrics: ClassVar[tuple[str, ...]] = ()

    stride: int = 4
    sigma: float = 1.0
    l1: float = 1.0
    decode: Decoding = "expectation"

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid stride, sigma, weight or decoding."""
        check_range(self, exclude_low=True, stride=self.stride)
        is_valid = is_number(self.sigma) and (self.sigma == 0 or self.sigma >= 0.25)
        check(is_valid, "HeatMaps: sigma", "0 (one-hot) or at least 0.25 cells", self.sigma)
        check_range(self, l1=self.l1)
        check_choice(self, get_args(Decoding), decode=self.decode)

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        terms = self.pieces(y, target)
        map_weight = terms.weight[..., None, None]  # (N, K, 1, 1)
        slope = 1.0 if terms.l1_slope is None else 1.0 + terms.l1_slope
        return terms.cost.sum(), (terms.p * slope - terms.t) * map_weight

    def pieces(self, y: Tensor, target: Tensor) -> "MapPieces":
        """Return the terms of the value and of the gradient."""
        size = (y.shape[2], y.shape[3])
        weight = point_weights(target, y.dtype)  # (N, K)
        c = heatmaps.clamp_points(target[..., :2].to(y.dtype) / self.stride, size)  # (N, K, 2), cells
        log_p = y.flatten(2).log_softmax(2).view_as(y)
        p, t = log_p.exp(), heatmaps.gaussians(c, size, self.sigma)
        cost = -(t * log_p).sum((2, 3))
        if not self.l1:
            return MapPieces(p, t, None, cost * weight, weight)
        mean = heatmaps.expectation(p)  # (N, K, 2)
        offset = mean - c
        l1_slope = heatmaps.expectation_slope(p, mean, offset.sign() * self.l1)
        return MapPieces(p, t, l1_slope, (cost + self.l1 * offset.abs().sum(2)) * weight, weight)

    def point_count(self, output_shape: Shape) -> int:
        """Return the number of maps; raise PellucidError for outputs that are not maps."""
        if len(output_shape) != 3:
            raise PellucidError(
                f"HeatMaps: the network outputs {tuple(output_shape)}, not a map for each point (K, H, W)"
            )
        return output_shape[0]

    def predict(self, y: Tensor) -> Tensor:
        """Return key-points (N, K, 3): x and y in pixels, and as score the probability within 3 sigma (or 1 cell)."""
        p = y.flatten(2).softmax(2).view_as(y)
        if self.decode == "expectation":
            points = heatmaps.expectation(p)
        else:
            points = heatmaps.peaks_by_quarter(y) if self.decode == "quarter" else heatmaps.peaks_by_parabola(y)
        score = heatmaps.sum_within(p, points, max(1.0, heatmaps.CUTOFF_SIGMAS * self.sigma))
        return torch.cat((points * self.stride, score[..., None]), -1)
