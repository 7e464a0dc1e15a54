"""Weighted least squares in closed form, and the curvature of its cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pellucid.base.settings.tensors import as_tensor

if TYPE_CHECKING:
    from pellucid.estimators.base import Array


def closed_form(
    X: Array, y: Array, weights: Array | None, alpha: float, intercept: bool, solver: str
) -> tuple[Array, float]:
    """Return the (w, b) that minimizes Σ weight (x w + b - y)² + alpha ‖w‖²; if several do, with the smallest ‖w‖.

    Centring X and y eliminates the intercept, which has no penalty. The solver "normal" solves
    (Xᵀ X + alpha I) w = Xᵀ y by Cholesky decomposition, and is replaced by "svd" if rounding makes the matrix singular.
    The solver "svd" computes w = V diag(s / (s² + alpha)) Uᵀ y with X = U diag(s) Vᵀ. If some s² + alpha is so small
    that rounding would change w, it computes w by QR decomposition with column pivoting. The estimated rank does not
    depend on the scale of the features.
    """
    centre, y_mean = np.zeros(X.shape[1]), 0.0
    centred = X
    if intercept:
        centre, y_mean = np.average(X, 0, weights), np.average(y, weights=weights)
        centred = X - centre
        # After centring, a constant feature contains only rounding errors. They are set to 0, as in scikit-learn's
        # StandardScaler.
        rounding = len(X) * np.finfo(X.dtype).eps * np.abs(X).max(0)
        centred[:, np.abs(centred).max(0) <= rounding] = 0.0
    sqrt_w = 1.0 if weights is None else np.sqrt(weights)
    x = as_tensor((centred.T * sqrt_w).T, "X")  # (n, d)
    target = as_tensor((y - y_mean) * sqrt_w, "y")  # (n,)
    w = _solve_normal_equation(x, target, alpha) if solver == "normal" else _solve_by_svd(x, target, alpha)
    return w.numpy(), float(y_mean - centre @ w.numpy())


def _solve_normal_equation(x: Tensor, y: Tensor, alpha: float) -> Tensor:
    gram, moment = x.T @ x, x.T @ y
    gram.diagonal().add_(alpha)
    # Each feature is scaled to norm 1, because the Cholesky decomposition would lose small features to rounding.
    scale = torch.where(gram.diagonal() > 0, gram.diagonal().rsqrt(), 1.0)
    factor, info = torch.linalg.cholesky_ex(gram * scale * scale[:, None])
    if info or not factor.diagonal().min() ** 2 >= len(gram) * torch.finfo(x.dtype).eps:
        return _solve_by_svd(x, y, alpha)
    return scale * torch.cholesky_solve((scale * moment)[:, None], factor)[:, 0]


def _solve_by_svd(x: Tensor, y: Tensor, alpha: float) -> Tensor:
    n, d = x.shape
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    if s[-1] ** 2 + alpha > torch.finfo(x.dtype).eps ** 0.5 * (s[0] ** 2 + alpha):
        return vt.T @ (s / (s**2 + alpha) * (u.T @ y))
    # A small singular value may be a rounding error, or be due to a feature of small scale, which the SVD loses.
    if alpha == 0:
        return _solve_by_pivoted_qr(x, y)
    if n < d:  # with the residual / √alpha as additional unknowns, the cost is proportional to the norm of all unknowns
        return _solve_by_pivoted_qr(torch.cat([x, alpha**0.5 * torch.eye(n, dtype=x.dtype)], 1), y)[:d]
    penalties = alpha**0.5 * torch.eye(d, dtype=x.dtype)  # one more example for each feature
    return _solve_by_pivoted_qr(torch.cat([x, penalties]), torch.cat([y, y.new_zeros(d)]))


def _solve_by_pivoted_qr(x: Tensor, y: Tensor) -> Tensor:
    """Return the w that minimizes ‖y - x w‖², for features of any scale; if several do, the w of smallest norm.

    A QR decomposition with column pivoting gives x = Q (T, S), with T (rank, rank) triangular. All solutions are
    (T⁻¹ Qᵀ y - L f, f) with L = T⁻¹ S; the smallest has f = Lᵀ a, where (I + L Lᵀ) a = T⁻¹ Qᵀ y.
    Source: Golub and Van Loan 2013, Matrix computations, section 5.5.
    """
    q, r, pivots = _pivoted_qr(x)
    free = torch.ones(x.shape[1], dtype=torch.bool)
    free[pivots] = False
    moments = torch.cat([(q.T @ y)[:, None], r[:, free]], 1)
    solutions = torch.linalg.solve_triangular(r[:, pivots], moments, upper=True)
    basic, dependence = solutions[:, :1], solutions[:, 1:]
    gram = dependence @ dependence.T
    gram.diagonal().add_(1.0)
    w = x.new_zeros(x.shape[1], 1)
    w[pivots] = torch.cholesky_solve(basic, torch.linalg.cholesky(gram))
    w[free] = dependence.T @ w[pivots]
    return w[:, 0]


def _pivoted_qr(x: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """Return Q (n, rank) and R (rank, d) with x = Q R, and the columns of R that form a triangle.

    The remainder of a column counts as a rounding error if it is small relative to the column itself. It is not
    compared with the largest column, so features of small scale are kept.
    """
    scale = x.abs().amax(0)
    scale = torch.where(scale > 0, scale, 1.0)
    remainder = x / scale
    tolerance = max(x.shape) * torch.finfo(x.dtype).eps * remainder.norm(dim=0)
    is_tall = len(x) > x.shape[1]
    basis, remainder = torch.linalg.qr(remainder) if is_tall else (None, remainder)
    q, r = x.new_zeros(len(remainder), len(remainder)), torch.zeros_like(remainder)
    pivots: list[int] = []
    for rank in range(len(remainder)):
        norms = remainder.square().sum(0).sqrt()
        norms = torch.where(norms > tolerance, norms, 0.0)
        remainder *= norms > 0
        pivot = int((norms * scale).argmax())
        if not norms[pivot]:
            break
        unit = remainder[:, pivot] / norms[pivot]
        unit = unit - q @ (q.T @ unit)  # removes rounding errors in the directions of earlier columns
        q[:, rank] = unit / unit.norm()
        r[rank] = q[:, rank] @ remainder
        remainder.addr_(q[:, rank], r[rank], alpha=-1)
        remainder[:, pivot] = 0.0
        pivots.append(pivot)
    q = q[:, : len(pivots)]
    return q if basis is None else basis @ q, r[: len(pivots)] * scale, pivots


def curvature(X: Array, weights: Array | None, intercept: bool) -> float:
    """Return the largest eigenvalue of the Hessian of 1/2n Σ weight (x w + b - y)², with weights of mean 1."""
    x = np.c_[X, np.ones(len(X))] if intercept else X
    scale = 1.0 if weights is None else np.sqrt(weights / weights.mean())[:, None]
    return float(np.linalg.norm(x * scale, 2) ** 2 / len(X)) or 1.0


def max_example_curvature(X: Array, weights: Array | None, intercept: bool) -> float:
    """Return the largest curvature of 1/2 (x w + b - y)² among the examples whose weight is not 0."""
    return float(np.square(X if weights is None else X[weights > 0]).sum(1).max() + intercept)
