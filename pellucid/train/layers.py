"""What happens in each layer at one step: the gradient's norm, and the size of the update."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pellucid.fuse import fuse
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import Loss
from pellucid.sweep import backward
from pellucid.train.history import Row
from pellucid.tree import flatten


def layer_rows(
    net: Layer, before: Params, loss: Loss, x: Any, target: Tensor, mode: Mode, params: Params
) -> Callable[[], list[Row]]:
    """Measure the loss's gradients at the weights `before`, a copy of `params`, whose running statistics change.

    Returns a function to call when `params` have made their step: it gives for each learned tensor path, grad_norm
    = ‖g‖ and update_ratio = rms(Δw) / rms(w). Regularizers and clipping are no part of the gradient's norm.
    """
    fused = fuse(net)
    y, cache = fused.forward(before, x, mode)
    _, dy = loss(y, target)
    _, dparams = backward(fused, before, cache, dy, consume=True)
    swept = flatten(dparams)
    norms = {path: swept[path].norm().item() for path in flatten(before) if path in swept}

    def after() -> list[Row]:
        old, new = flatten(before), flatten(params)
        return [
            {"path": path, "grad_norm": norm, "update_ratio": _ratio((new[path] - old[path]).norm(), old[path].norm())}
            for path, norm in norms.items()
        ]

    return after


def _ratio(update: Tensor, weight: Tensor) -> float | None:
    """Return the quotient of two norms, which is that of the root mean squares; None for weights of 0."""
    size = weight.item()
    return update.item() / size if size else None
