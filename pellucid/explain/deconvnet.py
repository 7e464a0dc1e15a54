"""DeconvNet: a unit's activation, mapped back to the pixels by the reversed network."""

from typing import Any

from torch import Tensor

from pellucid import rules
from pellucid.explain.sweeps import ones, swept, values
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params


def deconvnet(net: Layer, params: Params, x: Any, target: Target = None, activation: bool = True) -> Tensor:
    """Return the pattern in x that the target responds to, as a DeconvNet reconstructs it, in x's shape.

    All activations but the target's are set to 0, and its own goes down: unpooled by the switches of max pooling,
    rectified, filtered by the transposed filters. Without `activation`, 1 goes down for it, as it always does for a
    class, whose score may be negative: the rectifiers would then let pass what speaks against the class.
    target: see `aim`; "features.conv5[12]" is map 12 where it is strongest, as in the paper's figure 2.
    Source: Zeiler and Fergus 2014, section 2.1.
    """
    seed = values if activation and isinstance(target, str) else ones
    return swept(net, params, x, target, rules.deconvnet(), seed)
