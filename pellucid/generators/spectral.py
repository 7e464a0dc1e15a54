"""Spectral normalization: weights divided by their largest singular value."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pellucid.layers.base import Params


class SingularTriplet(NamedTuple):
    """The largest singular value of a weight, reshaped to (out, rest), and its singular vectors (out,) and (rest,)."""

    value: Tensor
    left: Tensor
    right: Tensor


def largest_singular_triplet(matrix: Tensor) -> SingularTriplet:
    """Return the exact largest singular triplet of a matrix W, computed from the smaller of W Wᵀ and Wᵀ W."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    wide_matrix = matrix.t() if is_tall else matrix
    short_vector = torch.linalg.eigh(wide_matrix @ wide_matrix.t()).eigenvectors[:, -1]  # of the largest eigenvalue
    long_vector = wide_matrix.t() @ short_vector
    value = torch.linalg.vector_norm(long_vector)
    long_vector = long_vector / value.clamp_min(torch.finfo(matrix.dtype).tiny)
    left, right = (long_vector, short_vector) if is_tall else (short_vector, long_vector)
    return SingularTriplet(value, left, right)


def normalized_weights(params: Params) -> tuple[Params, dict[str, SingularTriplet]]:
    """Return a network's parameters with each weight W replaced by Ŵ = W / σ(W), and their singular triplets by path.

    Only weights with two axes or more are replaced; weights that are all 0 remain 0. Other tensors, including running
    statistics, are shared with `params`. Pass the result to forward and backward instead of `params`. σ is exact;
    Miyato et al. approximate it by power iteration.
    Source: Miyato, Kataoka, Koyama and Yoshida 2018, equation 8.
    """
    triplets: dict[str, SingularTriplet] = {}

    def visit(tree: Params, path: str) -> Params:
        new_params: Params = {}
        for name, value in tree.items():
            full_path = f"{path}.{name}" if path else name
            if isinstance(value, dict):
                new_params[name] = visit(value, full_path)
            elif name == "weight" and value.dim() > 1:
                triplet = largest_singular_triplet(value.flatten(1))
                triplets[full_path] = triplet
                new_params[name] = value / _divisor(triplet)
            else:
                new_params[name] = value
        return new_params

    return visit(params, ""), triplets


def unnormalized_gradients(
    dparams: Params, params: Params, triplets: dict[str, SingularTriplet], path: str = ""
) -> Params:
    """Return the gradients with respect to W, given the gradients `dparams` with respect to Ŵ.

    dW = (dŴ - <dŴ, Ŵ> u vᵀ) / σ, since dσ/dW = u vᵀ for the singular vectors u and v. params, triplets: as returned by
    `normalized_weights`.
    Source: Miyato et al. 2018, equation 12.
    """
    new_dparams: Params = {}
    for name, value in dparams.items():
        full_path = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            new_dparams[name] = unnormalized_gradients(value, params[name], triplets, full_path)
        elif full_path in triplets:
            triplet = triplets[full_path]
            projection = (value * params[name]).sum()  # <dŴ, Ŵ>
            outer = torch.outer(triplet.left, triplet.right).view_as(value)
            # If all weights are 0, so is the projection.
            new_dparams[name] = (value - projection * outer) / _divisor(triplet)
        else:
            new_dparams[name] = value
    return new_dparams


def _divisor(triplet: SingularTriplet) -> Tensor:
    """Return σ, or 1 if σ is 0, without a synchronization with the GPU."""
    return torch.where(triplet.value > 0, triplet.value, 1.0)
