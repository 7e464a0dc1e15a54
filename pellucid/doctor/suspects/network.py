"""What of a network may be the cause that it does not learn, each with another network in its place."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from pellucid.combine import Sequential
from pellucid.combine.base import replace_layer, walk
from pellucid.doctor.case import Case
from pellucid.doctor.changed import as_he, with_layers
from pellucid.doctor.measure.learners import finals, learners
from pellucid.doctor.measure.own import own
from pellucid.doctor.mending import rebuilt
from pellucid.doctor.suspects.suspect import Suspect, suspect
from pellucid.layers import BatchNorm, Conv2d, Dense, ReLU
from pellucid.layers.base import Layer
from pellucid.rules.kinds import ACTIVATIONS
from pellucid.tree import flatten

NARROW = 16  # units of a layer, fewer than which may be too few
WIDE = 64  # units that are tried instead
DEEP = 4  # layers that learn, from which on a network is tried with batch normalization
HE = 3.0  # times the size of weights as He 2015 draws them, or its inverse
FAR = 1.0  # from 0, root mean square of a layer's first biases


def initialization(case: Case) -> Iterator[Suspect]:
    """Yield first weights or biases of an unusual size."""
    flat = flatten(case.first.params)
    sizes: dict[str, float] = {}
    bias = 0.0
    for path, weight in learners(case.first):
        value = flat[weight]
        fan = value[0].numel()
        sizes[path] = float(value.square().mean().sqrt()) / (2 / fan) ** 0.5
        if f"{path}.bias" in flat:
            bias = max(bias, float(flat[f"{path}.bias"].square().mean().sqrt()))
    odd = [size for size in list(sizes.values())[:-1] if not 1 / HE <= size <= HE]
    if sizes and (odd or list(sizes.values())[-1] > HE or bias > FAR):
        yield suspect(
            "bad-initialization", "the first weights or biases are of a size from which the network does not learn",
            "draw weights as He 2015 and begin with biases of 0", "weights drawn anew as He 2015",
            partial(with_layers, change=as_he), smallest_weights_over_he=min(sizes.values()),
            largest_weights_over_he=max(sizes.values()), largest_first_biases=bias,
        )  # fmt: skip


def _inner(case: Case) -> list[str]:
    last = finals(case.model, case.inputs(case.probe))
    known = dict(walk(case.model.net))
    return [path for path, _ in learners(case.first) if path not in last and isinstance(known[path], Dense | Conv2d)]


def _changed(case: Case, paths: Sequence[str], change: Callable[[Layer], Layer]) -> Case:
    net = case.model.net
    for path in paths:
        net = replace_layer(net, path, change)
    return rebuilt(case, net=net)


def linear(case: Case) -> Iterator[Suspect]:
    """Yield a network without activations."""
    inner = _inner(case)
    if inner and not any(isinstance(layer, ACTIVATIONS) or own(layer) for _, layer in walk(case.model.net)):
        yield suspect(
            "no-activation", "no activation stands between the layers, so that all of them are one linear map",
            "put a ReLU behind each layer but the last", "ReLU behind each inner layer",
            lambda case: _changed(case, inner, lambda layer: Sequential(layer, ReLU())), layers=len(inner) + 1,
        )  # fmt: skip


def size(case: Case) -> Iterator[Suspect]:
    """Yield layers of few units."""
    if any(initialization(case)):
        return  # another network draws its own weights, which might be all that helps
    known = dict(walk(case.model.net))
    narrow = [path for path in _inner(case) if _units(known[path]) < NARROW]
    if narrow:
        yield suspect(
            "network-too-small", "a layer is too narrow for what the network is to tell apart",
            "give it more units", f"{WIDE} units in each layer of fewer than {NARROW}",
            lambda case: _changed(case, narrow, _wider),
            units_of_the_narrowest_layer=min(_units(known[path]) for path in narrow),
        )  # fmt: skip


def _units(layer: Layer) -> int:
    return layer.units if isinstance(layer, Dense) else layer.filters if isinstance(layer, Conv2d) else 0


def _wider(layer: Layer) -> Layer:
    return replace(layer, units=WIDE) if isinstance(layer, Dense) else replace(layer, filters=WIDE)  # pyright: ignore


def depth(case: Case) -> Iterator[Suspect]:
    """Yield many layers in a row."""
    inner, norms = _inner(case), any(isinstance(layer, BatchNorm) for _, layer in walk(case.model.net))
    if len(inner) >= DEEP and not norms and not any(initialization(case)):
        yield suspect(
            "network-too-deep", "so many layers in a row hand on too little of what comes in, and of the gradient",
            "take fewer layers, batch normalization between them, or residual blocks",
            "batch normalization behind each inner layer",
            lambda case: _changed(case, inner, lambda layer: Sequential(layer, BatchNorm())), layers=len(inner) + 1,
        )  # fmt: skip
