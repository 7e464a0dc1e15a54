"""Masks that are shifted against their images."""

import torch
from torch import Tensor

from pellucid.data.augment.colour import grey
from pellucid.data.dataset import float_images
from pellucid.doctor.detection.case import DetectionCase
from pellucid.doctor.finding import Check, Evidence, Finding

REACH = 24  # pixels, the largest shift that is looked for
NEAR = 3  # pixels; outlines are drawn no more exactly than to two
STRONGER = 1.15  # edges at the shifted outlines over those at the outlines as they are
MIN_OBJECTS = 8


def look(case: DetectionCase) -> list[Finding]:
    """Measure how strong the edges of the images are at the outlines of the masks, for each shift of these."""
    total, count = torch.zeros(2 * REACH + 1, 2 * REACH + 1), 0
    for image, truth in case.sample:
        if truth.masks is None or not len(truth) or min(image.shape[1:]) <= 2 * REACH:
            continue
        outline = torch.stack([_outline(mask) for mask in truth.masks]).any(0)
        total += _strength(_edges(image), outline)
        count += len(truth)
    if count < MIN_OBJECTS:
        return []
    best = int(total.argmax())
    down, right = best // total.shape[1] - REACH, best % total.shape[1] - REACH
    ratio = float(total.max() / total[REACH, REACH].clamp_min(1e-12))
    if max(abs(down), abs(right)) < NEAR or ratio < STRONGER:
        return []
    evidence: Evidence = {
        "masks": count,
        "edges_lie_pixels_to_the_right": right,
        "edges_lie_pixels_below": down,
        "strength_of_edges_there_over_here": ratio,
    }
    cause = "the outlines of the masks lie beside the edges of the images by the same shift in all images"
    fix = f"shift the masks by {right} pixels to the right and {down} down, or find what moved the images"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _edges(image: Tensor) -> Tensor:
    """Return the strength of the edges of an image (C, H, W), with mean 1: (H, W)."""
    x = grey(float_images(image[None]))[0, 0]
    found = torch.zeros_like(x)
    found[:, 1:-1] += (x[:, 2:] - x[:, :-2]).abs()
    found[1:-1] += (x[2:] - x[:-2]).abs()
    return found / found.mean().clamp_min(1e-12)


def _outline(mask: Tensor) -> Tensor:
    """Return the pixels of a mask (H, W) with a neighbour outside of it; none at the borders of the image."""
    inner = mask.clone()
    inner[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[2:, 1:-1] & mask[:-2, 1:-1] & mask[1:-1, 2:] & mask[1:-1, :-2]
    return mask & ~inner


def _strength(edges: Tensor, outline: Tensor) -> Tensor:
    """Return the mean of the edges (H, W) at the outline for all shifts down and right: (2 REACH + 1, 2 REACH + 1)."""
    height, width = edges.shape
    size = (height + 2 * REACH, width + 2 * REACH)
    product = torch.fft.rfft2(edges, size) * torch.fft.rfft2(outline.float(), size).conj()
    sums = torch.fft.irfft2(product, size).roll((REACH, REACH), (0, 1))[: 2 * REACH + 1, : 2 * REACH + 1]
    return sums / outline.sum().clamp_min(1)


NAME = "shifted-masks"
CHECK = Check(NAME, look, proven=True)
