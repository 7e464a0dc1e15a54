"""What another library answers for a network with given weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PassResult:
    """A pass in float64: the logits, and the gradients of the sum of logits x dy by their names of the tensors.

    `statistics` are those of the batch that its norms used in training mode, by their names of the running ones.
    """

    logits: Tensor  # (N, classes)
    dx: Tensor  # (N, 3, H, W)
    dweights: Mapping[str, Tensor]
    statistics: Mapping[str, Tensor]


@dataclass(frozen=True)
class Answer:
    """`weights` by the library's names, values of float32 drawn at random, and what it computes with them.

    `float32_logits` are the logits in float32. `training` is None for a network without batch statistics, and where the
    library only evaluates. `unbiased`: its running variances divide by m - 1 as ours do, not by m.
    """

    weights: Mapping[str, Tensor]
    x: Tensor  # (N, 3, H, W), float64
    dy: Tensor  # (N, classes), float64
    float32_logits: Tensor
    evaluation: PassResult
    training: PassResult | None
    unbiased: bool = True


def random_weight(shape: tuple[int, ...], name: str, fan_in: int, rng: torch.Generator) -> Tensor:
    """Return a tensor for the end `name` of a weight's name, so that activations stay of order one; float32.

    Variances are above 0, scales near 1, and what has two or more axes is He's normal distribution.
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
    """Return random images, values of float32 in float64."""
    return torch.randn(batch, 3, side, side, generator=rng).double()
