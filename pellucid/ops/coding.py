"""Boxes as offsets from anchors, which a network predicts."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LIMIT = math.log(1000 / 16)  # of dw and dh, so that no exponential overflows; as in Girshick's reference code


def encode(boxes: Tensor, anchors: Tensor, deviations: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Return the offsets (n, 4) of boxes (n, 4) from anchors (n, 4): dx, dy, dw, dh.

    dx = (x - xa) / wa for the centres, dw = ln(w / wa) for the sizes, each divided by its entry of `deviations`.
    Boxes and anchors have a width and a height above 0. Source: Girshick et al. 2014, appendix C.
    """
    centre, size = _middle(boxes)
    own_centre, own_size = _middle(anchors)
    offsets = torch.cat([(centre - own_centre) / own_size, (size / own_size).log()], 1)
    return offsets / offsets.new_tensor(deviations)


def decode(
    offsets: Tensor, anchors: Tensor, deviations: Sequence[float] = (1.0, 1.0, 1.0, 1.0), limit: float = LIMIT
) -> Tensor:
    """Return the boxes (n, 4) at offsets (n, 4) from anchors (n, 4), the inverse of `encode`.

    dw and dh are at most `limit`. The source is that of `encode`.
    """
    offsets = offsets * offsets.new_tensor(deviations)
    own_centre, own_size = _middle(anchors)
    centre = own_centre + offsets[:, :2] * own_size
    half = own_size * offsets[:, 2:].clamp_max(limit).exp() / 2
    return torch.cat([centre - half, centre + half], 1)


def decode_gradient(
    dboxes: Tensor,
    offsets: Tensor,
    anchors: Tensor,
    deviations: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    limit: float = LIMIT,
) -> Tensor:
    """Return the gradient with respect to offsets (n, 4), given that with respect to the decoded boxes (n, 4).

    Where dw or dh is beyond the limit, its gradient is 0.
    """
    scale = offsets.new_tensor(deviations)
    _, own_size = _middle(anchors)
    low, high = dboxes[:, :2], dboxes[:, 2:]
    log_size = offsets[:, 2:] * scale[2:]
    half = own_size * log_size.clamp_max(limit).exp() / 2
    dsize = torch.where(log_size > limit, 0, (high - low) * half)  # d half / d log_size = half
    return torch.cat([(low + high) * own_size, dsize], 1) * scale


def _middle(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres (n, 2) and the sizes (n, 2)."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return (low + high) / 2, high - low
