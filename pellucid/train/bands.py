"""What is learned, in bands of one learning rate each."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from pellucid.optim import Optimizer, Regularizer
from pellucid.optim.base import State
from pellucid.optim.regularizers import add_penalties, shrink_weights


@dataclass(frozen=True)
class Band:
    """Weights that learn at `factor` times the learning rate, and their places among all that is learned.

    `heavy` and `heavy_places` are those of them that regularizers act on.
    """

    factor: float
    weights: list[Tensor]
    places: list[int]
    heavy: list[Tensor]
    heavy_places: list[int]


def bands(
    paths: Sequence[str], weights: Sequence[Tensor], decayed: Collection[str], factors: Mapping[str, float]
) -> list[Band]:
    """Return the weights in bands; `factors` are those of paths that do not learn at the full rate."""
    by_factor: dict[float, list[int]] = {}
    for place, path in enumerate(paths):
        by_factor.setdefault(factors.get(path, 1.0), []).append(place)
    return [_band(factor, places, paths, weights, decayed) for factor, places in by_factor.items()]


def penalize(bands: Sequence[Band], regularizers: Sequence[Regularizer], grads: list[Tensor], examples: int) -> None:
    """Add the gradients of the regularizers' cost terms, in place; `examples` is their n."""
    for band in bands:
        if band.heavy:
            add_penalties(regularizers, band.heavy, [grads[place] for place in band.heavy_places], examples)


def update(
    bands: Sequence[Band],
    optimizer: Optimizer,
    regularizers: Sequence[Regularizer],
    grads: list[Tensor],
    state: State,
    lr: float,
) -> None:
    """Shrink by the decoupled regularizers, then take one step of the optimizer, in every band.

    `state` is in the order of all that is learned.
    """
    for band in bands:
        if band.heavy:
            shrink_weights(regularizers, band.heavy, lr * band.factor)
    if len(bands) == 1:
        only = bands[0]
        optimizer.decay(only.heavy, lr * only.factor)
        optimizer.update(only.weights, grads, state, lr * only.factor)
        return
    after: State = {}
    for band in bands:
        part = {name: one if isinstance(one, int) else [one[k] for k in band.places] for name, one in state.items()}
        optimizer.decay(band.heavy, lr * band.factor)
        optimizer.update(band.weights, [grads[place] for place in band.places], part, lr * band.factor)
        after = {name: one for name, one in part.items() if isinstance(one, int)}
    state.update(after)  # each band counted the step from where it was


def _band(
    factor: float, places: list[int], paths: Sequence[str], weights: Sequence[Tensor], decayed: Collection[str]
) -> Band:
    heavy = [place for place in places if paths[place] in decayed]
    return Band(factor, [weights[k] for k in places], places, [weights[k] for k in heavy], heavy)
