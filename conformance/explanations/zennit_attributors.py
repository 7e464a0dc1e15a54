"""Zennit's integrated gradients and SmoothGrad beside ours."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from conformance.case import Case, gap
from conformance.explanations.joined import JOINED
from conformance.explanations.networks import FAMILIES, Family, Pair, pair
from conformance.explanations.zennit_import import zennit
from conformance.explanations.zennit_side import Stacked
from pellucid import explain

TOLERANCE = 1e-5  # steps in float32; noise in float32
STEPS = 12


def cases() -> Iterator[Case]:
    """Yield both on every family of networks."""
    for name, subject, compare in (
        ("IntegratedGradients", explain.integrated_gradients, _integrated),
        ("SmoothGrad", explain.smoothgrad, _smooth),
    ):
        for family in (*FAMILIES, *JOINED):
            for seed in range(3):
                check = partial(compare, family, seed)
                yield Case(f"Zennit {name}, {family}", version("zennit"), f"weights {seed}", subject, check, TOLERANCE)


def _integrated(family: Family, seed: int) -> float:
    both = pair(family, Stacked, seed)
    theirs = _answer(zennit().attribution.IntegratedGradients(both.module, n_iter=STEPS), both)
    ours = explain.integrated_gradients(both.net, both.params, both.x, both.target, steps=STEPS, quadrature="right")
    return gap("attribution", ours, theirs)


def _smooth(family: Family, seed: int) -> float:
    """Compare the noisy samples: Zennit's last one is the input itself, which is taken out here."""
    both = pair(family, Stacked, seed).single()
    torch.manual_seed(seed)
    theirs = _answer(zennit().attribution.SmoothGrad(both.module, noise_level=0.15, n_iter=STEPS), both)
    clean = _answer(zennit().attribution.Gradient(both.module), both)
    noisy = (STEPS * theirs - clean) / (STEPS - 1)
    one_by_one = len(both.x)  # one sample of all images at a time
    ours = explain.smoothgrad(both.net, both.params, both.x, both.target, STEPS - 1, 0.15, seed=seed, batch=one_by_one)
    return gap("attribution", ours, noisy, floor=float(theirs.abs().max()))


def _answer(attributor: Callable[..., Any], both: Pair) -> Tensor:
    def above(y: Tensor) -> Tensor:
        return torch.zeros_like(y).scatter_(1, both.target[:, None], 1.0)

    return attributor(both.x.clone(), above)[1].detach()
