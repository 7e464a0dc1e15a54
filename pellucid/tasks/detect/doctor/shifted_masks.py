"""Check for masks that are shifted relative to their images."""

import torch
from torch import Tensor

from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.tasks.detect.doctor.case import DetectionCase
from pellucid.tasks.outlines import best_shift, edges, shifted_strength

MAX_SHIFT = 24  # pixels; larger shifts are not tried
MIN_SHIFT = 3  # pixels; outlines are usually drawn with an accuracy of two pixels
MIN_RATIO = 1.15  # strength of the edges at the shifted outlines, divided by their strength at the outlines
MIN_OBJECTS = 8


def find(case: DetectionCase) -> list[Finding]:
    """Measure the strength of the images' edges at the outlines of the masks, for each shift of the masks."""
    strength, n_masks = torch.zeros(2 * MAX_SHIFT + 1, 2 * MAX_SHIFT + 1), 0
    for image, objects in case.sample:
        if objects.masks is None or not len(objects) or min(image.shape[1:]) <= 2 * MAX_SHIFT:
            continue
        outline = torch.stack([_outline(mask) for mask in objects.masks]).any(0)
        strength += shifted_strength(edges(image), outline, MAX_SHIFT)
        n_masks += len(objects)
    if n_masks < MIN_OBJECTS:
        return []
    down, right, ratio = best_shift(strength)
    if max(abs(down), abs(right)) < MIN_SHIFT or ratio < MIN_RATIO:
        return []
    evidence: Evidence = {
        "masks": n_masks,
        "edges_lie_pixels_to_the_right": right,
        "edges_lie_pixels_below": down,
        "strength_of_edges_there_over_here": ratio,
    }
    cause = "the outlines of the masks are shifted from the edges in the images, by the same amount in all images"
    fix = f"shift the masks by {right} pixels to the right and {down} down, or find out what moved the images"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _outline(mask: Tensor) -> Tensor:
    """Return the pixels of a mask (H, W) that have a neighbour outside the mask, except at the image border."""
    inner = mask.clone()
    inner[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[2:, 1:-1] & mask[:-2, 1:-1] & mask[1:-1, 2:] & mask[1:-1, :-2]
    return mask & ~inner


NAME = "shifted-masks"
CHECK = Check(NAME, find, finds_faults=True)
