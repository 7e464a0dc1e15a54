"""Recipe settings that depend on the network, and on the backbone from which it starts."""

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.combine.base import walk
from pellucid.data.loader import steps_per_epoch
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

INPUT_SIDE = 96  # pixels, the input size for networks of ImageNet; training at their 224 is too slow on a CPU
# Networks that cannot be backbones: the layers of MLPs and transformers depend on the size of the images, and the
# others generate images or classify patches of them.
NOT_BACKBONES = ("mlp", "vit", "swin", "unet_generator", "resnet_generator", "patch_discriminator")


def backbone_settings(name: str, root: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Return the overrides that make a recipe start from a backbone: `start.weights`, its network and image size.

    name: as in `start.weights`. For a published weights file, the names of its tensors determine the network. For a
    model saved by Pellucid, it is the network of the zoo with the same features; without one, the network of the
    recipe is left unchanged. Raises PellucidError if there is no such file, or no known network for it.
    """
    path = source_file(name, root)
    settings: dict[str, Any] = {"start.weights": str(path) if name in CATALOGUE else name}
    if is_pellucid_file(path):
        return {**settings, **_zoo_network(Model.load(path).net)}
    model_and_options = _published_network(open_weights(path))
    if model_and_options is None:
        raise PellucidError(f"{path} has weights of an unknown network; `pellucid weights list` shows the known ones")
    model, options = model_and_options
    return {
        **settings,
        "network.model": model,
        **{f"network.{key}": value for key, value in options.items()},
        "data.size": INPUT_SIDE,
    }


def _zoo_network(net: Layer) -> dict[str, Any]:
    """Return the settings for the network of the zoo that has the same features as `net`, {} if there is none."""
    expected_features = features(net)
    zoo = (name for name in MODELS if name not in NOT_BACKBONES)
    return next(({"network.model": name} for name in zoo if features(MODELS[name]()) == expected_features), {})


def _published_network(tensor_names: Iterable[str]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the largest network whose feature tensors are all in `tensor_names`, and its options; None without one."""
    tensors = dict.fromkeys(tensor_names, torch.empty(0))  # only the names matter
    largest_network: tuple[int, str, Mapping[str, Any]] | None = None
    for naming in NAMINGS:
        for model in naming.models:
            translated, unmatched = translate(naming, model, tensors)
            if len(translated) <= len(unmatched):
                continue
            with torch.device("meta"):  # shapes only
                params, _ = features(MODELS[model](**naming.model_arguments)).init((3, 224, 224), torch.Generator())
            expected_names = {f"features.{path}" for path in flatten(params)}
            settled_names = fit_architecture(naming, expected_names, translated)
            if expected_names <= set(settled_names) and (
                largest_network is None or len(expected_names) > largest_network[0]
            ):
                largest_network = (len(expected_names), model, naming.model_arguments)
    return None if largest_network is None else largest_network[1:]


MIN_STEPS = 300  # of a training; small collections are therefore trained for more epochs


def enough_epochs(recipe: Recipe, examples: int) -> int:
    """Return the epochs of a recipe, or as many as make MIN_STEPS steps on a number of training examples."""
    return max(recipe.train.epochs, math.ceil(MIN_STEPS / steps_per_epoch(examples, recipe.train.batch_size)))


TRAINED_DIVISOR = 3  # the last n // 3 of n blocks are trained, at least one


def adapted_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the overrides that adapt a recipe of the comparison to its network.

    If the recipe freezes some of the features, all blocks but the last third and all normalization layers are frozen.
    If it whitens the filters of a convolution that the network does not have, whitening is turned off.
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
