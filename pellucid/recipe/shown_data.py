"""The page of the data of a recipe, or of data for which a task plans the recipe."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.settings.annotations import arguments_of
from pellucid.base.settings.checks import check_known
from pellucid.data import CATALOGUE
from pellucid.data.mask_settings import MaskSettings
from pellucid.model import Model
from pellucid.recipe.build import build_model
from pellucid.recipe.data_page import DataPage, page_of_parts
from pellucid.recipe.data_page.look import TEST, TRAINING, VALIDATION
from pellucid.recipe.job import augmentation, load_data
from pellucid.recipe.material import SHAPES, is_annotated, mask_parts_of
from pellucid.recipe.own import recipe_for, tasks_by_verb
from pellucid.recipe.recipe import Recipe, load_recipe
from pellucid.shipped_files import recipe_names


def page_of_recipe(recipe: Recipe, root: str | os.PathLike[str] | None = None, limit: int | None = None) -> DataPage:
    """Return the page of a recipe's data as its model receives them.

    root: the folder of the data sets. Images of the user's own folders are decoded on demand, so that only those that
    are shown and measured are read. If the model cannot be built, the page says why, and shows data without
    standardization. Raises PellucidError for data that cannot be read.
    """
    material, notes = load_data(_on_demand(recipe), root, decode_all=False), list[str]()
    model: Model | None = None
    try:
        model = build_model(recipe, material.train, root)
    except PellucidError as error:
        notes.append(f"The model of the recipe cannot be built: {error}. The data are shown without standardization.")
    parts = {TRAINING: material.train, VALIDATION: material.validation, TEST: material.test}
    return page_of_parts(
        parts, f"{recipe.data.name} ({recipe.name})", model, augmentation(recipe, material), limit, notes
    )


def _on_demand(recipe: Recipe) -> Recipe:
    """Return a recipe whose images are decoded on demand, if they are files that are read in one size."""
    table = recipe.data
    entry = CATALOGUE.get(table.name)
    are_files = os.path.exists(table.name) if entry is None else entry.kind == "images"
    can_stream = are_files and table.size and not table.check
    return replace(recipe, data=replace(table, stream=True)) if can_stream else recipe


def planned_recipe(
    data: str,
    verb: str | None = None,
    root: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Recipe:
    """Return the recipe that `pellucid train TASK DATA` uses; verb: the TASK, by default the first that fits the data.

    For a data set that no task takes, it is the first built-in recipe of this data set. root: the folder of the data
    sets. overrides: settings of the user. Raises PellucidError, with the error of each task, if none fits.
    """
    errors: list[str] = []
    verbs = [*tasks_by_verb()] if verb is None else [verb]
    overrides = overrides or {}
    has_mask_settings = any(f"data.{key}" in overrides for key in arguments_of(MaskSettings))
    if has_mask_settings or is_annotated(data) or mask_parts_of(data):
        # Classification, the first, would take the parts for classes.
        verbs = verbs[1:] + verbs[:1]
    for candidate_verb in verbs:
        try:
            check_known("no task", candidate_verb, [*tasks_by_verb()])
            return recipe_for(candidate_verb, data, overrides, root)[0]
        except PellucidError as error:
            errors.append(f"{candidate_verb}: {error}")
    if verb is None and (data in CATALOGUE or data in SHAPES):
        recipes = map(load_recipe, recipe_names())
        if recipe_of_data := next((recipe for recipe in recipes if recipe.data.name == data), None):
            return recipe_of_data
    raise PellucidError("; ".join(errors) if len(errors) > 1 else errors[0].partition(": ")[2])
