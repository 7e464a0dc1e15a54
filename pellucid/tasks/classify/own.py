"""The recipe for a user's own images in class folders: `pellucid train classify DATA`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.data import CATALOGUE, ImageFolder, data_root
from pellucid.data.class_folders import class_parts, root_of
from pellucid.data.tree import open_tree
from pellucid.recipe.checked.collection import class_weights, imbalance
from pellucid.recipe.checked.findings import MIN_IMBALANCE
from pellucid.recipe.labelled import images_of, planned_parts, table_settings, targets_of_part
from pellucid.recipe.own import training_length
from pellucid.task import OwnRecipe

RECIPE = "signs-best"  # starts from the shipped model `cifar`
TRAINING_STEPS = 500  # about five minutes on two cores
BATCH_SIZE = 32
MIN_EPOCHS = 12


def recipe_for(data: str, root: Any = None) -> OwnRecipe:
    """Return the recipe that fine-tunes a shipped network, with class weights if the class sizes differ much.

    Raises PellucidError for data that are not images in class folders, and for a single class.
    """
    entry = CATALOGUE.get(data)
    if entry is not None and entry.kind != "images":
        raise PellucidError(f"{data} has no image files in class folders; train with a recipe: `pellucid recipes`")
    path = data_root(root) / entry.path if entry else Path(data)
    with open_tree(path) as tree:
        part = class_parts(tree, root_of(tree)).train
    images = ImageFolder(path, part or "")
    assert images.classes is not None  # an ImageFolder always has classes
    counts = torch.bincount(images.labels, minlength=len(images.classes)).tolist()
    if len(counts) < 2:
        raise PellucidError(f"{path} has one class folder, {images.classes[0]!r:.60}; give at least two classes")
    length = training_length(TRAINING_STEPS, len(images), BATCH_SIZE, MIN_EPOCHS)
    return OwnRecipe(RECIPE, {**class_settings(counts), **length})


def table_recipe(data: str, settings: Mapping[str, Any]) -> OwnRecipe:
    """Return the recipe for a table with one class or several labels for each image.

    settings: the user's settings, of which those of [data] say how the table is read. Raises PellucidError for a table
    that cannot be read or understood.
    """
    parts = planned_parts(data, settings, RECIPE, None)
    format_found, y = images_of(parts.train).format_found, targets_of_part(parts.train)
    common = table_settings(parts, TRAINING_STEPS, BATCH_SIZE, MIN_EPOCHS)
    if format_found.kind == "class":
        return OwnRecipe(
            RECIPE, {**common, **class_settings(torch.bincount(y, minlength=len(format_found.names)).tolist())}
        )
    return OwnRecipe(RECIPE, {
        **common,
        "data.labels": "several",
        "network.classes": len(format_found.names),
        "loss.name": "binary_cross_entropy",
        "train.metrics": ["multilabel"],
    })  # fmt: skip


def class_settings(counts: Sequence[int]) -> dict[str, Any]:
    """Return the settings that depend on the classes: their number, and weights if the classes are imbalanced.

    counts: the number of training images of each class.
    """
    settings: dict[str, Any] = {"network.classes": len(counts)}
    if imbalance(counts) >= MIN_IMBALANCE:
        settings["loss.class_weights"] = [round(weight, 6) for weight in class_weights(counts)]
    return settings
