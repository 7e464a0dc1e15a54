"""Checks that a recipe's network fits its images, their classes and this machine."""

import math
import os
from collections.abc import Sequence
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.layers.base import Layer, Shape
from pellucid.nested import leaves
from pellucid.network.ending import check_classes
from pellucid.objective import Objective
from pellucid.recipe.recipe import Recipe

COPIES_PER_PARAMETER = 4  # tensors per parameter: itself, its gradient, and two of optimizer state


def check_objective(recipe: Recipe, objective: Objective, shape: Shape, classes: Sequence[str] | None) -> None:
    """Raise PellucidError for an objective that does not fit the images, their classes, or this machine's memory."""
    _check_can_exist(recipe, objective, shape, "objective")
    if classes is not None:
        try:
            objective.check_classes(classes, recipe.data.name)
        except PellucidError as error:
            raise PellucidError(f"{recipe.name}: {error}") from error


def check_network(recipe: Recipe, net: Layer, shape: Shape, classes: Sequence[str] | None = None) -> None:
    """Raise PellucidError for a network that does not fit the images, the classes (if known), or the memory."""
    sizes, n_values = recipe.network.arguments.get("sizes"), math.prod(shape)
    if sizes is not None and sizes[0] != n_values:
        raise PellucidError(
            f"{recipe.name}: network.sizes begins with {sizes[0]}, but an image of {recipe.data.name} has {n_values} "
            f"values ({' x '.join(map(str, shape))}); begin with {n_values}"
        )
    output_shape = _check_can_exist(recipe, net, shape, "network")
    check_classes(output_shape, classes, f"{recipe.name}: ", _size_advice(recipe, classes or ()))


def _check_can_exist(recipe: Recipe, net: Layer | Objective, shape: Shape, table: str) -> Any:
    """Return the shape of the outputs; raises PellucidError for impossible sizes or too little memory."""
    try:
        with torch.device("meta"):  # shapes only
            params, output_shape = net.init(shape, torch.Generator())
    except PellucidError as error:
        raise PellucidError(f"{recipe.name}: {error}") from error
    except (RuntimeError, OverflowError) as error:  # sizes that no tensor can have
        reason = " ".join(str(error).split())[:200]
        raise PellucidError(f"{recipe.name}: no such network can exist ({reason}); make [{table}] smaller") from error
    needed_bytes = 4 * sum(leaf.numel() for leaf in leaves(params)) * COPIES_PER_PARAMETER  # 4 for each float32
    if needed_bytes > memory_bytes():
        raise PellucidError(
            f"{recipe.name}: training this network needs {needed_bytes / 2**30:,.0f} GiB, and this machine has "
            f"{memory_bytes() / 2**30:,.0f} GiB; make [{table}] smaller"
        )
    return output_shape


def _size_advice(recipe: Recipe, classes: Sequence[str]) -> str:
    """Return the setting that gives the network one output for each class, as advice; "" if there is none."""
    if "classes" in recipe.network.arguments:
        return f"set network.classes={len(classes)}"
    return f"end network.sizes with {len(classes)}" if "sizes" in recipe.network.arguments else ""


def memory_bytes() -> int:
    """Return the size of this machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
