"""The maximum mean discrepancy of two samples."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError

BANDWIDTHS = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0)  # in units of squared distances


def mmd(x: Tensor, y: Tensor, bandwidths: Sequence[float] = BANDWIDTHS) -> tuple[Tensor, Tensor]:
    """Return the MMD of two samples x (N, D) and y (M, D), and its gradient with respect to x, (N, D).

    MMD² = 1/N² Σ k(xᵢ, xⱼ) - 2/NM Σ k(xᵢ, yⱼ) + 1/M² Σ k(yᵢ, yⱼ) is the biased estimate, which includes i = j and is
    never negative. The kernel is k(a, b) = Σ exp(-‖a - b‖² / 2s) over the `bandwidths` s. The value is sqrt(MMD²); if
    it is 0, the gradient is 0. Raises PellucidError for a sample without points, and for samples of different D.
    Source: Gretton et al. 2012, equation 5; Li, Swersky and Zemel 2015, equations 3 and 4.
    """
    n, m = len(x), len(y)
    if not n or not m or x.shape[1:] != y.shape[1:] or x.dim() != 2:
        raise PellucidError(f"mmd takes samples (N, D) and (M, D), not {tuple(x.shape)} and {tuple(y.shape)}")
    k_xx, slope_xx = _kernel(x, x, bandwidths)
    k_xy, slope_xy = _kernel(x, y, bandwidths)
    k_yy, _ = _kernel(y, y, bandwidths)
    squared_mmd = k_xx.sum() / n**2 - 2 * k_xy.sum() / (n * m) + k_yy.sum() / m**2
    value = squared_mmd.clamp_min(0.0).sqrt()  # rounding may leave a small negative number
    # d k(a, b) / da = Σ -exp(...) / s (a - b). The first sum contains each pair of x twice, hence the factor 2 / n².
    dx_xx = slope_xx.sum(1, keepdim=True) * x - slope_xx @ x  # (N, D)
    dx_xy = slope_xy.sum(1, keepdim=True) * x - slope_xy @ y
    dsquared_mmd = dx_xx * (2 / n**2) - dx_xy * (2 / (n * m))
    return value, torch.where(value > 0, dsquared_mmd / (2 * value), 0.0)


def _kernel(a: Tensor, b: Tensor, bandwidths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return k(aᵢ, bⱼ) (N, M), and the factors (N, M) of aᵢ - bⱼ in its gradient with respect to aᵢ."""
    squared_distances = (a * a).sum(1, keepdim=True) + (b * b).sum(1) - 2 * (a @ b.t())  # (N, M)
    squared_distances = squared_distances.clamp_min_(0.0)
    kernel, slope = torch.zeros_like(squared_distances), torch.zeros_like(squared_distances)
    for s in bandwidths:
        gaussian = torch.exp(squared_distances * (-0.5 / s))
        kernel += gaussian
        slope.sub_(gaussian, alpha=1 / s)
    return kernel, slope
