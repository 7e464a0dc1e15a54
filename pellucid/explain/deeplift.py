"""DeepLIFT: the difference of a score from that of a baseline, distributed by the slopes between the two."""

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.explain.averaged import baseline_like
from pellucid.explain.sweeps import check_not_empty, fix_target, forward_to
from pellucid.explain.target import Target, repeated_target
from pellucid.layers.base import Layer, Params
from pellucid.rules import Rescale


@torch.no_grad()
def deeplift(net: Layer, params: Params, x: Tensor, target: Target = None, baseline: float | Tensor = 0.0) -> Tensor:
    """Return (x - baseline) times the multipliers of DeepLIFT's rescale rule, in x's shape.

    The result adds up to the score of x minus the score of the baseline, in one pass of both, where integrated
    gradients need about 50. baseline: a number, or a tensor that broadcasts to x. target: see `aim`; None is the class
    of x with the largest score.
    Raises PellucidError for an invalid baseline, for scores that are no weighted sum of the outputs, and for networks
    with products of computed values, norms or attention, for which there is no rule.
    Source: Shrikumar, Greenside and Kundaje 2017, section 3.5.1.
    """
    check_not_empty("deeplift", x)
    baseline_x = baseline_like("deeplift", baseline, x)
    target = fix_target(net, params, x, target)
    rescale = Rescale(len(x))
    pairs = torch.stack([x, baseline_x], 1).flatten(0, 1)
    run = forward_to(net, params, pairs, repeated_target(target, 2), rescale)
    index = run.aim.target
    # The unit with the largest value of a map, an index without positions, may differ between x and the baseline.
    is_largest = isinstance(index, tuple) and len(index) == 1 and isinstance(run.y, Tensor) and run.y.dim() > 2
    if run.aim.is_function or is_largest:
        raise PellucidError(
            "deeplift needs a score that is the same weighted sum of outputs for x and the baseline; give a class, one "
            "unit such as 'conv[3, 4, 7]', or a whole map, 'conv[3, :, :]', or use integrated_gradients"
        )
    multipliers = run.propagate_back(rescale.rule_for)
    return (x - baseline_x) * multipliers[::2]
