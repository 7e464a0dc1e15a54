"""Spectral normalization: a network run with weights that are divided by their largest singular value."""

from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Params


class Singular(NamedTuple):
    """The largest singular value of a weight as a matrix (out, rest), and its vectors, (out,) and (rest,)."""

    value: Tensor
    left: Tensor
    right: Tensor


def largest(matrix: Tensor) -> Singular:
    """Return the largest singular value of a matrix, exactly: from the eigenvectors of the smaller of W Wᵀ and Wᵀ W."""
    tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.t() if tall else matrix
    near = torch.linalg.eigh(wide @ wide.t()).eigenvectors[:, -1]  # of the largest eigenvalue
    far = wide.t() @ near
    value = torch.linalg.vector_norm(far)
    far = far / value.clamp_min(torch.finfo(matrix.dtype).tiny)
    return Singular(value, far, near) if tall else Singular(value, near, far)


def normalized(params: Params) -> tuple[Params, dict[str, Singular]]:
    """Return a network's parameters with each weight W of two axes or more as Ŵ = W / σ(W), and what `restored` needs.

    Weights of 0 stay. Other tensors are those of `params`, running statistics too. The layers' own forward and
    backward take the result in place of `params`. σ is exact, where Miyato et al. approximate it by power iteration.
    Source: Miyato, Kataoka, Koyama and Yoshida 2018, equation 8.
    """
    found: dict[str, Singular] = {}

    def visit(tree: Params, path: str) -> Params:
        new: Params = {}
        for name, value in tree.items():
            at = f"{path}.{name}" if path else name
            if isinstance(value, dict):
                new[name] = visit(value, at)
            elif name == "weight" and value.dim() > 1:
                singular = largest(value.flatten(1))
                found[at] = singular
                new[name] = value / singular.value if bool(singular.value > 0) else value
            else:
                new[name] = value
        return new

    return visit(params, ""), found


def restored(dparams: Params, params: Params, found: dict[str, Singular], path: str = "") -> Params:
    """Return the gradients with respect to W, given those with respect to Ŵ.

    dW = (dŴ - <dŴ, Ŵ> u vᵀ) / σ, since dσ/dW = u vᵀ for the singular vectors u and v. params: those of `normalized`.
    Source: Miyato et al. 2018, equation 12.
    """
    new: Params = {}
    for name, value in dparams.items():
        at = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            new[name] = restored(value, params[name], found, at)
        elif at in found and bool(found[at].value > 0):
            singular = found[at]
            along = (value * params[name]).sum()  # <dŴ, Ŵ>
            outer = torch.outer(singular.left, singular.right).view_as(value)
            new[name] = (value - along * outer) / singular.value
        else:
            new[name] = value
    return new
