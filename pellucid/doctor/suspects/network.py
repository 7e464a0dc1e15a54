"""What of a network may be the cause that it does not learn, each with another network in its place."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.combine.base import Combinator, buffer_paths, replace_layer, walk
from pellucid.data.seeds import generator
from pellucid.doctor.case import Case
from pellucid.doctor.changed import as_he, with_layers
from pellucid.doctor.measure.learners import finals, learners
from pellucid.doctor.measure.own import own
from pellucid.doctor.mending import begun, rebuilt
from pellucid.doctor.suspects.suspect import Suspect, suspect
from pellucid.layers import AvgPool2d, BatchNorm, Conv2d, Dense, LpPool2d, MaxPool2d, ReLU
from pellucid.layers.base import Layer
from pellucid.rules.kinds import ACTIVATIONS
from pellucid.training.model import BaseModel
from pellucid.tree import flatten

NARROW = 16  # units of a layer, fewer than which may be too few
WIDE = 64  # units that are tried instead
DEEP = 4  # layers that learn, from which on a network is tried with batch normalization
HE = 3.0  # times the size of weights as He 2015 draws them, or its inverse
ONE_SIDED = 0.5  # deviations that the mean of weights is off from 0; of 50 drawn around 0 it is 0.14
STRIDING = (Conv2d, MaxPool2d, AvgPool2d, LpPool2d)
REDUCIBLE = 16  # pixels of a side
EARLY = 16  # times fewer places than the input has, already for the second convolution
SHALLOW = 3  # convolutions, behind which a single place is left too early
FAR = 1.0  # from 0, root mean square of a layer's first biases


def initialization(case: Case) -> Iterator[Suspect]:
    """Yield first weights or biases of an unusual size, or weights of one's own layers that are not drawn around 0."""
    flat = flatten(case.first.params)
    sizes: dict[str, float] = {}
    bias = 0.0
    own_weights = _own_weights(case)
    for path, weight in learners(case.first):
        value = flat[weight]
        fan = value[0].numel()
        if weight not in own_weights:
            sizes[path] = float(value.square().mean().sqrt()) / (2 / fan) ** 0.5
        if f"{path}.bias" in flat:
            bias = max(bias, float(flat[f"{path}.bias"].square().mean().sqrt()))
    odd = [size for size in list(sizes.values())[:-1] if not 1 / HE <= size <= HE]
    values = {path: flat[path].double() for path in own_weights}
    shifts = {path: float(value.mean().abs() / value.std().clamp_min(1e-12)) for path, value in values.items()}
    scales = {path: float(value.square().mean().sqrt()) / _glorot(value) for path, value in values.items()}
    strange = any(shift > ONE_SIDED for shift in shifts.values())
    strange |= any(not 1 / HE <= size <= HE for size in scales.values())
    every = [*sizes.values(), *scales.values()]
    if every and (odd or strange or (sizes and list(sizes.values())[-1] > HE) or bias > FAR):
        yield suspect(
            "bad-initialization", "the first weights or biases are of a size from which the network does not learn",
            "draw weights as He 2015, around 0, and begin with biases of 0", "weights drawn anew as He 2015",
            _redrawn, odd=True, smallest_weights_over_he=min(every), largest_weights_over_he=max(every),
            largest_first_biases=bias, largest_mean_of_weights_over_deviation=max(shifts.values(), default=0.0),
        )  # fmt: skip


def _own_weights(case: Case) -> list[str]:
    """Return the paths of the matrices and kernels that layers of one's own learn."""
    known = {path for path, layer in walk(case.model.net) if own(layer) and not isinstance(layer, Combinator)}
    skip = buffer_paths(case.model.net) | case.model.frozen
    flat = flatten(case.first.params)
    return [
        path for path, value in flat.items()
        if path not in skip and value.dim() >= 2 and min(value.shape[:2]) > 1 and path.rpartition(".")[0] in known
    ]  # fmt: skip


def _glorot(value: Tensor) -> float:
    """Return the deviation of Glorot 2010, which does not depend on which of two axes the inputs are."""
    field = value[0, 0].numel()
    return (2 / (field * sum(value.shape[:2]))) ** 0.5


def _redrawn(case: Case) -> Case:
    weights = _own_weights(case)

    def redraw(model: BaseModel) -> None:
        rng, flat = generator(model.seed), flatten(model.params)
        for path in weights:
            flat[path].copy_(torch.randn(flat[path].shape, generator=rng) * _glorot(flat[path]))

    return begun(with_layers(case, as_he), redraw)


def _inner(case: Case) -> list[str]:
    last = finals(case.model, case.inputs(case.probe))
    known = dict(walk(case.model.net))
    return [path for path, _ in learners(case.first) if path not in last and isinstance(known[path], Dense | Conv2d)]


def _changed(case: Case, paths: Sequence[str], change: Callable[[Layer], Layer], keep: bool = False) -> Case:
    net = case.model.net
    for path in paths:
        net = replace_layer(net, path, change)
    return rebuilt(case, keep, net=net)


def linear(case: Case) -> Iterator[Suspect]:
    """Yield a network without activations."""
    inner = _inner(case)
    if inner and not any(isinstance(layer, ACTIVATIONS) or own(layer) for _, layer in walk(case.model.net)):
        yield suspect(
            "no-activation", "no activation stands between the layers, so that all of them are one linear map",
            "put a ReLU behind each layer but the last", "ReLU behind each inner layer",
            lambda case: _changed(case, inner, lambda layer: Sequential(layer, ReLU())), layers=len(inner) + 1,
        )  # fmt: skip


def reduced(case: Case) -> Iterator[Suspect]:
    """Yield strides and pooling that leave little of pictures before the network has looked at them."""
    shape = case.model.nominal_shape
    if len(shape) != 3 or min(shape[1:]) < REDUCIBLE:
        return
    seen = {path: it.size // it.units for path, it in case.activity.items() if isinstance(it.layer, STRIDING)}
    known = dict(walk(case.model.net))
    convs = [place for place, path in enumerate(seen) if isinstance(known[path], Conv2d)]
    if not convs:
        return
    places = list(seen.values())
    first = places[convs[1] - 1] if len(convs) > 1 else places[-1]  # what the second convolution gets
    coarse = [path for path in seen if _stride(known[path]) > (1 if isinstance(known[path], Conv2d) else 2)]
    if coarse and (first <= shape[1] * shape[2] / EARLY or (places[-1] <= 1 and len(convs) <= SHALLOW)):
        yield suspect(
            "reduced-too-early", "strides and pooling leave so few places of the pictures that what is to be told "
            "apart is lost", "take smaller strides and windows of pooling, above all in the first layers",
            "strides of 1, pooling by 2", lambda case: _changed(case, coarse, _finer, keep=True), odd=True,
            places_of_an_input=shape[1] * shape[2], places_after_the_first_layers=first,
            places_at_the_end=places[-1],
        )  # fmt: skip


def _stride(layer: Layer) -> int:
    stride = getattr(layer, "step", getattr(layer, "stride", 1))
    return max(stride) if isinstance(stride, tuple) else stride


def _finer(layer: Layer) -> Layer:
    if isinstance(layer, Conv2d):
        return replace(layer, stride=1)
    return replace(layer, kernel=2, stride=None, padding=0)  # pyright: ignore


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
