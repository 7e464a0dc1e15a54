"""Saliency: the magnitude of the gradient of the score with respect to each input value."""

from typing import Any

from torch import Tensor

from pellucid.explain.sweeps import forward_to
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params


def saliency(net: Layer, params: Params, x: Any, target: Target = None, signed: bool = False) -> Tensor:
    """Return |∂ score / ∂ x| in x's shape; the derivative itself if `signed`.

    target: see `aim`. Source: Simonyan, Vedaldi and Zisserman 2014, section 3.1, which shows the largest of the
    channels.
    """
    dx = forward_to(net, params, x, target).back()
    return dx if signed else dx.abs()
