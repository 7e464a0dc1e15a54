"""Suspects in the last layers of networks, and in objectives with more than one network, such as GANs."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from pellucid.combine.base import join
from pellucid.data.source import Arrays
from pellucid.doctor.case import has_flat_targets
from pellucid.doctor.checks.wrong_output import LOGIT_LOSSES, keeps_range, removal
from pellucid.doctor.finding import MIN_GAIN, Suspect, suspect
from pellucid.doctor.passes import is_user_defined, library_version
from pellucid.doctor.remedies import rebuilt, with_parts, with_replaced_layers
from pellucid.doctor.training_case import TrainingCase
from pellucid.layers import Identity, Layer, Tanh, Trait
from pellucid.network.ending import last_layers
from pellucid.objective import Supervised

MAX_OUTSIDE = 0.01  # by which values of images may be outside of the range from 0 to 1
# Weights of a loss from 1 / MAX_WEIGHT to MAX_WEIGHT are usual; a loss of a weight below MIN_WEIGHT hardly counts.
MAX_WEIGHT, MIN_WEIGHT = 3.0, 0.03
MIN_TANH_GAIN = 0.15  # of the score, without a last tanh, which is usual for images
PREDICTING_NETWORK = "generator"  # in objectives such as GANs, the network whose outputs are the predictions


def ending_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield suspects for the last activation of the network that predicts, also before a pooling.

    For classes and vectors, only before a loss of logits: a regression may have an activation with the targets' range.
    """
    nets = case.model.objective.nets
    name = PREDICTING_NETWORK if PREDICTING_NETWORK in nets else next(iter(nets), "")
    if name not in nets or (len(nets) > 1 and name != PREDICTING_NETWORK):
        return
    if has_flat_targets(case) and not isinstance(case.model.loss, LOGIT_LOSSES):
        return
    for path, last_layer in last_layers(nets[name], keeps_range).items():
        if Trait.ACTIVATION not in last_layer.traits or removal(nets[name], path) is None:
            continue
        full_path = join(name, path)
        changes: list[tuple[str, str, Layer]] = [
            (f"without-{full_path}", f"the network without {full_path}", Identity())
        ]
        if len(nets) > 1 and not isinstance(last_layer, Tanh):
            changes.insert(0, ("generator-tanh", "a generator that ends in a tanh", Tanh()))
        for key, description, layer in changes:
            changed_nets = with_replaced_layers(nets, [(name, path)], lambda _, layer=layer: layer)
            yield suspect(
                "wrong-output",
                f"{type(last_layer).__name__} limits the outputs, or makes their gradients small",
                "end the network in a tanh, whose range the images have" if isinstance(layer, Tanh) else
                "end the network without an activation, or with one that has the range of the targets", description,
                partial(rebuilt, keep_weights=True, nets=changed_nets), path=full_path,
                last_layer=type(last_layer).__name__, key=key,
                min_gain=MIN_TANH_GAIN if isinstance(last_layer, Tanh) else MIN_GAIN,
            )  # fmt: skip


def stride_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect if the stride of a loss is not the image's side divided by that of the network's maps."""
    loss: Any = case.model.objective.loss if isinstance(case.model.objective, Supervised) else None
    image, maps, stride = case.model.nominal_shape, case.model.output_shape, getattr(loss, "stride", None)
    if stride is None or len(image) != 3 or len(maps) != 3 or None in (image[2], maps[2]):
        return
    ratio = round(image[2] / maps[2])
    if ratio not in (0, stride):
        yield suspect(
            "loss-settings", f"the loss assumes a stride of {stride}, but the network's maps have a stride of {ratio}",
            f"set stride to {ratio}", f"stride = {ratio} in the loss",
            partial(rebuilt, loss=replace(loss, stride=ratio)),
            path="loss", unusual=True, key=f"loss-stride-{ratio}", stride=stride,
            side_of_the_image=image[2], side_of_the_maps=maps[2],
        )  # fmt: skip


def image_range_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for images with values outside of 0 to 1, the range that objectives with a generator expect."""
    if PREDICTING_NETWORK not in case.model.objective.nets or not isinstance(case.train, Arrays):
        return
    x = case.train.x
    low, high = float(x.min()), float(x.max())
    if not x.is_floating_point() or (low >= -MAX_OUTSIDE and high <= 1 + MAX_OUTSIDE):
        return

    def scaled(data: Arrays) -> Arrays:
        values = {"x": data.x, "y": data.y}  # the targets may be images too
        images = {name: value for name, value in values.items() if value.is_floating_point() and value.dim() == 4}
        return replace(data, **{name: (value - low) / (high - low) for name, value in images.items()})

    yield suspect(
        "image-range", "images have values beyond 0 to 1, which this objective takes for a range of 0 to 1",
        "give images as integers 0 to 255, or floats 0 to 1", "images of 0 to 1",
        lambda case: with_parts(case, scaled), path="train", lowest=low, highest=high,
    )  # fmt: skip


def own_objective_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for a user-defined objective that is derived from an objective of the library."""
    objective = case.model.objective
    plain = library_version(objective) if is_user_defined(objective) else None
    if plain is not None:
        name = type(plain).__name__
        yield suspect(
            "own-objective", f"the gradients of {type(objective).__name__} differ from those of {name}, and the "
            "networks learn less with them",
            f"compare the gradients with those of {name}: which network follows which loss, and what is "
            "detached", f"the objective {name}", partial(rebuilt, objective=plain), path="objective",
        )  # fmt: skip


def loss_weight_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect if the losses of an objective have weights far from 1."""
    objective = case.model.objective
    values = () if isinstance(objective, Supervised) else objective.weights.values()
    if any(not 1 / MAX_WEIGHT < value < MAX_WEIGHT for value in values):
        yield suspect(
            "loss-weights", "the weights of the losses let one of them outweigh the others",
            "give the losses the weight 1, or weights that make their gradients alike", "all losses with the weight 1",
            partial(rebuilt, objective=replace(objective, weights={})), path="objective",
            unusual=min(values) < MIN_WEIGHT,
            weights=", ".join(f"{name} {value:g}" for name, value in objective.weights.items()),
        )  # fmt: skip


def network_rate_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for each network whose learning rate is not the lowest of all networks."""
    optimizers = case.model.optimizers
    lowest = min((optimizer.lr for optimizer in optimizers.values()), default=0.0)
    for name, optimizer in optimizers.items():
        if optimizer.lr > lowest:
            yield suspect(
                "learning-rate-too-high", f"the {name} learns so fast that the other network cannot follow",
                f"lower the learning rate of the {name}, to that of the other network or less",
                f"the learning rate {lowest:g} for the {name}",
                partial(rebuilt, optimizers={**optimizers, name: replace(optimizer, lr=lowest)}),
                path=name, key=f"{name}-rate-{lowest:g}", learning_rate=optimizer.lr, lowest_learning_rate=lowest,
            )  # fmt: skip
