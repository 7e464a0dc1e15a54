"""Colours of a video that do not flicker."""

import torch
from torch import Tensor

STATIC, MOVED = 2.0, 10.0  # differences of L: up to the first, a pixel is unchanged; from the second on, it has moved
CUT = 0.5  # fraction of moved pixels from which a frame is a new scene


class Smoothing:
    """Keeps a and b of those pixels of a video whose L is nearly constant.

    A pixel keeps its a and b while its L differs by at most 2, the noise of a camera, from the L at their last change.
    For a difference from 2 to 10, a and b are interpolated linearly between the old and the new values. If at least
    half of the pixels of a frame differ by 10 or more, the state is reset.
    """

    def __init__(self) -> None:
        self._before: tuple[Tensor, Tensor] | None = None

    def __call__(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """Return the smoothed a and b (2, H, W) of the next frame, given its L (1, H, W) and the predicted a and b."""
        if self._before is not None and self._before[0].shape == lightness.shape:
            reference, kept = self._before
            weight = ((lightness - reference).abs() - STATIC).div(MOVED - STATIC).clamp(0, 1)
            if float((weight == 1).float().mean()) < CUT:
                lightness, ab = torch.where(weight > 0, lightness, reference), torch.lerp(kept, ab, weight)
        self._before = lightness, ab
        return ab
