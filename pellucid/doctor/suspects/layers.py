"""Suspects in the layers of the network: kinds of layers, their options, activations, pooling, initial weights."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from pellucid.base.settings.checks import is_number
from pellucid.combine import Combinator, Sequential, join
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.checks import cut_gradient
from pellucid.doctor.checks.wrong_output import OUTPUT_RANGES
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.passes import evaluated, gradients, is_user_defined, leaves, rms, trainable_layers
from pellucid.doctor.remedies import (
    DRAWN_AS_HE,
    HE_SETTINGS,
    he_initialized,
    rebuilt,
    with_layers,
    with_layers_at,
    with_parts,
    with_replaced_layers,
)
from pellucid.doctor.training_case import TrainingCase, optional_fields
from pellucid.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    ReLU,
    Reshape,
    Trait,
)
from pellucid.layers.recurrent import Recurrent
from pellucid.nested import flatten
from pellucid.network.ending import last_layers
from pellucid.objective import Supervised
from pellucid.operators import AdaptiveMaxPool, Detach, Largest, Mean, Permute, Select, ToShape
from pellucid.training.examples import first_batch

# Options of layers, and the ratio to the default, or its inverse, from which a value is unusual.
OPTIONS = {"axis": 1.0, "momentum": 5.0, "epsilon": 1e3}
# Activations that are flat on both sides.
SATURATING = tuple(
    kind
    for kind, limits in OUTPUT_RANGES.items()
    if Trait.ELEMENTWISE | Trait.ACTIVATION in kind.traits
    and Trait.RECTIFIER not in kind.traits
    and all(map(isfinite, limits))
)
# Of layers that leave a network linear, except for the maximum of MaxPool2d, which is hardly an activation.
LINEAR_TRAITS = Trait.RESHAPE | Trait.RESAMPLE | Trait.NORM
POOLINGS = (AdaptiveAvgPool2d, AdaptiveMaxPool, AvgPool2d, Largest, MaxPool2d, Mean)
POOLED_POSITIONS = "pooled-positions"  # the name of the suspect
MAX_HE_RATIO = 3.0  # RMS of a weight divided by its RMS after He initialization; the minimum is 1 / MAX_HE_RATIO
MAX_BIAS = 1.0  # root mean square of a layer's initial biases
MIN_PADDED = 0.3  # mean part of the steps of a sequence that are padding at its end
MIN_WIDTH, SUFFICIENT_WIDTH = 8, 32  # units of inner layers
MIN_SATURATING, MAX_VANISHED = 3, 0.01  # inner sigmoids or tanhs; gradient of the first weights divided by the last


def layer_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for each kind of the library's inner layers that can be replaced by a plainer one."""
    yield from _pooling_suspects(case)
    nets = case.model.objective.nets
    locations: dict[str, list[tuple[str, str]]] = {}
    for name, net in nets.items():
        ends = last_layers(net)
        for path, layer in leaves(net):
            is_norm = Trait.NORM in layer.traits and not isinstance(layer, BatchNorm)
            if is_norm and path not in ends and not is_user_defined(layer):
                locations.setdefault(type(layer).__name__, []).append((name, path))
    for kind, found in locations.items():
        changed = with_replaced_layers(nets, found, lambda _: Identity())
        yield suspect(
            "norm-layer", f"{kind} removes differences that the layers after it need",
            f"leave {kind} out, or use batch normalization", f"no layer instead of {kind} in inner layers",
            partial(rebuilt, keep_weights=True, nets=changed), path=join(*found[0]), layers=len(found),
            key=f"without-{kind}",
        )  # fmt: skip


def _pooling_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect if the last layer of a network of values that sees positions is a pooling over all of them."""
    nets = case.model.objective.nets
    if not isinstance(case.model.objective, Supervised) or optional_fields(case).classifies is not False:
        return
    name, images = next(iter(nets)), first_batch(case.train).images[:1]
    last: list[tuple[str, Layer, Any]] = []

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
        sees_positions = isinstance(x, Tensor) and x.dim() == 4 and x.shape[2] * x.shape[3] > 1
        if sees_positions and not isinstance(layer, Combinator | Identity):
            last[:] = [(path, layer, y)]

    initial = case.begin()
    evaluated(initial, initial.scaled(images), watch)
    if not last or not isinstance(last[0][1], POOLINGS) or last[0][2][0].numel() != last[0][2].shape[1]:
        return
    path, pooling, _ = last[0]
    changed = with_replaced_layers(nets, [(name, path)], lambda _: Flatten())
    yield suspect(
        POOLED_POSITIONS, "pooling over all positions removes where in the image something is, which these targets "
        "depend on", "flatten the last maps instead of pooling them, or predict a map",
        f"Flatten instead of {type(pooling).__name__}",
        # the network then has one size of images
        partial(rebuilt, keep_weights=True, nets=changed, input_shape=tuple(images.shape[1:])), path=path,
    )  # fmt: skip


def narrow_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if inner layers have so few units that hardly anything of the inputs passes them."""
    net = case.model.net
    ends = last_layers(net, lambda layer: Trait.LEARNS not in layer.traits)  # a pooling may follow them
    widths = {
        path: layer.units if isinstance(layer, Dense) else layer.filters
        for path, layer in leaves(net)
        if isinstance(layer, Dense | Conv2d) and path not in ends
    }
    paths = [path for path, width in widths.items() if width < MIN_WIDTH]
    if paths:
        yield suspect(
            "narrow-layers", "so few units pass on too little of the inputs, whatever they learn",
            f"make inner layers wider ({SUFFICIENT_WIDTH} units or more)", f"{SUFFICIENT_WIDTH} units in narrow layers",
            lambda case: with_layers_at(case, paths, _widened), path=paths[0], layers=len(paths),
            units=min(widths.values()),
        )  # fmt: skip


def _widened(layer: Layer) -> Layer:
    width = "units" if isinstance(layer, Dense) else "filters"
    return replace(layer, **{width: SUFFICIENT_WIDTH})


def linear_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if layers with weights follow one another without anything nonlinear between them.

    It is a fault if this holds for all layers. A linear bottleneck between other layers is usual.
    """
    paths, n_layers = _paths_before_weights(case), len(trainable_layers(case.initial))
    if paths:
        is_linear = len(paths) >= n_layers - 1
        yield suspect(
            "no-activation", "without an activation between them, layers in a row are together one linear map",
            "add a ReLU after each layer but the last", "ReLU after each inner layer",
            lambda case: with_layers_at(case, paths, lambda layer: Sequential(layer, ReLU())), path=paths[0],
            unusual=is_linear, is_fault=is_linear, layers_without_activation=len(paths), layers_with_weights=n_layers,
        )  # fmt: skip


def _paths_before_weights(case: Case) -> list[str]:
    """Return the paths of the layers with weights whose outputs reach other weights through linear layers only."""
    origins: dict[int, str] = {}  # the path of the layer with weights that a tensor comes from, by the tensor's id
    kept_outputs: list[Any] = []  # kept alive so that no id is reused
    paths: dict[str, None] = {}

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
        if isinstance(layer, Combinator) or is_user_defined(layer):
            return
        kept_outputs.append(y)
        origin = origins.get(id(x), "")
        if isinstance(layer, Dense | Conv2d):
            if origin:
                paths[origin] = None
            origins[id(y)] = path
        elif layer.traits & LINEAR_TRAITS or isinstance(layer, Dropout | Identity):
            origins[id(y)] = origin

    evaluated(case.initial, case.inputs(case.probe)[:1], watch)
    return list(paths)


def detach_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if the layers before a detach get no gradient, which may be intended for pretrained ones."""
    for finding in cut_gradient.cuts(case, lambda layer: isinstance(layer, Detach)):
        yield Suspect(finding, unusual=True)


def reshape_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if a reshape gives the axes the sizes that an exchange of axes would, which mixes their values.

    Such as (N, T, C) read as (N, C, T) by view, without a transpose.
    """
    orders: dict[str, tuple[int, ...]] = {}

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
        if isinstance(layer, Reshape | ToShape) and isinstance(x, Tensor) and isinstance(y, Tensor):
            order = _order_of_axes(x.shape[1:], y.shape[1:])
            if order is not None and x.shape[0] == y.shape[0]:
                orders[path] = (0, *(1 + axis for axis in order))

    evaluated(case.initial, case.inputs(case.probe)[:1], watch)
    for path, axes in orders.items():
        yield suspect(
            "reshaped-axes", "a view or reshape gives the axes other sizes without moving the values, so that values "
            "of different places and channels are mixed",
            f"exchange the axes by permute{axes}, not by view or reshape", f"permute{axes} instead of a reshape",
            partial(with_layers_at, paths=[path], change=lambda _, axes=axes: Permute(axes), keep_weights=True),
            path=path, unusual=True, key=f"permute-{path}",
        )  # fmt: skip


def _order_of_axes(old_sizes: Sequence[int], new_sizes: Sequence[int]) -> list[int] | None:
    """Return the old axis of each new one if the sizes above 1 are the same in another order; None otherwise."""
    old_large, new_large = ([size for size in sizes if size > 1] for sizes in (old_sizes, new_sizes))
    if len(old_sizes) != len(new_sizes) or old_large == new_large or sorted(old_sizes) != sorted(new_sizes):
        return None
    order: list[int] = []
    for size in new_sizes:
        order.append(next(axis for axis, old in enumerate(old_sizes) if old == size and axis not in order))
    return order


def padding_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if sequences end with much padding, and the network takes a recurrent layer's last state."""
    x = case.train.x
    if x.dim() not in (2, 3):
        return
    last_steps, counts = x[:, -1].unique(dim=0, return_counts=True)
    padding = last_steps[counts.argmax()]
    share = float(_trailing_padding(x, padding).double().mean()) / x.shape[1]
    path = _path_of_last_state(case) if share >= MIN_PADDED else None
    if path is not None:
        yield suspect(
            "state-after-padding", "sequences end with padding, and the last state, after that, has forgotten what "
            "came before",
            "take the state at the last real step of each sequence, by pack_padded_sequence or "
            "out[torch.arange(len(x)), lengths - 1], or put the padding before the sequence",
            "padding before the sequences", partial(with_parts, change=partial(_with_padding_first, padding=padding)),
            path=path, unusual=True, padded_part_of_the_steps=share,
        )  # fmt: skip


def _trailing_padding(x: Tensor, padding: Tensor) -> Tensor:
    """Return how many steps at the end of each sequence equal the padding, (N,)."""
    is_padding = (x == padding).flatten(2).all(2) if x.dim() == 3 else x == padding
    return is_padding.flip(1).long().cumprod(1).sum(1)


def _with_padding_first(data: Arrays, padding: Tensor) -> Arrays:
    """Return the sequences with the padding at their end moved to their beginning."""
    steps = torch.arange(data.x.shape[1]) - _trailing_padding(data.x, padding)[:, None]
    return replace(data, x=data.x[torch.arange(len(data.x))[:, None], steps % data.x.shape[1]])


def _path_of_last_state(case: Case) -> str | None:
    """Return the path of a recurrent layer along the steps of which only the last state is used; None if there is none.

    It outputs states alone, or the last step is selected from its outputs.
    """
    sequences: dict[int, str] = {}  # the path of the recurrent layer that computed a tensor, by the tensor's id
    kept_outputs: list[Any] = []  # kept alive so that no id is reused
    found: list[str] = []

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
        kept_outputs.append(y)
        if isinstance(layer, Recurrent):
            sequences[id(y)] = path
            found.extend([path] * (layer.output == "state"))
        elif isinstance(layer, Permute) and id(x) in sequences:
            sequences[id(y)] = sequences[id(x)]
        elif isinstance(layer, Select) and id(x) in sequences and layer.index in (-1, x.shape[layer.axis] - 1):
            found.append(sequences[id(x)])

    evaluated(case.initial, case.inputs(case.probe)[:2], watch)
    return found[0] if found else None


def activation_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if gradients vanish on the way through several sigmoids or tanhs."""
    net, model = case.model.net, case.initial
    ends = last_layers(net)
    paths = [path for path, layer in leaves(net) if isinstance(layer, SATURATING) and path not in ends]
    weights = [weight for _, weight in trainable_layers(model)]
    if len(paths) < MIN_SATURATING or len(weights) < 2:
        return
    found = gradients(model, case.inputs(case.probe), case.probe.y)
    share = rms(found[weights[0]]) / (rms(found[weights[-1]]) or 1.0)
    if 0.0 < share <= MAX_VANISHED:  # without weights of 0, which stop all gradients
        yield suspect(
            "saturating-activations", "gradients vanish on the way back through activations whose slope is far below 1 "
            "(sigmoid, tanh), so that the first layers hardly learn",
            "use ReLU with He initialization in the inner layers", "ReLU and He initialization in inner layers",
            lambda case: with_layers(with_layers_at(case, paths, lambda _: ReLU()), he_initialized),
            path=paths[0], unusual=True, activations=len(paths), gradient_of_the_first_weights_over_the_last=share,
        )  # fmt: skip


def layer_option_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for each of OPTIONS of a layer that is far from its default."""
    nets = case.model.objective.nets
    locations: dict[tuple[type[Layer], str, float, Any], list[tuple[str, str]]] = {}
    for name, net in nets.items():
        for path, layer in leaves(net):
            for option in fields(layer) if not is_user_defined(layer) else ():
                value, default = getattr(layer, option.name), option.default
                if not (option.name in OPTIONS and is_number(value) and is_number(default)):
                    continue  # without a default, as for the axis of a selection, no value is unusual
                max_ratio = OPTIONS[option.name]
                is_near = value * default > 0 and 1 / max_ratio <= value / default <= max_ratio
                if value != default and not is_near:
                    locations.setdefault((type(layer), option.name, value, default), []).append((name, path))
    for (kind, option_name, value, default), paths in locations.items():
        changed_nets = with_replaced_layers(
            nets, paths, lambda layer, option=option_name, value=default: replace(layer, **{option: value})
        )
        yield suspect(
            "layer-settings", f"{option_name} = {value:g} of {kind.__name__} does not suit this network",
            f"set {option_name} to its default, {default:g}", f"{option_name} = {default:g} in {kind.__name__}",
            partial(rebuilt, keep_weights=True, nets=changed_nets), path=join(*paths[0]), unusual=True,
            key=f"{kind.__name__}-{option_name}", value=value, default=default,
        )  # fmt: skip


def initialization_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if initial weights or biases have an unusual size."""
    own = {path for path, layer in leaves(case.model.net) if is_user_defined(layer)}
    flat, layers = flatten(case.initial.params), trainable_layers(case.initial)
    weights = [flat[weight] for path, weight in layers if path not in own]
    ratios = [float(value.square().mean().sqrt()) / (2 / value[0].numel()) ** 0.5 for value in weights]
    biases = [flat[join(path, "bias")] for path, _ in layers if join(path, "bias") in flat]
    bias = max((float(value.square().mean().sqrt()) for value in biases), default=0.0)
    is_unusual = any(not 1 / MAX_HE_RATIO <= ratio <= MAX_HE_RATIO for ratio in ratios[:-1])
    is_large = any(ratio > MAX_HE_RATIO for ratio in ratios[-1:]) or bias > MAX_BIAS
    if ratios and (is_unusual or is_large):
        yield suspect(
            "bad-initialization", "the initial weights or biases are so large or so small that the network does not "
            "learn", "use He initialization (He et al. 2015) and biases of 0", DRAWN_AS_HE.description,
            DRAWN_AS_HE.apply, unusual=True, key=DRAWN_AS_HE.key, settings=HE_SETTINGS,
            smallest_weights_over_he=min(ratios),
            largest_weights_over_he=max(ratios), largest_first_biases=bias,
        )  # fmt: skip
