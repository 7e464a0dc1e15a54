"""Suspects in user-defined losses, optimizers and layers: the same training with a part of the library instead."""

from collections.abc import Iterator
from functools import partial

from pellucid.combine.base import join
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.passes import is_user_defined, leaves, library_part
from pellucid.doctor.remedies import rebuilt, with_replaced_layers
from pellucid.doctor.training_case import TrainingCase
from pellucid.layers import Identity
from pellucid.layers.base import Layer
from pellucid.losses import Quadratic, SoftmaxCrossEntropy
from pellucid.network.ending import last_layers
from pellucid.objective import Supervised

OWN_LAYER = "own-layer"  # the name of the suspect


def own_loss_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for a user-defined loss: that of the library which it is derived from, or one for the targets."""
    objective = case.model.objective
    if not isinstance(objective, Supervised) or not is_user_defined(objective.loss) or not isinstance(case, Case):
        return
    loss, y = objective.loss, case.train.y
    plain = library_part(loss)
    if plain is None and case.classifies:
        return  # see `losses.loss_suspects`
    if plain is None and not y.is_floating_point():
        plain = SoftmaxCrossEntropy(ignore=getattr(loss, "ignore", None))
    elif plain is None and y.dim() <= 2:
        plain = Quadratic()
    if plain is not None:
        yield suspect(
            "wrong-loss", f"minimizing {type(loss).__name__} does not lead to good predictions",
            f"compare its values and gradients with those of {type(plain).__name__}, or use that",
            f"the loss {type(plain).__name__}", partial(rebuilt, loss=plain), path="loss", unusual=True,
            key=f"loss-{type(plain).__name__}", loss=type(loss).__name__,
        )  # fmt: skip


def own_optimizer_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for each user-defined optimizer that is derived from one of the library."""
    optimizers = case.model.optimizers
    for network, optimizer in optimizers.items() if optimizers else [("", case.model.optimizer)]:
        plain = library_part(optimizer) if is_user_defined(optimizer) else None
        if plain is None:
            continue
        own_name, name = type(optimizer).__name__, type(plain).__name__
        changes = {"optimizers": {**optimizers, network: plain}} if optimizers else {"optimizer": plain}
        yield suspect(
            "own-optimizer", f"the steps of {own_name} differ from those of {name}, and the network learns less with "
            "them", f"compare the steps of {own_name} with those of {name}: what it keeps from step to step, and the "
            "sign and the size of the step", f"the optimizer {name}", partial(rebuilt, **changes),
            path=network or "training", unusual=True, key=f"optimizer-{name}", optimizer=own_name,
        )  # fmt: skip


def own_layer_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for each kind of user-defined layer: the library's layer that it is derived from, or none."""
    nets = case.model.objective.nets
    places_by_kind: dict[type[Layer], list[tuple[str, str]]] = {}
    for name, net in nets.items():
        ends = last_layers(net)
        for path, layer in leaves(net):
            if is_user_defined(layer) and path not in ends:  # checks judge the outputs
                places_by_kind.setdefault(type(layer), []).append((name, path))
    for kind, places in places_by_kind.items():
        changed_nets = with_replaced_layers(nets, places, lambda layer: library_part(layer) or Identity())
        name, path = places[0]
        plain = library_part(dict(leaves(nets[name]))[path])
        text = "no layer" if plain is None else type(plain).__name__
        yield suspect(
            OWN_LAYER, f"with {kind.__name__}, the network learns less than with {text} in its place",
            f"compare the outputs and gradients of {kind.__name__} with what they should be, or leave it out",
            f"{text} instead of {kind.__name__}", partial(rebuilt, keep_weights=True, nets=changed_nets),
            path=join(name, path), unusual=True, key=f"{text}-for-{kind.__name__}", layer=kind.__name__,
        )  # fmt: skip
