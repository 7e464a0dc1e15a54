"""Which network a backbone's weights belong to, as the settings of a recipe."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from pellucid.errors import PellucidError
from pellucid.layers.base import Layer
from pellucid.model import Model
from pellucid.models import MODELS, features
from pellucid.recipe.start import source_file
from pellucid.run.weights import is_ours
from pellucid.tree import flatten
from pellucid.weights import open_weights
from pellucid.weights.catalogue import CATALOGUE
from pellucid.weights.names.families import NAMINGS
from pellucid.weights.names.naming import settle, translate

SIDE = 96  # pixels that networks for ImageNet get; they were trained on 224, for which a CPU has not the time


def backbone_settings(name: str, root: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Return the overrides that make a recipe begin with a backbone: `start.weights`, its network and image size.

    name: as `start.weights`. The network is told by the names of a published file's tensors; of a model of ours it is
    the one of the zoo whose features are the same, and where there is none, the recipe's own stays.
    Raises PellucidError where there is no such file, or no network is known for it.
    """
    path = source_file(name, root)
    settings: dict[str, Any] = {"start.weights": str(path) if name in CATALOGUE else name}
    if is_ours(path):
        return {**settings, **_own(Model.load(path).net)}
    found = _published(open_weights(path))
    if found is None:
        raise PellucidError(f"{path} has weights of no network that is known; `pellucid weights list` shows whose are")
    model, options = found
    return {
        **settings,
        "network.model": model,
        **{f"network.{key}": value for key, value in options.items()},
        "data.size": SIDE,
    }


def _own(net: Layer) -> dict[str, Any]:
    """Return the settings of the network of the zoo that has these features."""
    wanted = features(net)
    zoo = (name for name in MODELS if name != "mlp")  # whose sizes are those of its images
    return next(({"network.model": name} for name in zoo if features(MODELS[name]()) == wanted), {})


def _published(names: Iterable[str]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the largest network whose features have all their tensors among `names`, and its options."""
    tensors = dict.fromkeys(names, torch.empty(0))  # only the names matter
    best: tuple[int, str, Mapping[str, Any]] | None = None
    for naming in NAMINGS:
        for model in naming.models:
            known, unknown = translate(naming, model, tensors)
            if len(known) <= len(unknown):
                continue
            with torch.device("meta"):  # shapes only
                params, _ = features(MODELS[model](**naming.options)).init((3, 224, 224), torch.Generator())
            wanted = {f"features.{path}" for path in flatten(params)}
            found = settle(naming, wanted, known)
            if wanted <= set(found) and (best is None or len(wanted) > best[0]):
                best = (len(wanted), model, naming.options)
    return None if best is None else best[1:]
