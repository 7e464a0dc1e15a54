"""Spectral normalization: weights divided by their largest singular value."""

from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Params


class Singular(NamedTuple):
    """The largest singular value of a weight as a matrix (out, rest), and its singular vectors (out,) and (rest,)."""

    value: Tensor
    left: Tensor
    right: Tensor


def largest(matrix: Tensor) -> Singular:
    """Return the exact largest singular value of a matrix, from the eigenvectors of the smaller of W Wᵀ and Wᵀ W."""
    tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.t() if tall else matrix
    short_vector = torch.linalg.eigh(wide @ wide.t()).eigenvectors[:, -1]  # of the largest eigenvalue
    long_vector = wide.t() @ short_vector
    value = torch.linalg.vector_norm(long_vector)
    long_vector = long_vector / value.clamp_min(torch.finfo(matrix.dtype).tiny)
    return Singular(value, long_vector, short_vector) if tall else Singular(value, short_vector, long_vector)


def normalized(params: Params) -> tuple[Params, dict[str, Singular]]:
    """Return a network's parameters with each weight W replaced by Ŵ = W / σ(W), and the singular values by path.

    Only weights with two axes or more are replaced; weights that are all 0 stay so. Other tensors, also running
    statistics, are shared with `params`. The result is used in place of `params` in forward and backward. σ is exact;
    Miyato et al. approximate it by power iteration.
    Source: Miyato, Kataoka, Koyama and Yoshida 2018, equation 8.
    """
    found: dict[str, Singular] = {}

    def visit(tree: Params, path: str) -> Params:
        new: Params = {}
        for name, value in tree.items():
            full_path = f"{path}.{name}" if path else name
            if isinstance(value, dict):
                new[name] = visit(value, full_path)
            elif name == "weight" and value.dim() > 1:
                singular = largest(value.flatten(1))
                found[full_path] = singular
                new[name] = value / _divisor(singular)
            else:
                new[name] = value
        return new

    return visit(params, ""), found


def restored(dparams: Params, params: Params, singulars: dict[str, Singular], path: str = "") -> Params:
    """Return the gradients with respect to W, given the gradients `dparams` with respect to Ŵ.

    dW = (dŴ - <dŴ, Ŵ> u vᵀ) / σ, since dσ/dW = u vᵀ for the singular vectors u and v. params, singulars: as returned by
    `normalized`.
    Source: Miyato et al. 2018, equation 12.
    """
    new: Params = {}
    for name, value in dparams.items():
        full_path = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            new[name] = restored(value, params[name], singulars, full_path)
        elif full_path in singulars:
            singular = singulars[full_path]
            projection = (value * params[name]).sum()  # <dŴ, Ŵ>
            outer = torch.outer(singular.left, singular.right).view_as(value)
            new[name] = (value - projection * outer) / _divisor(singular)  # if all weights are 0, so is the projection
        else:
            new[name] = value
    return new


def _divisor(singular: Singular) -> Tensor:
    """Return σ, or 1 if it is 0; without reading it from a GPU."""
    return torch.where(singular.value > 0, singular.value, 1.0)
