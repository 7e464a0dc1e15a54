"""Suspects in kinds of layers: all layers of a kind replaced by a plainer one, or left out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from pellucid.combine import Sequential
from pellucid.combine.base import join, walk
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.passes import is_user_defined, leaves
from pellucid.doctor.remedies import rebuilt, with_replaced_layers
from pellucid.doctor.training_case import TrainingCase, optional_fields
from pellucid.layers import (
    AdaptiveAvgPool2d,
    BatchNorm,
    Dense,
    Flatten,
    Identity,
)
from pellucid.layers.base import Layer, Trait
from pellucid.network.ending import last_layers


@dataclass(frozen=True)
class _Replacement:
    """The layer that replaces layers of a kind, and the name, the cause and the fix of the suspect.

    kind: of the replaced layers if they are suspected apart from those of other kinds that the layer replaces.
    """

    layer: Layer
    name: str
    cause: str = field(compare=False)
    fix: str = field(compare=False)
    kind: str = ""


def layer_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for each kind of the library's inner layers that can be replaced by a plainer one."""
    nets = case.model.objective.nets
    places: dict[_Replacement, list[tuple[str, str]]] = {}
    for name, net in nets.items():
        ends = last_layers(net)
        for path, layer in leaves(net):
            if path in ends or is_user_defined(layer):
                continue
            replacement = _replacement(case, net, path, layer)
            if replacement is not None:
                places.setdefault(replacement, []).append((name, path))
    layers = {name: dict(leaves(net)) for name, net in nets.items()}
    for replacement, found in places.items():
        changed_nets = with_replaced_layers(nets, found, lambda _, layer=replacement.layer: layer)
        text = "no layer" if isinstance(replacement.layer, Identity) else type(replacement.layer).__name__
        names = " and ".join(sorted({type(layers[name][path]).__name__ for name, path in found}))
        yield suspect(
            replacement.name, replacement.cause, replacement.fix, f"{text} instead of {names} in inner layers",
            partial(rebuilt, keep_weights=True, nets=changed_nets), path=join(*found[0]), layers=len(found),
            key=f"{text}-for-{names}",
        )  # fmt: skip


def _replacement(case: TrainingCase, net: Layer, path: str, layer: Layer) -> _Replacement | None:
    """Return what replaces a layer; None if it is plain itself."""
    kind = type(layer).__name__
    if Trait.NORM in layer.traits and not isinstance(layer, BatchNorm):
        return _Replacement(
            Identity(), "norm-layer", f"{kind} removes differences that the layers after it need",
            f"leave {kind} out, or use batch normalization", kind=kind,
        )  # fmt: skip
    if isinstance(layer, AdaptiveAvgPool2d) and layer.size in (1, (1, 1)) and _may_need_positions(case, net, path):
        return _Replacement(
            Flatten(), "pooled-positions", "the mean over all positions removes where in the image something is, which "
            "these targets depend on", "flatten the last maps instead of pooling them, or predict a map",
        )  # fmt: skip
    return None


def _may_need_positions(case: TrainingCase, net: Layer, path: str) -> bool:
    """Return whether the targets are no classes, and vectors follow the layer at a path, in images of a fixed size."""
    prefix, _, name = path.rpartition(".")
    parent, shape = dict(walk(net)).get(prefix), case.model.nominal_shape
    layers: Mapping[str, Layer] = parent.layers if isinstance(parent, Sequential) else {}
    following = list(layers.values())[list(layers).index(name) + 1 :] if name in layers else []
    is_followed_by_vectors = bool(following) and isinstance(following[0], Flatten | Dense)
    return is_followed_by_vectors and None not in shape and optional_fields(case).classifies is False
