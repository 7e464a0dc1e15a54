"""Explanations by one backward pass: saliency, input times gradient, guided backpropagation, DeconvNet."""

from typing import Any

import torch
from torch import Tensor

from pellucid import rules
from pellucid.explain.functions import mapped
from pellucid.explain.layout import check_has_rules
from pellucid.explain.sweeps import backward_by_composite, forward_to, gradient_of_score, values_in_score
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params


def saliency(net: Layer, params: Params, x: Any, target: Target = None, signed: bool = False) -> Tensor:
    """Return |∂ score / ∂ x| in x's shape, or ∂ score / ∂ x if `signed`.

    target: see `aim`. Source: Simonyan, Vedaldi and Zisserman 2014, section 3.1 (there the maximum over channels).
    """
    dx = forward_to(net, params, x, target).propagate_back()
    return dx if signed else mapped(torch.abs, dx)


def input_x_gradient(net: Layer, params: Params, x: Any, target: Target = None) -> Tensor:
    """Return x ∂ score / ∂ x in x's shape.

    For ReLU networks without biases the sum equals the score. target: see `aim`. Source: Shrikumar et al. 2016.
    """
    return mapped(torch.mul, x, forward_to(net, params, x, target).propagate_back())


def guided_backprop(net: Layer, params: Params, x: Any, target: Target = None) -> Tensor:
    """Return the gradient of the score with respect to x, in x's shape; ReLUs pass back only positive gradients.

    target: see `aim`. Source: Springenberg et al. 2015, section 3.4.
    """
    composite = rules.guided_backprop()
    check_has_rules(net, "guided_backprop", composite(rules.Entrance(x)))
    return backward_by_composite(net, params, x, target, composite)


def deconvnet(net: Layer, params: Params, x: Any, target: Target = None, activation: bool = True) -> Tensor:
    """Return the pattern in x that the target responds to, as a DeconvNet reconstructs it, in x's shape.

    All activations except the target's are set to 0, and the target's is propagated back: unpooled by the switches of
    max pooling, rectified, and convolved with the transposed filters. Without `activation`, 1 is propagated instead.
    For a class this is always done: its score may be negative, and rectifiers would then pass evidence against it.
    target: see `aim`; "features.conv5[12]" is the unit with the largest value of map 12, as in the paper's figure 2.
    Source: Zeiler and Fergus 2014, section 2.1.
    """
    composite = rules.deconvnet()
    check_has_rules(net, "deconvnet", composite(rules.Entrance(x)))
    initial_gradient = values_in_score if activation and isinstance(target, str) else gradient_of_score
    return backward_by_composite(net, params, x, target, composite, initial_gradient)
