"""Colours for numbers, in which equal steps look equal, also to colour-blind eyes."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, ListedColormap, Normalize
from numpy.typing import NDArray

LEVELS = 129  # of a diverging map, on either side of zero and at it
ENDS = ((36.0, 7.0, -43.0), (97.0, 0.0, 0.0), (36.0, 28.0, 33.4))  # CIELAB: dark blue, near white, dark orange
# Rows: X, Y, Z of the linear red, green and blue of sRGB (IEC 61966-2-1), and the white D65.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = XYZ.sum(1)


def lab_to_srgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return colours (..., 3) of CIELAB as sRGB 0..1, cut off where a screen has no such colour."""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    middle = (lightness + 16) / 116
    cubes = np.stack([middle + a / 500, middle, middle - b / 200], -1)
    xyz = np.where(cubes > 6 / 29, cubes**3, 3 * (6 / 29) ** 2 * (cubes - 4 / 29)) * WHITE
    linear = np.clip(xyz @ np.linalg.inv(XYZ).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _diverging() -> Colormap:
    below, zero, above = (np.array(end) for end in ENDS)
    rising = np.linspace(0, 1, LEVELS)[:, None]
    lab = np.concatenate([below + (zero - below) * rising, (zero + (above - zero) * rising)[1:]])
    return ListedColormap(lab_to_srgb(lab).tolist(), "blue_white_orange")


DIVERGING = _diverging()  # straight lines through CIELAB, of equal length and lightness
SEQUENTIAL: Colormap = colormaps["viridis"]


def scale(values: Any, signed: bool) -> tuple[Normalize, Colormap]:
    """Return which numbers have which colours: 0 in the middle where they are `signed`, else the least first.

    Numbers that are all the same get a scale that spans something.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if signed:
        reach = float(np.abs(numbers).max()) or 1.0
        return Normalize(-reach, reach), DIVERGING
    low, high = float(numbers.min()), float(numbers.max())
    low = 0.0 if low >= 0 else low  # a magnitude begins at nothing
    return Normalize(low, high if high > low else low + 1.0), SEQUENTIAL
