"""SmoothGrad: the gradient, averaged over noisy copies of the input."""

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.explain.repeated import at_least, at_once, batch_gradients, repeated
from pellucid.explain.sweeps import fixed
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params

KINDS = ("mean", "square", "variance")


def smoothgrad(
    net: Layer,
    params: Params,
    x: Tensor,
    target: Target = None,
    samples: int = 50,
    noise: float = 0.15,
    kind: str = "mean",
    seed: int = 0,
    batch: int = 32,
) -> Tensor:
    """Return the mean of ∂ score / ∂ x over `samples` copies of x with Gaussian noise, in x's shape.

    noise: its deviation, as a part of what lies between the least and the largest value of each image. kind: "square"
    for the mean of the squares (Hooker et al. 2019), "variance" for their variance (Adebayo et al. 2018, VarGrad).
    batch: how many images run at once. target: see `aim`; None is the best class of x itself.
    Raises PellucidError for invalid options. Source: Smilkov et al. 2017, section 3.
    """
    if kind not in KINDS:
        raise PellucidError(f"smoothgrad: kind must be one of {', '.join(KINDS)}, not {kind!r}")
    at_least("smoothgrad", 1, samples=samples, batch=batch)
    if not 0 <= noise < float("inf"):
        raise PellucidError(f"smoothgrad: noise must be a number of at least 0, not {noise!r}")
    together = at_once("smoothgrad", batch, x)
    rng = torch.Generator(x.device).manual_seed(seed)
    target = fixed(net, params, x, target)
    flat = x.flatten(1)
    deviation = (noise * (flat.amax(1) - flat.amin(1))).view(-1, *(1,) * (x.dim() - 1))  # (N, 1, ...)
    mean, square = torch.zeros_like(x), torch.zeros_like(x)
    left = samples
    while left:
        count = min(left, together)
        drawn = torch.randn((len(x) * count, *x.shape[1:]), generator=rng, device=x.device)  # the same in every dtype
        noisy = repeated(x, count) + drawn.to(x.dtype) * repeated(deviation, count)
        found = batch_gradients(net, params, noisy, target, count).unflatten(0, (len(x), count))
        mean += found.sum(1) / samples
        square += (found * found).sum(1) / samples
        left -= count
    return {"mean": mean, "square": square, "variance": square - mean * mean}[kind]
