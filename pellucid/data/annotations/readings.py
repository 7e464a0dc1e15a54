"""Whether the numbers of boxes fit their images as a format defines them, or only in another common reading."""

from collections import Counter
from collections.abc import Callable, Mapping

from pellucid.data.annotations.base import BOX_TOLERANCE, BoxCorners

# Boxes that leave their image are refused if they are MIN_LEAVING or more, and either more than MAX_LEAVING of all
# boxes and (nearly) all boxes fit in another reading, or more than half of all boxes. In BCCD, Penn-Fudan and the faces
# no box leaves its image; in sets whose boxes cover hidden parts of objects some do, and then no other reading fits.
MIN_LEAVING = 3
MAX_LEAVING = 0.1
MAX_LEAVING_ALONE = 0.5
MIN_FITTING = 0.98  # of all boxes, in another reading
# Boxes whose corners are in the wrong order are never valid, so fewer of them raise the question of another reading.
MIN_UNORDERED = 2
MIN_FRACTION_SIDE = 8  # pixels of an image in which boxes from 0 to 1 are too small to be meant as pixels

CENTRE_AND_SIZE = "centre and size"
CORNER_AND_SIZE = "upper left corner and size"
CORNERS = "corners"
READINGS: Mapping[str, Callable[[float, float, float, float], BoxCorners]] = {
    CORNERS: lambda x0, y0, x1, y1: (x0, y0, x1, y1),
    CORNER_AND_SIZE: lambda x, y, w, h: (x, y, x + w, y + h),
    CENTRE_AND_SIZE: lambda x, y, w, h: (x - w / 2, y - h / 2, x + w / 2, y + h / 2),
    "corners, y before x": lambda y0, x0, y1, x1: (x0, y0, x1, y1),
}


class BoxReadings:
    """Counts the boxes of a data set that fit their images in each reading. declared: the reading of the format."""

    # _fraction_boxes: those with only numbers from 0 to 1. _n_fitting: the number of boxes that fit, by reading.
    def __init__(self, declared: str) -> None:
        self.declared = declared
        self._n_boxes = 0
        self._n_unordered = 0
        self._fraction_boxes: list[BoxCorners] = []
        self._n_fitting: Counter[str] = Counter()

    def add(self, numbers: BoxCorners, size: tuple[int, int]) -> None:
        """Count one box. numbers: as in the file, in pixels; size: (H, W) of its image."""
        self._n_boxes += 1
        x0, y0, x1, y1 = READINGS[self.declared](*numbers)
        self._n_unordered += x1 < x0 or y1 < y0
        if min(numbers) >= 0 and 0 < max(numbers) <= 1 and min(size) >= MIN_FRACTION_SIDE:
            self._fraction_boxes.append(numbers)
        for name, corners in READINGS.items():
            x0, y0, x1, y1 = corners(*numbers)
            is_ordered = x0 <= x1 and y0 <= y1
            is_inside = (
                min(x0, y0) >= -BOX_TOLERANCE and x1 <= size[1] + BOX_TOLERANCE and y1 <= size[0] + BOX_TOLERANCE
            )
            self._n_fitting[name] += is_ordered and is_inside

    def fault(self) -> str:
        """Return a message if many boxes leave their image as declared, or are fractions of it; "" otherwise."""
        if reason := self.fraction_fault():
            return reason
        n_leaving = self._n_boxes - self._n_fitting[self.declared]
        if n_leaving <= MAX_LEAVING * self._n_boxes:
            return ""
        other_readings = (name for name in READINGS if self._n_fitting[name] >= MIN_FITTING * self._n_boxes)
        other_reading = next(other_readings, "")
        is_other = bool(other_reading) and self._n_unordered >= MIN_UNORDERED
        if n_leaving < MIN_LEAVING and not is_other:
            return ""
        if not other_reading and n_leaving <= MAX_LEAVING_ALONE * self._n_boxes:
            return ""
        question = (
            f"; all fit as {other_reading}: {other_reading} in place of {self.declared}?"
            if other_reading
            else "; in another unit or order?"
        )
        return f"{n_leaving:,} of {self._n_boxes:,} boxes leave their image, read as {self.declared}{question}"

    def fraction_fault(self) -> str:
        """Return a message if (nearly) all numbers, read as pixels, are from 0 to 1; "" otherwise."""
        n_fractions = len(self._fraction_boxes)
        is_in_pixels = self.declared != CENTRE_AND_SIZE  # YOLO's boxes are fractions, which its reader multiplies
        if not is_in_pixels or n_fractions < MIN_LEAVING or n_fractions < MIN_FITTING * self._n_boxes:
            return ""
        example_text = ", ".join(f"{value:g}" for value in self._fraction_boxes[0])
        return (
            f"{n_fractions:,} of {self._n_boxes:,} boxes have only numbers from 0 to 1, such as ({example_text}), read "
            "as pixels: fractions of the image in place of pixels? Multiply them by its width and height"
        )
