"""Features of a frozen front of a network, computed once for all epochs."""

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
from pellucid.objective import Supervised
from pellucid.training.evaluate import outputs
from pellucid.training.layers import may_draw
from pellucid.training.learner import Learner
from pellucid.tree import flatten

BATCH = 64  # images whose features are computed at a time
MOST = 4 << 30  # bytes of features; larger ones are computed again in every epoch


@dataclass(frozen=True)
class Split:
    """A network in two: the layers of `front` neither learn nor draw; `back` holds the others, under the same paths."""

    front: Sequential
    front_params: Params
    back: Sequential
    back_params: Params


class Behind:
    """A model without its frozen front, for training: its networks, parameters and inputs differ, nothing else."""

    def __init__(self, model: Learner, cut: Split) -> None:
        vars(self).update(vars(model))
        self.params, self.stats = cut.back_params, None
        self.objective = model.objective.with_nets({"": cut.back})
        self.frozen = model.frozen & flatten(cut.back_params).keys()
        self.about, self.save = model.about, model.save  # of the whole model


def behind(model: Learner, data: Source, held: Source | None) -> tuple[Learner, Source, Source | None]:
    """Return the model without its frozen front, and that front's outputs for both parts of the data.

    Training these is training the whole network, whose frozen front runs as in evaluation, on images that are not
    augmented; under bf16 it is more exact, since the front runs in float32. The arguments are returned unchanged where
    no first layer is frozen, for data that are not in memory, for metrics that may read the images, and where the
    outputs would take more than MOST bytes.
    """
    if (
        not isinstance(data, Arrays)
        or not isinstance(held, Arrays | None)
        or not isinstance(model.objective, Supervised)
        or any(isinstance(one, Metric) and type(one).update_batch is not Metric.update_batch for one in model.metrics)
    ):
        return model, data, held
    cut = split(model.objective.net, model.params, model.frozen)
    if cut is None or not flatten(cut.front_params).keys() & model.frozen:
        return model, data, held
    with torch.inference_mode():
        one = next(outputs(cut.front, cut.front_params, data.x[:1], 1, model.stats))[1]
    count = len(data) + (0 if held is None else len(held))
    if not isinstance(one, Tensor) or one.numel() * 4 * count > MOST:
        return model, data, held
    return (
        cast(Learner, Behind(model, cut)),
        _through(model, cut, data),
        None if held is None else _through(model, cut, held),
    )


def split(net: Layer, params: Params, frozen: set[str]) -> Split | None:
    """Cut a Sequential, also a nested one, before the first layer that learns or draws; None where that comes first.

    frozen: paths. In `back` the layers of `front` are Identities, so that all paths stay the same.
    """
    if type(net) is not Sequential:
        return None
    front: dict[str, Layer] = {}
    front_params: Params = {}
    back, back_params = dict(net.layers), dict(params)
    for name, child in net.layers.items():
        below = {path.removeprefix(f"{name}.") for path in frozen if path.startswith(f"{name}.")}
        if _is_still(child, params[name], below):
            front[name], front_params[name] = child, params[name]
            back[name], back_params[name] = Identity(), {}
            continue
        part = split(child, params[name], below)
        if part is not None:
            front[name], front_params[name] = part.front, part.front_params
            back[name], back_params[name] = part.back, part.back_params
        break
    return Split(Sequential(**front), front_params, Sequential(**back), back_params) if front else None


def _is_still(layer: Layer, params: Params, frozen: set[str]) -> bool:
    """Return whether a layer has the same output for the same input throughout a training.

    A part all of whose parameters are frozen runs as in evaluation, see `pellucid.fuse.frozen`; one without parameters
    has the same output unless it draws, or keeps running statistics.
    """
    learned = learned_paths(layer, params)
    if learned:
        return learned <= frozen
    return not buffer_paths(layer) and not any(may_draw(part) for _, part in walk(layer))


def _through(model: Learner, cut: Split, part: Arrays) -> Arrays:
    """Return the outputs of the front as inputs; the checksum stays that of the images."""
    found, done = torch.empty(0), 0
    with torch.inference_mode():
        for _, y in outputs(cut.front, cut.front_params, part.x, BATCH, model.stats):
            if not done:
                with torch.inference_mode(False):
                    found = torch.empty(len(part), *y.shape[1:], dtype=y.dtype)
            found[done : done + len(y)].copy_(y)
            done += len(y)
    return Arrays(found, part.y, part.classes, part.checksum)
