"""The loss of heat maps: one map of logits for each key-point."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Shape
from pellucid.losses.base import check_positive, is_number
from pellucid.losses.keypoints import KeypointLoss, labelled
from pellucid.ops import heatmaps

Decoding = Literal["expectation", "quarter", "taylor"]


class MapPieces(NamedTuple):
    """p, t: probabilities and targets of the cells, (N, K, H, W); dy = (p (1 + pull) - t) share.

    pull: of the L1 term, None without it. cost: of each point, (N, K), their sum is the loss. share: of each point in
    the mean, (N, K), 0 for those not labelled.
    """

    p: Tensor
    t: Tensor
    pull: Tensor | None
    cost: Tensor
    share: Tensor


@dataclass(frozen=True)
class HeatMaps(KeypointLoss):
    """Softmax cross-entropy of each point's map over its cells, and the L1 error of the expected position.

    y: logits (N, K, H, W); targets: key-points (N, K, 3) in pixels of the image, whose sides are `stride` times those
    of the maps. For each labelled point, with p = softmax(y) over the H W cells, t its target map, E the mean position
    by p and c the point, both in cells: C = -Σ t ln p + l1 (|E_x - c_x| + |E_y - c_y|), the mean over the points;
    dy = (p - t + l1 p ((centres - E) · sign(E - c))) / points. Points outside the maps count as on their border.

    sigma: the standard deviation, in cells, of the Gaussian t, cut at 3 sigma; 0 for one hot. l1: the weight of the
    second term. decode: how `predict` finds a point, as `ops.heatmaps` names them.
    Source: He et al. 2017, section 5 (softmax over the cells); Sun et al. 2018, equation 2 (expected position).
    """

    metrics: ClassVar[tuple[str, ...]] = ()

    stride: int = 4
    sigma: float = 1.0
    l1: float = 1.0
    decode: Decoding = "expectation"

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid stride, sigma, weight or decoding."""
        check_positive(self, stride=self.stride)
        if not (is_number(self.sigma) and (self.sigma == 0 or 0.25 <= self.sigma < float("inf"))):
            raise PellucidError(f"HeatMaps: sigma must be 0, for one hot, or from 0.25 cells, not {self.sigma!r}")
        if not (is_number(self.l1) and 0 <= self.l1 < float("inf")):
            raise PellucidError(f"HeatMaps: l1 must be a number from 0, not {self.l1!r}")
        if self.decode not in get_args(Decoding):
            known = ", ".join(get_args(Decoding))
            raise PellucidError(f"HeatMaps: decode must be one of {known}, not {self.decode!r}")

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        it = self.pieces(y, target)
        weight = it.share[..., None, None]  # (N, K, 1, 1)
        slope = 1.0 if it.pull is None else 1.0 + it.pull
        return it.cost.sum(), (it.p * slope - it.t) * weight

    def pieces(self, y: Tensor, target: Tensor) -> "MapPieces":
        """Return what value and gradient are made of."""
        size = (y.shape[2], y.shape[3])
        share = labelled(target, y.dtype)  # (N, K)
        c = heatmaps.inside(target[..., :2].to(y.dtype) / self.stride, size)  # (N, K, 2), cells
        log_p = y.flatten(2).log_softmax(2).view_as(y)
        p, t = log_p.exp(), heatmaps.gaussians(c, size, self.sigma)
        cost = -(t * log_p).sum((2, 3))
        if not self.l1:
            return MapPieces(p, t, None, cost * share, share)
        mean = heatmaps.expectation(p)  # (N, K, 2)
        off = mean - c
        pull = heatmaps.expectation_slope(p, mean, off.sign() * self.l1)
        return MapPieces(p, t, pull, (cost + self.l1 * off.abs().sum(2)) * share, share)

    def points(self, outputs: Shape) -> int:
        """Return the number of maps; PellucidError for outputs that are not maps."""
        if len(outputs) != 3:
            raise PellucidError(f"HeatMaps: the network outputs {tuple(outputs)}, not a map for each point (K, H, W)")
        return outputs[0]

    def predict(self, y: Tensor) -> Tensor:
        """Return key-points (N, K, 3): x and y in pixels, and the probability within 3 sigma (at least a cell)."""
        p = y.flatten(2).softmax(2).view_as(y)
        if self.decode == "expectation":
            at = heatmaps.expectation(p)
        else:
            at = heatmaps.quarter(y) if self.decode == "quarter" else heatmaps.taylor(y)
        score = heatmaps.mass_within(p, at, max(1.0, heatmaps.REACH * self.sigma))
        return torch.cat((at * self.stride, score[..., None]), -1)
