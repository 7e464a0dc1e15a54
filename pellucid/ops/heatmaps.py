"""Heat maps of points: computed from coordinates, and decoded to coordinates with sub-cell precision.

Points are (..., 2): x, then y, in cells of the map; cell i covers [i, i + 1), with its centre at i + 0.5.
"""

import torch
from torch import Tensor

CUTOFF_SIGMAS = 3  # distance from the point, in standard deviations, beyond which a Gaussian is set to 0
QUARTER_SHIFT = 0.25  # shift in cells that `peaks_by_quarter` adds


def gaussians(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Return heat maps (..., H, W) of points (..., 2), each with sum 1; points outside are moved to the border.

    A map is a Gaussian with standard deviation `sigma` in cells, truncated at 3 sigma on each axis; for sigma = 0 it is
    one-hot: 1 in the cell that contains the point. Use 0 or a sigma of at least 0.25, for which the centre of at least
    one cell is always within 3 sigma.
    Source: Tompson et al. 2014, section 3, for Gaussians; He et al. 2017, section 5, for one hot.
    """
    x, y = clamp_points(points, size).unbind(-1)  # (...) each
    x_weights, y_weights = _axis_weights(x, size[1], sigma), _axis_weights(y, size[0], sigma)
    return y_weights[..., :, None] * x_weights[..., None, :]


def _axis_weights(coordinate: Tensor, count: int, sigma: float) -> Tensor:
    """Return the weights (..., count) of the cells along one axis; their sum is 1."""
    if sigma == 0:
        cell = coordinate.floor().clamp_max(count - 1)
        return (torch.arange(count, device=coordinate.device) == cell[..., None]).to(coordinate.dtype)
    squared_distance = (_centres(count, coordinate) - coordinate[..., None]) ** 2
    is_cut_off = squared_distance > (CUTOFF_SIGMAS * sigma) ** 2
    weights = (squared_distance / (-2 * sigma**2)).exp().masked_fill(is_cut_off, 0.0)
    return weights / weights.sum(-1, keepdim=True)


def clamp_points(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the points (..., 2), clamped to a map of `size` (H, W)."""
    x, y = points.unbind(-1)
    return torch.stack((x.clamp(0, size[1]), y.clamp(0, size[0])), -1)


def expectation(p: Tensor) -> Tensor:
    """Return the mean position (..., 2) of maps (..., H, W) of probabilities: the soft arg max.

    Source: Sun et al. 2018, Integral human pose regression, equation 2.
    """
    x_centres, y_centres = _centres(p.shape[-1], p), _centres(p.shape[-2], p)
    return torch.stack(((p.sum(-2) * x_centres).sum(-1), (p.sum(-1) * y_centres).sum(-1)), -1)


def expectation_slope(p: Tensor, mean: Tensor, dmean: Tensor) -> Tensor:
    """Return (centre - mean) · dmean of each cell: (..., H, W).

    Multiplied by p, it is the gradient with respect to the logits of p. p: (..., H, W); mean: (..., 2), the result of
    `expectation`; dmean: (..., 2), the gradient with respect to mean.
    """
    along_x = (_centres(p.shape[-1], p) - mean[..., :1]) * dmean[..., :1]  # (..., W)
    along_y = (_centres(p.shape[-2], p) - mean[..., 1:]) * dmean[..., 1:]  # (..., H)
    return along_y[..., :, None] + along_x[..., None, :]


def peaks_by_quarter(maps: Tensor) -> Tensor:
    """Return the centre (..., 2) of each map's highest cell, shifted by a quarter of a cell to its higher neighbour.

    maps: (..., H, W). Each axis has its own shift, which is 0 if both neighbours are equal or one is outside the map.
    Source: Newell, Yang and Deng 2016, section 3.1, and their code.
    """
    x, y, window = _highest_cells(maps)
    left_right, up_down = window[..., 1, 2] - window[..., 1, 0], window[..., 2, 1] - window[..., 0, 1]
    shift = torch.stack((left_right, up_down), -1).sign() * QUARTER_SHIFT
    return torch.stack((x, y), -1) + 0.5 + shift.where(_has_neighbours(x, y, maps), 0.0)


def peaks_by_parabola(maps: Tensor) -> Tensor:
    """Return the maximum (..., 2) of the parabola through the log probabilities around each map's highest cell.

    maps: (..., H, W), logits or log probabilities. On each axis, the result is at most half a cell from the highest
    cell's centre. It is the centre if the cell is on the border or the parabola has no maximum.
    Source: Zhang, Zhu, Dai, Ye and Zhu 2020, Distribution-aware coordinate representation, equation 7, unsmoothed.
    """
    x, y, window = _highest_cells(maps)
    dx, dy = (window[..., 1, 2] - window[..., 1, 0]) / 2, (window[..., 2, 1] - window[..., 0, 1]) / 2
    dxx = window[..., 1, 2] - 2 * window[..., 1, 1] + window[..., 1, 0]
    dyy = window[..., 2, 1] - 2 * window[..., 1, 1] + window[..., 0, 1]
    dxy = (window[..., 2, 2] - window[..., 2, 0] - window[..., 0, 2] + window[..., 0, 0]) / 4
    determinant = dxx * dyy - dxy**2
    shift = torch.stack((dxy * dy - dyy * dx, dxy * dx - dxx * dy), -1) / determinant[..., None]  # -H^-1 g
    is_concave = ((dxx < 0) & (determinant > 0))[..., None] & _has_neighbours(x, y, maps).all(-1, keepdim=True)
    return torch.stack((x, y), -1) + 0.5 + shift.where(is_concave, 0.0).clamp(-0.5, 0.5)


def sum_within(p: Tensor, points: Tensor, radius: float) -> Tensor:
    """Return the sum (...) of maps p (..., H, W) over the cells with centres within `radius` of `points` (..., 2)."""
    x_centres, y_centres = _centres(p.shape[-1], p), _centres(p.shape[-2], p)
    squared_x, squared_y = (x_centres - points[..., :1]) ** 2, (y_centres - points[..., 1:]) ** 2
    squared_distance = squared_y[..., :, None] + squared_x[..., None, :]
    return (p * (squared_distance <= radius**2)).sum((-2, -1))


def _centres(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, dtype=like.dtype, device=like.device) + 0.5


def _has_neighbours(x: Tensor, y: Tensor, maps: Tensor) -> Tensor:
    """Return whether cells have both neighbours along x, and along y: (..., 2) bool."""
    return torch.stack(((x > 0) & (x < maps.shape[-1] - 1), (y > 0) & (y < maps.shape[-2] - 1)), -1)


def _highest_cells(maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return column and row (...) of each map's highest cell, and the 3 x 3 values around it (..., 3, 3).

    Values beyond the border of the map are those at the border.
    """
    height, width = maps.shape[-2:]
    flat = maps.flatten(-2)
    flat_index = flat.argmax(-1)
    x, y = flat_index % width, flat_index // width
    offsets = torch.arange(-1, 2, device=maps.device)
    rows = (y[..., None] + offsets).clamp(0, height - 1)  # (..., 3)
    columns = (x[..., None] + offsets).clamp(0, width - 1)
    index = rows[..., :, None] * width + columns[..., None, :]  # (..., 3, 3)
    window = flat.gather(-1, index.flatten(-2)).unflatten(-1, (3, 3))
    return x.to(maps.dtype), y.to(maps.dtype), window
