"""Objects that are annotated by their key-points only, as in DeepLabCut and labelme: their class, and their box."""

from collections.abc import Sequence

from pellucid.data.annotations.base import BoxCorners

POINTS_CLASS = "object"  # the class of objects without a label
MARGIN = 0.1  # on each side, as a fraction of the longer side of the box around the points: an object exceeds them
MIN_MARGIN = 0.02  # on each side, as a fraction of the image's longer side, for a single point or points in a line


def box_around(points: Sequence[tuple[float, float]], size: tuple[int, int]) -> BoxCorners:
    """Return the box around points (x, y) with a margin, clipped to its image (H, W)."""
    height, width = size
    x = [point[0] for point in points]
    y = [point[1] for point in points]
    extent = max(max(x) - min(x), max(y) - min(y))
    margin = max(MARGIN * extent, MIN_MARGIN * max(size))
    return (
        max(min(x) - margin, 0.0),
        max(min(y) - margin, 0.0),
        min(max(x) + margin, float(width)),
        min(max(y) + margin, float(height)),
    )
