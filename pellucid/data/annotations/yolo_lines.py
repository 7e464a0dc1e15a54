"""The lines of YOLO's label files: a box, a polygon, or a box and key-points."""

from collections.abc import Sequence
from typing import NamedTuple

from pellucid.data.annotations.base import BoxCorners, DamageError, Polygons, parse_numbers, parse_polygons

MAX_FRACTION = 2.0  # of the image's size; a larger coordinate is in another unit, such as pixels
# A polygon that is drawn past the border leaves the image by a few percent; a larger number has another meaning, such
# as the visibility 2 of a key-point.
MAX_EXCESS = 0.1
MARGIN = 0.02  # fraction of the image by which a key-point may lie outside its box, unlike the points of polygons
MIN_LINES = 8  # with unlabelled visibility; polygons of fewer lines may look like boxes with key-points by chance
KEYPOINTS_ADVICE = "for boxes with key-points, state kpt_shape: [K, 3] in data.yaml, or [K, 2] without visibility"


class KeypointShape(NamedTuple):
    """The key-points of each object: their number, and the numbers for each, 3 with visibility, otherwise 2.

    is_stated: whether the data set states it; if not, there are none.
    """

    n_points: int = 0
    n_numbers: int = 3
    is_stated: bool = False

    @property
    def n_coordinates(self) -> int:
        """How many numbers a line has after the class: those of a box and of the key-points."""
        return 4 + self.n_points * self.n_numbers


class Line(NamedTuple):
    """One object: its label, its box as corners and as the numbers of the file in pixels, its outline and points."""

    label: int
    box: BoxCorners
    box_numbers: BoxCorners | None
    outline: Polygons | None
    points: tuple[float, ...]


def parse_line(words: Sequence[str], size: tuple[int, int], shape: KeypointShape, n_classes: int) -> Line:
    """Return the object of a line that is not empty; raise DamageError for an invalid line. size: (H, W)."""
    label, values = parse_word(words[0]), parse_numbers([parse_word(word) for word in words])
    if label is None or not label.is_integer() or not 0 <= label < n_classes:
        raise DamageError(f"class {words[0]!r:.40} is not an integer from 0 to {n_classes - 1}")
    if values is None:
        raise DamageError(f"{' '.join(words)!r:.80} are not finite numbers separated by spaces")
    (height, width), coordinates = size, values[1:]
    if (largest := max(coordinates[:4], default=0.0)) > MAX_FRACTION:
        raise DamageError(f"coordinate {largest:g} is not a fraction of the image's width or height, 0 to 1")
    if len(coordinates) == shape.n_coordinates:
        x, y, w, h = coordinates[0] * width, coordinates[1] * height, coordinates[2] * width, coordinates[3] * height
        box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        return Line(int(label), box, (x, y, w, h), None, _keypoints(coordinates[4:], size, shape.n_numbers))
    if len(coordinates) >= 6 and len(coordinates) % 2 == 0 and not shape.n_points:
        outside_value = next((value for value in coordinates if not -MAX_EXCESS <= value <= 1 + MAX_EXCESS), None)
        if outside_value is not None:
            raise DamageError(f"polygon has the number {outside_value:g}, which is not from 0 to 1; {KEYPOINTS_ADVICE}")
        polygon = [value * (width, height)[k % 2] for k, value in enumerate(coordinates)]
        outline = parse_polygons([polygon], size)
        corners = (min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2]))
        return Line(int(label), corners, None, outline, ())
    raise DamageError(_length_fault(len(coordinates), shape))


def _keypoints(values: Sequence[float], size: tuple[int, int], numbers: int) -> tuple[float, ...]:
    """Return x, y and visibility of each key-point in pixels.

    Without visibility, a point at (0, 0) or with a negative coordinate is not labelled, and all others are visible.
    """
    points: list[float] = []
    for x, y, *visibility in zip(*(values[k::numbers] for k in range(numbers)), strict=True):
        is_labelled = min(x, y) >= 0 and (x, y) != (0, 0)
        value = visibility[0] if visibility else 2.0 * is_labelled
        if value not in (0, 1, 2):
            raise DamageError("visibility of a key-point is not 0, 1 or 2")
        if max(x, y) >= MAX_FRACTION:  # 2 may be a visibility
            raise DamageError(f"coordinate {max(x, y):g} is not a fraction of the image's width or height, 0 to 1")
        points += [x * size[1], y * size[0], value] if value or visibility else [0.0, 0.0, 0.0]
    return tuple(points)


def _length_fault(n_coordinates: int, shape: KeypointShape) -> str:
    """Return why a line with `n_coordinates` numbers after the class is invalid."""
    numbers_text = "a box" if shape.n_points == 0 else f"a box and {shape.n_points} key-points"
    fault = f"{n_coordinates + 1} numbers are neither a class with {numbers_text} nor one with a polygon"
    if shape.n_points:
        other_shape = shape._replace(n_numbers=5 - shape.n_numbers)  # 2 in place of 3, or 3 in place of 2
        if n_coordinates == other_shape.n_coordinates:
            return f"{fault}; state kpt_shape: [{other_shape.n_points}, {other_shape.n_numbers}] in data.yaml"
    advice = "remove the confidence at the end, which predictions have and labels do not have"
    if n_coordinates == shape.n_coordinates + 1:
        return f"{fault}; {advice}"
    return f"{fault}; {advice}, or {KEYPOINTS_ADVICE}" if not shape.n_points and n_coordinates > 6 else fault


class PolygonLines:
    """Counts lines that are read as polygons, and those that also fit a box with key-points inside it."""

    def __init__(self) -> None:
        self._count = 0
        self._lengths: set[int] = set()
        self._with_visibility = 0
        self._without_visibility = 0

    def add(self, coordinates: Sequence[float]) -> None:
        """Count one line; coordinates: its numbers after the class."""
        self._count += 1
        self._lengths.add(len(coordinates))
        has_confidence = _fits_keypoints(coordinates[:-1], 3)
        self._with_visibility += has_confidence or _fits_keypoints(coordinates, 3)
        self._without_visibility += _fits_keypoints(coordinates, 2)

    def fault(self) -> str:
        """Return a message if all lines have one length and fit a box with key-points; "" otherwise."""
        is_clear = self._with_visibility == self._count or (
            self._without_visibility == self._count and self._count >= MIN_LINES
        )
        if not self._count or len(self._lengths) > 1 or not is_clear:
            return ""
        return (
            f"all {self._count:,} polygons have the same length and fit boxes with key-points; {KEYPOINTS_ADVICE}, and "
            "for polygons kpt_shape: [0, 3]"
        )


def _fits_keypoints(coordinates: Sequence[float], numbers: int) -> bool:
    """Return whether coordinates can be a box inside the image, and key-points inside the box."""
    x, y, width, height, *values = coordinates
    is_box = 0 < width <= 1 and 0 < height <= 1 and 0 <= x <= 1 and 0 <= y <= 1
    is_inside = abs(x - 0.5) + width / 2 <= 0.5 + MARGIN and abs(y - 0.5) + height / 2 <= 0.5 + MARGIN
    if not is_box or not is_inside or len(values) % numbers:
        return False
    for px, py, *visibility in zip(*(values[k::numbers] for k in range(numbers)), strict=True):
        if visibility and visibility[0] not in (0, 1, 2):
            return False
        is_labelled = visibility != [0] and (px, py) != (0, 0)
        if is_labelled and (abs(px - x) > width / 2 + MARGIN or abs(py - y) > height / 2 + MARGIN):
            return False
    return True


def parse_word(word: str) -> float | None:
    """Return the number in a word, None for other words."""
    try:
        return float(word)
    except ValueError:
        return None
