"""Settings of a recipe that follow from its network and the backbone that it begins with."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from pellucid.combine.base import walk
from pellucid.errors import PellucidError
from pellucid.layers import Conv2d
from pellucid.layers.base import Layer
from pellucid.model import Model
from pellucid.models import MODELS, features
from pellucid.recipe.recipe import Recipe
from pellucid.recipe.start import source_file
from pellucid.run.weights import is_ours
from pellucid.tree import flatten
from pellucid.weights import open_weights
from pellucid.weights.catalogue import CATALOGUE
from pellucid.weights.names.families import NAMINGS
from pellucid.weights.names.naming import settle, translate

SIDE = 96  # pixels that networks for ImageNet get; they were trained on 224, for which a CPU has not the time
# Networks without features of images of any size: layers of an MLP have the size of its images, the others make images
# or judge patches of them.
OTHERS = ("mlp", "unet_generator", "resnet_generator", "patch_discriminator")


def backbone_settings(name: str, root: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Return the overrides that make a recipe begin with a backbone: `start.weights`, its network and image size.

    name: as `start.weights`. The names of a published file's tensors determine the network; for a model of ours it is
    the network of the zoo with the same features, else the recipe's own.
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
    zoo = (name for name in MODELS if name not in OTHERS)
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


LAST = 3  # the last blocks are a third of the backbone


def adapted(recipe: Recipe) -> dict[str, Any]:
    """Return the overrides that adapt a recipe of the comparison to the network that it now has.

    Where only some of the features learn, these are the last third of their parts, with frozen norms; where filters of
    the first convolution are whitened and the network has no such convolution, they are drawn.
    """
    backbone = features(recipe.build("network"))
    layers = dict(walk(backbone))
    found: dict[str, Any] = {}
    if recipe.start.whiten and not isinstance(layers.get(recipe.start.whiten.removeprefix("features.")), Conv2d):
        found["start.whiten"] = ""
    if any(pattern.startswith("features.") and pattern != "features.*" for pattern in recipe.train.frozen):
        parts = [path for path, layer in layers.items() if path and "." not in path and _learns(layer)]
        kept = [f"features.{name}.*" for name in parts[: len(parts) - max(1, len(parts) // LAST)]]
        norms = ["features.*norm*"] if any("norm" in path and _learns(layer) for path, layer in layers.items()) else []
        found["train.frozen"] = kept + norms
    return found


def _learns(layer: Layer) -> bool:
    return any(one.decayed or one.buffers for _, one in walk(layer))
