"""Encoding of boxes as offsets from anchors, which networks predict, and decoding of offsets to boxes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MAX_LOG_SIZE = math.log(1000 / 16)  # limit of dw and dh that prevents overflow of exp; from Girshick's reference code


def encode(boxes: Tensor, anchors: Tensor, deviations: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Return the offsets (n, 4) of boxes (n, 4) from anchors (n, 4): dx, dy, dw, dh.

    dx = (x - xa) / wa with the centres x, xa; dw = ln(w / wa) with the widths w, wa; dy and dh likewise. Each is
    divided by its entry in `deviations`. Boxes and anchors must have a width and a height above 0. Source: Girshick et
    al. 2014, appendix C.
    """
    centre, size = _centre_and_size(boxes)
    anchor_centre, anchor_size = _centre_and_size(anchors)
    offsets = torch.cat([(centre - anchor_centre) / anchor_size, (size / anchor_size).log()], 1)
    return offsets / offsets.new_tensor(deviations)


def decode(
    offsets: Tensor, anchors: Tensor, deviations: Sequence[float] = (1.0, 1.0, 1.0, 1.0), limit: float = MAX_LOG_SIZE
) -> Tensor:
    """Return the boxes (n, 4) at offsets (n, 4) from anchors (n, 4), the inverse of `encode`.

    After the multiplication by `deviations`, dw and dh are clamped to at most `limit`. Source: see `encode`.
    """
    offsets = offsets * offsets.new_tensor(deviations)
    anchor_centre, anchor_size = _centre_and_size(anchors)
    centre = anchor_centre + offsets[:, :2] * anchor_size
    half = anchor_size * offsets[:, 2:].clamp_max(limit).exp() / 2
    return torch.cat([centre - half, centre + half], 1)


def decode_gradient(
    dboxes: Tensor,
    offsets: Tensor,
    anchors: Tensor,
    deviations: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    limit: float = MAX_LOG_SIZE,
) -> Tensor:
    """Return the gradient with respect to offsets (n, 4), given the gradient with respect to the boxes (n, 4).

    The gradient of a clamped dw or dh is 0.
    """
    scale = offsets.new_tensor(deviations)
    _, anchor_size = _centre_and_size(anchors)
    low, high = dboxes[:, :2], dboxes[:, 2:]
    log_size = offsets[:, 2:] * scale[2:]
    half = anchor_size * log_size.clamp_max(limit).exp() / 2
    dsize = torch.where(log_size > limit, 0, (high - low) * half)  # d half / d log_size = half
    return torch.cat([(low + high) * anchor_size, dsize], 1) * scale


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres (n, 2), as x and y, and the sizes (n, 2), as width and height."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return (low + high) / 2, high - low
