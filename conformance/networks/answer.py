"""The results of another library for a network: its weights, inputs, logits, gradients and batch statistics."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PassResult:
    """A forward and backward pass in float64: the logits, and the gradients of sum(logits * dy).

    `dweights` has the gradients by the library's names of the weights. `statistics` are the mean and variance of the
    batch in each norm in training mode, by the library's names of the running statistics.
    """

    logits: Tensor  # (N, classes)
    dx: Tensor  # (N, 3, H, W)
    dweights: Mapping[str, Tensor]
    statistics: Mapping[str, Tensor]


@dataclass(frozen=True)
class Answer:
    """Random `weights` by the library's names, with values of float32, and the library's results for them.

    `float32_logits` are the logits in float32. `training` is None for a network without batch statistics and for a
    library without a training mode. `unbiased`: the running variances divide by m - 1, like ours, not by m.
    """

    weights: Mapping[str, Tensor]
    x: Tensor  # (N, 3, H, W), float64
    dy: Tensor  # (N, classes), float64
    float32_logits: Tensor
    evaluation: PassResult
    training: PassResult | None
    unbiased: bool = True


def random_weight(shape: tuple[int, ...], name: str, fan_in: int, rng: torch.Generator) -> Tensor:
    """Return a random weight in float32 for the ending of its `name`, such that activations stay of order 1.

    Variances are above 0 and scales near 1. Tensors of two or more axes are drawn from He's normal distribution.
    """
    values = torch.randn(shape, generator=rng)
    if name.endswith(("variance", "var", "riv")):
        return values.abs() + 0.5
    if len(shape) > 1:
        return values * (2 / fan_in) ** 0.5
    if name.endswith(("gamma", "bn_s", "weight")):
        return 1 + 0.1 * values
    return 0.1 * values


def images(batch: int, side: int, rng: torch.Generator) -> Tensor:
    """Return random images (batch, 3, side, side) in float64, whose values float32 represents exactly."""
    return torch.randn(batch, 3, side, side, generator=rng).double()
