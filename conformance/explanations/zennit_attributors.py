"""Zennit's integrated gradients and SmoothGrad compared with ours."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from conformance.case import Case, relative_error
from conformance.explanations.joined import BRANCHED_FAMILIES
from conformance.explanations.networks import FAMILIES, Family, Pair, draw_pair
from conformance.explanations.zennit_import import zennit
from conformance.explanations.zennit_side import StackedSum
from pellucid import explain

TOLERANCE = 1e-5  # Zennit computes the steps and the noise in float32
N_STEPS = 12


def cases() -> Iterator[Case]:
    """Yield both methods on every family of networks, with three draws of the weights each."""
    for name, subject, compare in (
        ("IntegratedGradients", explain.integrated_gradients, _compare_integrated_gradients),
        ("SmoothGrad", explain.smoothgrad, _compare_smoothgrad),
    ):
        for family in (*FAMILIES, *BRANCHED_FAMILIES):
            for seed in range(3):
                check = partial(compare, family, seed)
                yield Case(f"Zennit {name}, {family}", version("zennit"), f"weights {seed}", subject, check, TOLERANCE)


def _compare_integrated_gradients(family: Family, seed: int) -> float:
    pair = draw_pair(family, StackedSum, seed)
    reference = _attribution(zennit().attribution.IntegratedGradients(pair.module, n_iter=N_STEPS), pair)
    actual = explain.integrated_gradients(pair.net, pair.params, pair.x, pair.target, steps=N_STEPS, quadrature="right")
    return relative_error("attribution", actual, reference)


def _compare_smoothgrad(family: Family, seed: int) -> float:
    """Return the relative error over the noisy samples, without Zennit's last sample, which is the input itself."""
    pair = draw_pair(family, StackedSum, seed).as_float32()
    torch.manual_seed(seed)
    reference = _attribution(zennit().attribution.SmoothGrad(pair.module, noise_level=0.15, n_iter=N_STEPS), pair)
    clean = _attribution(zennit().attribution.Gradient(pair.module), pair)
    noisy = (N_STEPS * reference - clean) / (N_STEPS - 1)
    batch = len(pair.x)  # one sample of all images at a time
    actual = explain.smoothgrad(pair.net, pair.params, pair.x, pair.target, N_STEPS - 1, 0.15, seed=seed, batch=batch)
    return relative_error("attribution", actual, noisy, floor=float(reference.abs().max()))


def _attribution(attributor: Callable[..., Any], pair: Pair) -> Tensor:
    def output_gradient(y: Tensor) -> Tensor:
        return torch.zeros_like(y).scatter_(1, pair.target[:, None], 1.0)

    return attributor(pair.x.clone(), output_gradient)[1].detach()
