"""Colours of a video that do not flicker."""

import torch
from torch import Tensor

STATIC, MOVED = 2.0, 10.0  # differences of L up to which a pixel counts as unchanged, and from which as another one
CUT = 0.5  # share of moved pixels from which a frame begins a new scene


class Smoothing:
    """Keeps a and b of the pixels of a video whose L stays.

    A pixel keeps its a and b while its L differs by at most 2, the noise of a camera, from that at which they changed
    last; from 2 to 10 they move in proportion towards the new ones. A frame in which half of the pixels moved begins
    anew.
    """

    def __init__(self) -> None:
        self._before: tuple[Tensor, Tensor] | None = None

    def __call__(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """Return the a and b (2, H, W) to show for those predicted of the next frame, with L (1, H, W)."""
        if self._before is not None and self._before[0].shape == lightness.shape:
            reference, kept = self._before
            weight = ((lightness - reference).abs() - STATIC).div(MOVED - STATIC).clamp(0, 1)
            if float((weight == 1).float().mean()) < CUT:
                lightness, ab = torch.where(weight > 0, lightness, reference), torch.lerp(kept, ab, weight)
        self._before = lightness, ab
        return ab
