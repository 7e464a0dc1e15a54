"""The doctor's checks of generators, one per file; causes come before their consequences."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.data import Dataset, Splits
from pellucid.data.detection import images_alone
from pellucid.doctor import run_case
from pellucid.doctor.case import Case
from pellucid.doctor.checks import constant_inputs, duplicated_inputs
from pellucid.doctor.finding import Check
from pellucid.model import Model
from pellucid.recipe.material import Material, load_material
from pellucid.recipe.model_data import check_data_exists, data_and_root, is_data_root, table_for
from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.tables import Data
from pellucid.run.history import History

CHECKS: tuple[Check, ...] = (constant_inputs.CHECK, duplicated_inputs.CHECK)


def with_image_targets(case: Case) -> Case:
    """Return the case with each image as its own target, since samples are compared with images."""
    validation = case.validation and replace(case.validation, y=case.validation.x)
    return replace(case, train=replace(case.train, y=case.train.x), validation=validation)


def case_of_run(run: Path, data: str | None = None) -> Case:
    """Return the case of a generator's run folder.

    data: other images, which are resized as in the recipe, or the root of the data sets; None for the run's own data.
    """
    recipe = load_recipe(run / "recipe.toml")
    if data is None:
        return with_image_targets(run_case.case_of_run(run))
    has_root = is_data_root(recipe.data.name, data)
    if not has_root:
        check_data_exists(data)
    name = recipe.data.name if has_root else data
    data_table = Data(name, recipe.data.validation, size=recipe.data.size, mode=recipe.data.mode)
    material: Any = load_material(data_table, recipe.recipe.seed, data if has_root else None).map(images_alone)
    return with_image_targets(run_case.case_of_run(run, data, material))


def case_of_model(model: Model, data: str | None = None, history: History | None = None) -> Case:
    """Return the case of a generator without its recipe, with its own data set or other images."""
    name, root = data_and_root(model, data)
    check_data_exists(name)
    material: Material[Dataset] = load_material(table_for(model.nominal_shape, name), 0, root).map(images_alone)  # type: ignore[assignment]
    return with_image_targets(run_case.case_of_splits(model, Splits(material.train, material.test), history))
