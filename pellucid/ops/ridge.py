"""Ridge regression in closed form, with a penalty chosen by leave-one-out errors."""

import torch
from torch import Tensor

PENALTIES = 10.0 ** torch.arange(-4, 5, dtype=torch.float64)  # relative to the mean variance of the features


def fit_ridge(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight (D, K) and bias (K,) of a ridge regression of y (N, K) on x (N, D), both float64.

    The penalty is that of PENALTIES with the smallest leave-one-out error, in closed form (Hastie, Tibshirani and
    Friedman 2009, "The Elements of Statistical Learning", equation 7.52).
    """
    x_mean, y_mean = x.mean(0), y.mean(0)
    centred, targets = x - x_mean, y - y_mean
    variances, directions = torch.linalg.eigh(centred.T @ centred)  # of n times the covariance matrix
    variances = variances.clamp_min(0)
    projected = centred @ directions  # (N, D)
    covariances = projected.T @ targets  # (D, K)
    errors = []
    penalties = PENALTIES * variances.mean().clamp_min(torch.finfo(torch.float64).tiny)
    for penalty in penalties:
        shrunk = 1 / (variances + penalty)
        leverage = projected.square() @ shrunk + 1 / len(x)  # the diagonal of the matrix that maps y to its predictions
        residuals = targets - projected @ (shrunk[:, None] * covariances)
        # Divided by 1 - leverage, a residual is the error of a fit without its example; the limit prevents 0 / 0.
        errors.append((residuals / (1 - leverage).clamp_min(1e-9)[:, None]).square().mean())
    penalty = penalties[torch.stack(errors).argmin()]
    weight = directions @ (covariances / (variances + penalty)[:, None])
    return weight, y_mean - x_mean @ weight
