"""One frame of a video or a camera."""

from collections.abc import Generator
from dataclasses import dataclass

from torch import Tensor

from pellucid.errors import PellucidError


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame.

    number: its place in the source, from 0. seconds: since the first, None where the source does not tell.
    picture: (3, H, W) uint8. dropped: how many frames before it came while nobody had time for them, or
    could not be read.
    """

    number: int
    seconds: float | None
    picture: Tensor
    dropped: int = 0


Frames = Generator[Frame, None, None]  # to be closed, so that a camera is let go


def check_every(every: int) -> None:
    """Raise PellucidError unless `every` is 1 or more."""
    if every < 1:
        raise PellucidError(f"every must be 1 (each frame) or more, not {every}")


def as_file(picture: Tensor) -> bytes:
    """Return a picture (3, H, W) uint8 as the bytes of a PPM file, nothing lost.

    So a frame goes the way of any picture file, and becomes the same input.
    """
    _, height, width = picture.shape
    return b"P6 %d %d 255\n" % (width, height) + picture.permute(1, 2, 0).contiguous().numpy().tobytes()
