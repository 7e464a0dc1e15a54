"""Guided backpropagation: the gradient with negative parts removed at every rectifier."""

from typing import Any

from torch import Tensor

from pellucid import rules
from pellucid.explain.sweeps import swept
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params


def guided_backprop(net: Layer, params: Params, x: Any, target: Target = None) -> Tensor:
    """Return the gradient of the target with respect to x if rectifiers pass only positive gradients, in x's shape.

    target: see `aim`. Source: Springenberg et al. 2015, section 3.4.
    """
    return swept(net, params, x, target, rules.guided_backprop())
