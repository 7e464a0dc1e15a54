"""Conversion between sRGB and CIE Lab (D65, 2 degrees), and the CIEDE2000 difference between colours.

Images are (..., 3, H, W): sRGB from 0 to 1, or Lab with L from 0 to 100 and a, b from about -110 to 110.
Sources: IEC 61966-2-1 (sRGB); CIE 15:2004 (Lab); Lindbloom, brucelindbloom.com (the matrix).
"""

from functools import lru_cache

import torch
from torch import Tensor

# The colours of values in all figures and pages, sRGB from 0 to 255; those of the studio's light pages, in OKLCH, are
# in pellucid/studio/web/core/paint.js. The ends of the signs are equally dark and differ for colour-blind readers.
POSITIVE_RGB = (21, 93, 162)  # blue: raises the score, falls into the class
NEGATIVE_RGB = (140, 76, 14)  # ochre
STRENGTH_RGB = ((243, 246, 242), (123, 177, 166), (0, 77, 84))  # green, of values without a sign, from 0 to the largest

# From linear RGB to XYZ. The sum of each row is the white point D65, so greys have a = b = 0.
_SRGB_TO_XYZ = torch.tensor(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
    dtype=torch.float64,
)
_TO_XYZ = _SRGB_TO_XYZ / _SRGB_TO_XYZ.sum(1, keepdim=True)  # XYZ relative to white
_TO_RGB = torch.linalg.inv(_TO_XYZ)
_DELTA = 6 / 29  # CIE's f is linear below _DELTA^3
_GAMUT_TOLERANCE = 1e-5  # excess of linear RGB over 0..1 that still counts as inside the gamut: 0.03 of an 8-bit level
_N_BISECTIONS = 10  # number of bisections, after which the error of the chroma is at most 1/1024 of its value


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Convert sRGB colours (..., 3, H, W), 0 to 1, to Lab."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp_min(0) + 0.055) / 1.055).pow(2.4))
    x, y, z = _cie_f(_multiply_colours(_TO_XYZ, linear)).unbind(-3)  # f of X, Y and Z relative to white
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), -3)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert Lab colours (..., 3, H, W) to sRGB; colours outside its gamut have values below 0 or above 1."""
    linear = _lab_to_linear_rgb(lab)
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp_min(0).pow(1 / 2.4) - 0.055)


def into_gamut(lab: Tensor) -> Tensor:
    """Return Lab colours (..., 3, H, W) with the chroma of colours outside sRGB reduced, at constant L and hue.

    L is clamped to 0 to 100. Bisection finds the chroma on the gamut's boundary; if the line from grey to the colour
    crosses the boundary more than once, the result is one of the crossings.
    """
    lab = torch.cat((lab.select(-3, 0).clamp(0, 100).unsqueeze(-3), lab.narrow(-3, 1, 2)), -3)
    is_outside = ~_is_in_gamut(lab)  # (..., H, W)
    if not bool(is_outside.any()):
        return lab
    colours = lab.movedim(-3, -1)  # (..., H, W, 3), a view
    out_of_gamut = colours[is_outside].T[:, None]  # (3, 1, k): an image of the k colours outside
    low, high = torch.zeros_like(out_of_gamut[0]), torch.ones_like(out_of_gamut[0])  # (1, k), factors of the chroma
    for _ in range(_N_BISECTIONS):
        middle = (low + high) / 2
        is_inside = _is_in_gamut(torch.stack((out_of_gamut[0], out_of_gamut[1] * middle, out_of_gamut[2] * middle)))
        low, high = torch.where(is_inside, middle, low), torch.where(is_inside, high, middle)
    colours[is_outside] = torch.stack((out_of_gamut[0], out_of_gamut[1] * low, out_of_gamut[2] * low)).squeeze(1).T
    return lab


def recolour(lightness: Tensor, ab: Tensor) -> Tensor:
    """Return sRGB colours (..., 3, H, W), 0 to 1, for L (..., 1, H, W) and a, b (..., 2, H, W), see `into_gamut`."""
    return lab_to_rgb(into_gamut(torch.cat((lightness, ab), -3))).clamp(0, 1)


def delta_e_2000(first: Tensor, second: Tensor) -> Tensor:
    """Return the CIEDE2000 difference (..., H, W) between Lab colours (..., 3, H, W), with k_L = k_C = k_H = 1.

    Source: Sharma, Wu and Dalal 2005, equations 2 to 22.
    """
    (l1, a1, b1), (l2, a2, b2) = first.unbind(-3), second.unbind(-3)
    g = 0.5 * (1 - _chroma_factor((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = torch.atan2(b1, a1).rad2deg() % 360, torch.atan2(b2, a2).rad2deg() % 360
    has_hue = c1 * c2 > 0  # grey has no hue
    hue_difference = (h2 - h1 + 180) % 360 - 180  # -180 to 180
    dh = 2 * (c1 * c2).sqrt() * (hue_difference / 2).deg2rad().sin()
    c, lightness = (c1 + c2) / 2, (l1 + l2) / 2
    mean_hue = (h1 + h2) / 2 + torch.where((h1 - h2).abs() <= 180, 0, torch.where(h1 + h2 < 360, 180, -180))
    h = torch.where(has_hue, mean_hue, h1 + h2)
    t = 1 - 0.17 * _cos(h - 30) + 0.24 * _cos(2 * h) + 0.32 * _cos(3 * h + 6) - 0.20 * _cos(4 * h - 63)
    squared_offset = (lightness - 50) ** 2
    dl = (l2 - l1) / (1 + 0.015 * squared_offset / (20 + squared_offset).sqrt())
    dc = (c2 - c1) / (1 + 0.045 * c)
    dh = torch.where(has_hue, dh, 0) / (1 + 0.015 * c * t)
    rotation = -2 * _chroma_factor(c) * (60 * (-(((h - 275) / 25) ** 2)).exp()).deg2rad().sin()
    return (dl**2 + dc**2 + dh**2 + rotation * dc * dh).clamp_min(0).sqrt()


def _cos(degrees: Tensor) -> Tensor:
    return degrees.deg2rad().cos()


def _chroma_factor(chroma: Tensor) -> Tensor:
    """Return sqrt(C^7 / (C^7 + 25^7))."""
    ratio = (chroma / 25) ** 7
    return (ratio / (1 + ratio)).sqrt()


def _multiply_colours(matrix: Tensor, image: Tensor) -> Tensor:
    """Multiply each colour by a matrix whose rows sum to 1, so greys are mapped exactly to themselves."""
    grey = image.narrow(-3, 1, 1)
    return grey + torch.einsum("ij,...jhw->...ihw", _matrix_on(matrix, image.dtype, image.device), image - grey)


@lru_cache(maxsize=16)
def _matrix_on(matrix: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a matrix on a device, cached because a copy in each step would synchronize with the host."""
    with torch.inference_mode(False):
        return matrix.to(device, dtype)


def _cie_f(t: Tensor) -> Tensor:
    """Return CIE's f: the cube root, linear near 0."""
    return torch.where(t > _DELTA**3, t.clamp_min(_DELTA**3).pow(1 / 3), t / (3 * _DELTA**2) + 4 / 29)


def _lab_to_linear_rgb(lab: Tensor) -> Tensor:
    """Convert Lab colours to linear sRGB."""
    lightness, a, b = lab.unbind(-3)
    y = (lightness + 16) / 116
    f = torch.stack((y + a / 500, y, y - b / 200), -3)
    xyz = torch.where(f > _DELTA, f**3, 3 * _DELTA**2 * (f - 4 / 29))
    return _multiply_colours(_TO_RGB, xyz)


def _is_in_gamut(lab: Tensor) -> Tensor:
    """Return whether Lab colours (..., 3, H, W) are inside the sRGB gamut: (..., H, W) bool."""
    linear = _lab_to_linear_rgb(lab)
    return ((linear >= -_GAMUT_TOLERANCE) & (linear <= 1 + _GAMUT_TOLERANCE)).all(-3)
