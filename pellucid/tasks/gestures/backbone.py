"""Recipe settings that follow from the network and the backbone that it starts from."""

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
from pellucid.nested import flatten
from pellucid.recipe.recipe import Recipe
from pellucid.recipe.start import source_file
from pellucid.run.weights import is_pellucid_file
from pellucid.weights import open_weights
from pellucid.weights.catalogue import CATALOGUE
from pellucid.weights.names.families import NAMINGS
from pellucid.weights.names.naming import fit_architecture, translate

INPUT_SIDE = 96  # pixels, the input size of networks for ImageNet; their 224 would take too long on a CPU
# Networks that are no backbones: the layers of MLPs and transformers depend on the size of the images, and the others
# generate images or classify patches of them.
NOT_BACKBONES = ("mlp", "vit", "swin", "unet_generator", "resnet_generator", "patch_discriminator")


def backbone_settings(name: str, root: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Return the overrides that make a recipe start from a backbone: `start.weights`, its network and image size.

    name: as `start.weights`. For a published file, the names of its tensors determine the network; for a model that
    Pellucid saved it is the network of the zoo with the same features, otherwise the recipe's own. Raises PellucidError
    if there is no such file, or no known network for it.
    """
    path = source_file(name, root)
    settings: dict[str, Any] = {"start.weights": str(path) if name in CATALOGUE else name}
    if is_pellucid_file(path):
        return {**settings, **_zoo_network(Model.load(path).net)}
    network = _published_network(open_weights(path))
    if network is None:
        raise PellucidError(f"{path} has weights of an unknown network; `pellucid weights list` shows the known ones")
    model, options = network
    return {
        **settings,
        "network.model": model,
        **{f"network.{key}": value for key, value in options.items()},
        "data.size": INPUT_SIDE,
    }


def _zoo_network(net: Layer) -> dict[str, Any]:
    """Return the settings for the network of the zoo that has the same features as `net`, {} for none."""
    expected = features(net)
    zoo = (name for name in MODELS if name not in NOT_BACKBONES)
    return next(({"network.model": name} for name in zoo if features(MODELS[name]()) == expected), {})


def _published_network(tensor_names: Iterable[str]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the largest network all of whose feature tensors are in `tensor_names`, and its options; None for none."""
    tensors = dict.fromkeys(tensor_names, torch.empty(0))  # only the names matter
    largest: tuple[int, str, Mapping[str, Any]] | None = None
    for naming in NAMINGS:
        for model in naming.models:
            translated, unmatched = translate(naming, model, tensors)
            if len(translated) <= len(unmatched):
                continue
            with torch.device("meta"):  # shapes only
                params, _ = features(MODELS[model](**naming.options)).init((3, 224, 224), torch.Generator())
            expected = {f"features.{path}" for path in flatten(params)}
            settled_names = fit_architecture(naming, expected, translated)
            if expected <= set(settled_names) and (largest is None or len(expected) > largest[0]):
                largest = (len(expected), model, naming.options)
    return None if largest is None else largest[1:]


TRAINED_DIVISOR = 3  # of n blocks the last n // 3 are trained, at least one


def adapted_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the overrides that adapt a recipe of the comparison to the network that is set in it.

    If only some of the features are trained, these are the last third of their blocks, with frozen normalization
    layers. If the filters of the first convolution should be whitened, and the network has no such convolution, they
    are drawn at random.
    """
    backbone = features(recipe.build("network"))
    layers = dict(walk(backbone))
    overrides: dict[str, Any] = {}
    if recipe.start.whiten and not isinstance(layers.get(recipe.start.whiten.removeprefix("features.")), Conv2d):
        overrides["start.whiten"] = ""
    if any(pattern.startswith("features.") and pattern != "features.*" for pattern in recipe.train.frozen):
        blocks = [path for path, layer in layers.items() if path and "." not in path and _has_weights(layer)]
        frozen = [f"features.{name}.*" for name in blocks[: len(blocks) - max(1, len(blocks) // TRAINED_DIVISOR)]]
        norms = (
            ["features.*norm*"] if any("norm" in path and _has_weights(layer) for path, layer in layers.items()) else []
        )
        overrides["train.frozen"] = frozen + norms
    return overrides


def _has_weights(layer: Layer) -> bool:
    """Return whether a layer has weights or buffers."""
    return any(sublayer.decayed or sublayer.buffers for _, sublayer in walk(layer))
