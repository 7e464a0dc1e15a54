"""Elementwise layers without parameters: a layer for each option, and the same function in PyTorch.

A new activation needs one entry, from which its samples, its reference and its use in random networks follow.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import functional as F

from pellucid.layers import (
    ELU,
    GELU,
    HardSigmoid,
    HardSwish,
    Identity,
    Layer,
    LeakyReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Tanh,
)


class Elementwise(NamedTuple):
    """A layer and its function in PyTorch. kinks: inputs where the slope jumps; samples include them and both sides."""

    options: tuple[Layer, ...]
    reference: Callable[[Any, Tensor], Tensor]
    kinks: tuple[float, ...] = ()


ELEMENTWISE: dict[type[Layer], Elementwise] = {
    Sigmoid: Elementwise((Sigmoid(),), lambda layer, x: F.sigmoid(x)),
    Tanh: Elementwise((Tanh(),), lambda layer, x: F.tanh(x)),
    ReLU: Elementwise((ReLU(),), lambda layer, x: F.relu(x), kinks=(0,)),
    LeakyReLU: Elementwise(
        (LeakyReLU(), LeakyReLU(0.3), LeakyReLU(0.0)), lambda layer, x: F.leaky_relu(x, layer.slope), kinks=(0,)
    ),
    ReLU6: Elementwise((ReLU6(),), lambda layer, x: F.relu6(x), kinks=(0, 6)),
    ELU: Elementwise((ELU(), ELU(alpha=0.4)), lambda layer, x: F.elu(x, layer.alpha), kinks=(0,)),
    GELU: Elementwise((GELU(), GELU("tanh")), lambda layer, x: F.gelu(x, approximate=layer.approximate)),
    SiLU: Elementwise((SiLU(),), lambda layer, x: F.silu(x)),
    HardSigmoid: Elementwise((HardSigmoid(),), lambda layer, x: F.hardsigmoid(x), kinks=(-3, 3)),
    HardSwish: Elementwise((HardSwish(),), lambda layer, x: F.hardswish(x), kinks=(-3, 3)),
    Identity: Elementwise((Identity(),), lambda layer, x: x),
}
