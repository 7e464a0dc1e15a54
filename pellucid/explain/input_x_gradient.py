"""Input times gradient: what each input value contributes to the score, were the network linear."""

from typing import Any

from torch import Tensor

from pellucid.explain.sweeps import ahead
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params


def input_x_gradient(net: Layer, params: Params, x: Any, target: Target = None) -> Tensor:
    """Return x ∂ score / ∂ x in x's shape.

    It adds up to the score where the network is of ReLUs without biases. target: see `aim`. Source: Shrikumar et al.
    2016.
    """
    return x * ahead(net, params, x, target).back()
