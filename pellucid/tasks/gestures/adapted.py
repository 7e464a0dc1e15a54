"""What the recipes' paths, written for their own network, mean in another one."""

from typing import Any

from pellucid.combine.base import walk
from pellucid.layers import Conv2d
from pellucid.layers.base import Layer
from pellucid.models import features
from pellucid.recipe.recipe import Recipe

LAST = 3  # one part of so many of the backbone counts as its last blocks


def adapted(recipe: Recipe) -> dict[str, Any]:
    """Return the overrides that let a recipe of the comparison fit the network that it now has.

    Where some of the features learn and some do not, it is the last third of their parts that does, by frozen norms;
    where filters of the first convolution are whitened and the network has no such convolution, they are drawn.
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
