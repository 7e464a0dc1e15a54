"""Gradients of several variants of each example, in batches."""

from typing import Any

from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.explain.sweeps import forward_to
from pellucid.explain.target import Target, classes_meant
from pellucid.layers.base import Layer, Params


def repeated(x: Tensor, count: int) -> Tensor:
    """Return each example `count` times in a row: (N, ...) becomes (N count, ...)."""
    return x.repeat_interleave(count, 0)


def batch_gradients(net: Layer, params: Params, variants: Tensor, target: Target, count: int) -> Tensor:
    """Return ∂ score / ∂ x of (N count, ...) variants, `count` per example in a row, with its target."""
    if not isinstance(target, str) and target is not None:
        classes = classes_meant(target, len(variants) // count)
        target = repeated(classes, count) if classes.numel() > 1 else classes
    return forward_to(net, params, variants, target).back()


def at_once(where: str, batch: int, x: Tensor) -> int:
    """Return how many variants of each of the examples x run at once, `batch` in all; raises PellucidError for none."""
    if not len(x):
        raise PellucidError(f"{where}: the batch holds no examples; give at least one")
    return max(1, batch // len(x))


def at_least(where: str, least: int, **values: Any) -> None:
    """Require whole numbers of at least `least`."""
    for name, value in values.items():
        if type(value) is not int or value < least:
            raise PellucidError(f"{where}: {name} must be a whole number of at least {least}, not {value!r}")
