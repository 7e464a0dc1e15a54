"""Losses of detectors, computed in plain PyTorch object by object, and their gradients by autograd."""

import torch
from torch.nn import functional as F

from pellucid.layers.base import Mode
from tests.oracle import leaves
from tests.references import reference_forward


def reference_outputs(detector, params, images):
    """Return the outputs of the last network, (N, A, D), ordered by map, row, column and anchor, and the map sizes."""
    x = images
    for name, net in detector.nets.items():
        x = reference_forward(net, params[name], x, Mode(True))
    x = x if isinstance(x, tuple) else (x,)
    map_outputs = [map_.permute(0, 2, 3, 1).reshape(len(images), -1, detector.outputs_per_anchor) for map_ in x]
    return torch.cat(map_outputs, 1), [map_.shape[2:] for map_ in x]


def reference_gradients(detector, params, batch, losses_of):
    """Return the losses by name, and the gradients of their weighted sum by path; 0 for unused parameters.

    losses_of(y, sizes) -> losses of the outputs (N, A, D).
    """
    flat = leaves(params)
    for tensor in flat.values():
        tensor.requires_grad_(True)
    losses = losses_of(*reference_outputs(detector, params, batch.images))
    total = sum(detector.weight(name) * value for name, value in losses.items())
    grads = torch.autograd.grad(total, list(flat.values()), allow_unused=True)
    for tensor in flat.values():
        tensor.requires_grad_(False)
    gradients = {
        path: torch.zeros_like(w) if g is None else g for (path, w), g in zip(flat.items(), grads, strict=True)
    }
    return {name: value.detach() for name, value in losses.items()}, gradients


def box_at(offsets, anchor, deviations=(1.0, 1.0, 1.0, 1.0)):
    """Return the box that R-CNN's offsets from an anchor encode."""
    dx, dy, dw, dh = (offset * deviation for offset, deviation in zip(offsets, deviations, strict=True))
    x0, y0, x1, y1 = anchor
    width, height = x1 - x0, y1 - y0
    x, y = (x0 + x1) / 2 + dx * width, (y0 + y1) / 2 + dy * height
    w, h = width * dw.exp(), height * dh.exp()
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


def iou_and_giou(box, other_box):
    """Return the IoU and the generalized IoU of two boxes."""
    low, high = torch.maximum(box[:2], other_box[:2]), torch.minimum(box[2:], other_box[2:])
    intersection = (high - low).clamp_min(0).prod()
    union = (box[2:] - box[:2]).prod() + (other_box[2:] - other_box[:2]).prod() - intersection
    hull = (torch.maximum(box[2:], other_box[2:]) - torch.minimum(box[:2], other_box[:2])).prod()
    iou = intersection / union
    return iou, iou - (hull - union) / hull


def quality_focal(logits, targets):
    """Return Σ |t - σ|^2 times the binary cross-entropy (Li et al. 2020, equation 2)."""
    cross = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return ((targets - logits.sigmoid()) ** 2 * cross).sum()
