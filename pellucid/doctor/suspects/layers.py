"""Suspects in kinds of layers: each replaced by a plain relative, or left out, in all networks."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from pellucid.combine.base import join
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.passes import is_user_defined, leaves
from pellucid.doctor.remedies import rebuilt, with_replaced_layers
from pellucid.layers import AdaptiveAvgPool2d, BatchNorm, Flatten, Identity, ReLU, Sigmoid, SiLU, Tanh
from pellucid.layers.base import Layer, Trait
from pellucid.network.ending import last_layers

OTHER_ACTIVATION = "other-activation"  # the name of the suspect


class _Relative(NamedTuple):
    """The plain relative of a kind of layer, and the name, cause and fix of the suspect."""

    plain: Layer
    name: str
    cause: str
    fix: str


def layer_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect for each kind of the library's inner layers that has a plain relative."""
    nets = case.model.objective.nets
    places: dict[_Relative, list[tuple[str, str]]] = {}
    kinds: dict[_Relative, set[str]] = {}
    for name, net in nets.items():
        ends = last_layers(net)
        for path, layer in leaves(net):
            relative = None if path in ends or is_user_defined(layer) else _relative_of(layer, bool(case.model.frozen))
            if relative is not None:
                places.setdefault(relative, []).append((name, path))
                kinds.setdefault(relative, set()).add(type(layer).__name__)
    for relative, found in places.items():
        if isinstance(relative.plain, Flatten) and len(found) > 1:
            continue  # pooled maps weight channels in the blocks of the network
        changed_nets = with_replaced_layers(nets, found, lambda _, plain=relative.plain: plain)
        text = "no layer" if isinstance(relative.plain, Identity) else type(relative.plain).__name__
        names = " and ".join(sorted(kinds[relative]))
        yield suspect(
            relative.name, relative.cause, relative.fix, f"{text} instead of {names} in inner layers",
            partial(rebuilt, keep_weights=True, nets=changed_nets), path=join(*found[0]), layers=len(found),
            unusual=relative.name == OTHER_ACTIVATION and bool(case.model.frozen),
        )  # fmt: skip


def _relative_of(layer: Layer, is_pretrained: bool) -> _Relative | None:
    """Return the plain relative of a layer, or None if there is none; for pretrained ReLU, it is a smooth rectifier."""
    kind = type(layer).__name__
    if isinstance(layer, Sigmoid | Tanh):
        return _Relative(
            ReLU(), "saturating-activations", "sigmoid or tanh in inner layers makes the gradient smaller from layer "
            "to layer", "use ReLU in inner layers",
        )  # fmt: skip
    is_rectifier = bool(layer.traits & (Trait.RECTIFIER | Trait.SMOOTH_RECTIFIER))
    if Trait.ACTIVATION in layer.traits and (is_pretrained or not is_rectifier):
        other = SiLU() if isinstance(layer, ReLU) else ReLU()
        name = type(other).__name__
        return _Relative(
            other, OTHER_ACTIVATION, f"with {kind} in inner layers the network learns less than with {name}, as "
            "pretrained weights do with another activation than the one they were learned with",
            f"use {name} in inner layers, or the activation that the weights were learned with",
        )  # fmt: skip
    if Trait.NORM in layer.traits and not isinstance(layer, BatchNorm):
        return _Relative(
            Identity(), "norm-layer", f"{kind} removes differences that the layers after it need",
            f"leave {kind} out, or use batch normalization",
        )  # fmt: skip
    if isinstance(layer, AdaptiveAvgPool2d) and layer.size in (1, (1, 1)):
        return _Relative(
            Flatten(), "pooled-positions", "the mean over all positions removes where in the image something is, which "
            "these targets depend on", "flatten the last maps instead of pooling them, or predict a map",
        )  # fmt: skip
    return None
