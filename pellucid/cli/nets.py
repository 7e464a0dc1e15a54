"""A network to look at: a trained model's, or what a recipe would start with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pellucid import assets
from pellucid.cli.models import open_model
from pellucid.errors import PellucidError, nearest
from pellucid.layers.base import Layer, Params, Shape
from pellucid.losses.base import Loss
from pellucid.train.job import check_network
from pellucid.train.recipe import load_recipe, parse_overrides
from pellucid.train.recipes.material import input_shape


@dataclass(frozen=True, eq=False)
class Net:
    """A network with its parameters, its loss, and the shapes of one input and of its output."""

    net: Layer
    params: Params
    loss: Loss
    input_shape: Shape
    output_shape: Any  # a tuple of shapes for several outputs


def open_net(what: str, settings: list[str], data: str | None) -> Net:
    """Return the network of a model, else of a recipe; PellucidError with the nearest name when it is neither."""
    if _is_recipe(what, settings):
        recipe = load_recipe(what, parse_overrides(settings))
        net: Layer = recipe.build("network")
        shape = input_shape(recipe.data, data)
        check_network(recipe, net, shape)
        params, out = net.init(shape, torch.Generator().manual_seed(recipe.recipe.seed))
        return Net(net, params, recipe.build("loss"), shape, out)
    if settings:
        raise PellucidError(f"{what} is no recipe, so {settings[0]!r} changes nothing; give only a recipe settings")
    known = sorted({*assets.recipe_names(), *assets.pretrained_names()})
    if not Path(what).exists() and not Path(what).suffix and "/" not in what and what not in known:
        hint = nearest(what, known) or f"; known: {', '.join(known)}"
        raise PellucidError(f"no model or recipe {what!r}{hint}")
    model = open_model(what)
    return Net(model.net, model.params, model.loss, model.input_shape, model.output_shape)


def _is_recipe(what: str, settings: list[str]) -> bool:
    """Tell a recipe: a TOML file, or a built-in name unless a pretrained model has it and no settings are given."""
    named = what in assets.recipe_names() and (bool(settings) or what not in assets.pretrained_names())
    return named or Path(what).suffix == ".toml"
