"""The doctor's checks of generators, one per file; causes come before their consequences."""

from pathlib import Path
from typing import Any

from pellucid.data import Dataset, Splits
from pellucid.data.detection import images_alone
from pellucid.doctor import run_case
from pellucid.doctor.checks import constant_inputs, duplicated_inputs
from pellucid.doctor.finding import Check
from pellucid.model import Model
from pellucid.recipe.material import Material, load_material
from pellucid.recipe.model_data import check_data_exists, data_and_root, is_data_root, table_for
from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.tables import Data
from pellucid.run.history import History
from pellucid.tasks.generate.doctor import collapsed_samples
from pellucid.tasks.generate.doctor.case import GeneratorCase

CHECKS: tuple[Check, ...] = (constant_inputs.CHECK, duplicated_inputs.CHECK, collapsed_samples.CHECK)


def case_of_run(run: Path, data: str | None = None) -> GeneratorCase:
    """Return the case of a generator's run folder.

    data: other images, which are resized as in the recipe, or the root of the data sets; None for the run's own data.
    """
    recipe = load_recipe(run / "recipe.toml")
    if data is None:
        return GeneratorCase.of(run_case.case_of_run(run))
    has_root = is_data_root(recipe.data.name, data)
    if not has_root:
        check_data_exists(data)
    name = recipe.data.name if has_root else data
    data_table = Data(name, recipe.data.validation, size=recipe.data.size, mode=recipe.data.mode)
    material: Any = load_material(data_table, recipe.recipe.seed, data if has_root else None).map(images_alone)
    return GeneratorCase.of(run_case.case_of_run(run, data, material))


def case_of_model(model: Model, data: str | None = None, history: History | None = None) -> GeneratorCase:
    """Return the case of a generator without its recipe, with its own data set or other images."""
    name, root = data_and_root(model, data)
    check_data_exists(name)
    material: Material[Dataset] = load_material(table_for(model.nominal_shape, name), 0, root).map(images_alone)  # type: ignore[assignment]
    return GeneratorCase.of(run_case.case_of_splits(model, Splits(material.train, material.test), history))
