"""Masks that are shifted relative to their images."""

import torch
from torch import Tensor

from pellucid.data.augment.colour import grey
from pellucid.data.dataset import float_images
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.tasks.detect.doctor.case import DetectionCase

MAX_SHIFT = 24  # pixels; larger shifts are not tried
MIN_SHIFT = 3  # pixels; outlines are usually drawn with an accuracy of two pixels
MIN_RATIO = 1.15  # strength of the edges at the shifted outlines over that at the outlines
MIN_OBJECTS = 8


def look(case: DetectionCase) -> list[Finding]:
    """Measure the strength of the images' edges at the outlines of the masks, for each shift of the masks."""
    total, count = torch.zeros(2 * MAX_SHIFT + 1, 2 * MAX_SHIFT + 1), 0
    for image, objects in case.sample:
        if objects.masks is None or not len(objects) or min(image.shape[1:]) <= 2 * MAX_SHIFT:
            continue
        outline = torch.stack([_outline(mask) for mask in objects.masks]).any(0)
        total += _strength(_edges(image), outline)
        count += len(objects)
    if count < MIN_OBJECTS:
        return []
    best = int(total.argmax())
    down, right = best // total.shape[1] - MAX_SHIFT, best % total.shape[1] - MAX_SHIFT
    ratio = float(total.max() / total[MAX_SHIFT, MAX_SHIFT].clamp_min(1e-12))
    if max(abs(down), abs(right)) < MIN_SHIFT or ratio < MIN_RATIO:
        return []
    evidence: Evidence = {
        "masks": count,
        "edges_lie_pixels_to_the_right": right,
        "edges_lie_pixels_below": down,
        "strength_of_edges_there_over_here": ratio,
    }
    cause = "the outlines of the masks are shifted from the edges in the images, by the same amount in all images"
    fix = f"shift the masks by {right} pixels to the right and {down} down, or find out what moved the images"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _edges(image: Tensor) -> Tensor:
    """Return the strength of the edges of an image (C, H, W), scaled to mean 1, (H, W)."""
    x = grey(float_images(image[None]))[0, 0]
    found = torch.zeros_like(x)
    found[:, 1:-1] += (x[:, 2:] - x[:, :-2]).abs()
    found[1:-1] += (x[2:] - x[:-2]).abs()
    return found / found.mean().clamp_min(1e-12)


def _outline(mask: Tensor) -> Tensor:
    """Return the pixels of a mask (H, W) with a neighbour outside of the mask, without those at the image border."""
    inner = mask.clone()
    inner[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[2:, 1:-1] & mask[:-2, 1:-1] & mask[1:-1, 2:] & mask[1:-1, :-2]
    return mask & ~inner


def _strength(edges: Tensor, outline: Tensor) -> Tensor:
    """Return the mean of the edges (H, W) at the outline (H, W), for all shifts of the outline.

    Shape (2 * MAX_SHIFT + 1, 2 * MAX_SHIFT + 1), by shift down and shift right; no shift is in the middle.
    """
    height, width = edges.shape
    size = (height + 2 * MAX_SHIFT, width + 2 * MAX_SHIFT)
    product = torch.fft.rfft2(edges, size) * torch.fft.rfft2(outline.float(), size).conj()
    sums = torch.fft.irfft2(product, size).roll((MAX_SHIFT, MAX_SHIFT), (0, 1))[
        : 2 * MAX_SHIFT + 1, : 2 * MAX_SHIFT + 1
    ]
    return sums / outline.sum().clamp_min(1)


NAME = "shifted-masks"
CHECK = Check(NAME, look, direct=True)
