"""Cached outputs of the first, frozen layers of a network, computed once for all epochs."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from pellucid.combine.base import buffer_paths, walk
from pellucid.combine.sequential import Sequential
from pellucid.data import Arrays, Source
from pellucid.fuse.frozen import learned_paths
from pellucid.layers import Identity
from pellucid.layers.base import Layer, Params
from pellucid.metrics import Metric
from pellucid.nested import flatten
from pellucid.objective import Supervised
from pellucid.training.evaluate import output_batches
from pellucid.training.layer_statistics import may_draw
from pellucid.training.learner import Learner

FEATURE_BATCH_SIZE = 64  # images whose features are computed at a time
MAX_FEATURE_BYTES = 4 << 30  # the largest size of cached features; larger ones are computed in every epoch


@dataclass(frozen=True)
class SplitNetwork:
    """A network divided in two: `front`, whose layers neither learn nor draw random numbers, and `back`.

    `back` contains the other layers under the same paths.
    """

    front: Sequential
    front_params: Params
    back: Sequential
    back_params: Params


class BackModel:
    """A model without its frozen front, for training: only its network, parameters, frozen paths and inputs differ."""

    def __init__(self, model: Learner, split_net: SplitNetwork) -> None:
        vars(self).update(vars(model))
        self.params = split_net.back_params
        self.stats = None
        self.objective = model.objective.with_nets({"": split_net.back})
        self.frozen = model.frozen & flatten(split_net.back_params).keys()
        # these describe and write the whole model
        self.about = model.about
        self.save = model.save


def without_frozen_front(
    model: Learner, data: Source, validation: Source | None
) -> tuple[Learner, Source, Source | None]:
    """Return the model without its frozen front, and this front's outputs for the training and validation data.

    Training on them is equivalent to training the whole network on images that are not augmented, since the frozen
    front runs in evaluation mode; with bf16 it is more exact, since the front runs in float32. Returns the arguments
    unchanged for user-defined objectives, for networks that do not begin with frozen layers, for data that are not in
    memory, for metrics that may read the images, and if the outputs would take more than MAX_FEATURE_BYTES.
    """
    if (
        not isinstance(data, Arrays)
        or not isinstance(validation, Arrays | None)
        or not isinstance(model.objective, Supervised)
        or any(
            isinstance(metric, Metric) and type(metric).update_batch is not Metric.update_batch
            for metric in model.metrics
        )
    ):
        return model, data, validation
    split_net = split_network(model.objective.net, model.params, model.frozen)
    # a front without parameters, such as Flatten, costs too little for a copy of the data
    if split_net is None or not flatten(split_net.front_params).keys() & model.frozen:
        return model, data, validation
    with torch.inference_mode():
        first_features = next(output_batches(split_net.front, split_net.front_params, data.x[:1], 1, model.stats))[1]
    example_count = len(data) + (0 if validation is None else len(validation))
    # 4 bytes for each value in float32
    if not isinstance(first_features, Tensor) or first_features.numel() * 4 * example_count > MAX_FEATURE_BYTES:
        return model, data, validation
    return (
        cast(Learner, BackModel(model, split_net)),
        _front_features(model, split_net, data),
        None if validation is None else _front_features(model, split_net, validation),
    )


def split_network(net: Layer, params: Params, frozen: set[str]) -> SplitNetwork | None:
    """Divide a Sequential before its first layer that learns or draws random numbers, also inside nested Sequentials.

    Returns None for a network that is not a Sequential, and if that layer is the first one. frozen: paths of frozen
    parameters. `back` contains Identity layers in place of those of `front`, so that all paths are unchanged.
    """
    # only there does every layer read just the one before
    if type(net) is not Sequential:
        return None
    front: dict[str, Layer] = {}
    front_params: Params = {}
    back, back_params = dict(net.layers), dict(params)
    for name, child in net.layers.items():
        child_frozen = {path.removeprefix(f"{name}.") for path in frozen if path.startswith(f"{name}.")}
        if _is_constant(child, params[name], child_frozen):
            front[name] = child
            front_params[name] = params[name]
            back[name] = Identity()
            back_params[name] = {}
            continue
        child_split = split_network(child, params[name], child_frozen)
        if child_split is not None:
            front[name], front_params[name] = child_split.front, child_split.front_params
            back[name], back_params[name] = child_split.back, child_split.back_params
        break
    return SplitNetwork(Sequential(**front), front_params, Sequential(**back), back_params) if front else None


def _is_constant(layer: Layer, params: Params, frozen: set[str]) -> bool:
    """Return whether a layer has the same output for the same input throughout a training.

    This holds if all its parameters are frozen, because it then runs in evaluation mode (see `pellucid.fuse.frozen`),
    or if it has no parameters, no running statistics, and draws no random numbers.
    """
    learned = learned_paths(layer, params)
    if learned:
        return learned <= frozen
    return not buffer_paths(layer) and not any(may_draw(sublayer) for _, sublayer in walk(layer))


def _front_features(model: Learner, split_net: SplitNetwork, data: Arrays) -> Arrays:
    """Return the data with the outputs of the front as inputs; the checksum is still that of the images."""
    features = torch.empty(0)
    n_done = 0
    with torch.inference_mode():
        for _, y in output_batches(split_net.front, split_net.front_params, data.x, FEATURE_BATCH_SIZE, model.stats):
            if not n_done:
                with torch.inference_mode(False):
                    features = torch.empty(len(data), *y.shape[1:], dtype=y.dtype)
            features[n_done : n_done + len(y)].copy_(y)
            n_done += len(y)
    return Arrays(features, data.y, data.classes, data.checksum)
