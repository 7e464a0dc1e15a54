"""Input times gradient: the contribution of each input value to the score of a linear network."""

from typing import Any

from torch import Tensor

from pellucid.explain.sweeps import forward_to
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params


def input_x_gradient(net: Layer, params: Params, x: Any, target: Target = None) -> Tensor:
    """Return x ∂ score / ∂ x in x's shape.

    The sum is the score for ReLU networks without biases. target: see `aim`. Source: Shrikumar et al.
    2016.
    """
    return x * forward_to(net, params, x, target).back()
