"""Guided backpropagation: the gradient without what weakens the score."""

from typing import Any

from torch import Tensor

from pellucid import rules
from pellucid.explain.sweeps import swept
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params


def guided_backprop(net: Layer, params: Params, x: Any, target: Target = None) -> Tensor:
    """Return what reaches x from the target if every rectifier passes only positive gradients, in x's shape.

    target: see `aim`. Source: Springenberg et al. 2015, section 3.4.
    """
    return swept(net, params, x, target, rules.guided_backprop())
