"""Build cases for the doctor: from a run folder with its recipe, or from a model and its data set."""

import os
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.data import CATALOGUE, Splits
from pellucid.doctor import Case, arrays_of
from pellucid.doctor.rehearsal import reinitialized, with_copied_weights
from pellucid.model import Model
from pellucid.nested import flatten
from pellucid.recipe.build import build_model
from pellucid.recipe.job import augmentation, data_in_task_format, load_data
from pellucid.recipe.material import SHAPES, Material, is_annotated, load_arrays, load_splits
from pellucid.recipe.model_data import (
    check_data_exists,
    check_data_in_run_folder,
    data_and_root,
    data_for_model,
    is_data_root,
    table_for,
)
from pellucid.recipe.recipe import Recipe, recipe_of_run
from pellucid.recipe.threads import recorded_threads
from pellucid.run.folder import RunFolder
from pellucid.run.history import History, check_columns
from pellucid.task import task_of
from pellucid.training.callbacks import snapshot_files
from pellucid.training.diagnose import StoppedError
from pellucid.training.examples import examples
from pellucid.training.model import BaseModel


def case_of_run(
    path: str | os.PathLike[str],
    data: str | None = None,
    material: Material[Any] | None = None,
) -> Case:
    """Return the case of a run folder that `pellucid train` wrote, finished or not.

    The model is built from the recipe. It gets the first weights that exist: the best ones of the run, the last ones,
    those of the latest epoch in train.keep, or newly drawn ones. data: another data set or image folder to examine the
    model with, or the root of the data sets. material: the run's data, if the recipe's [data] does not determine it.
    Raises PellucidError for a folder without a recipe, for missing data, for weights that do not match the network, and
    for an invalid metrics.csv.
    """
    folder = RunFolder(path)
    recipe = recipe_to_examine(folder)
    root = data if data is None or is_data_root(recipe.data.name, data) else None
    loaded_model = saved_model(folder)
    if material is None:
        if data is None:
            check_data_in_run_folder(recipe.data.name, folder.recipe)
        material = _load_material(recipe, None if _names_same_data(data, recipe.data.name) else data, loaded_model)
    if loaded_model is not None:
        task_of(loaded_model).check_data(
            loaded_model, material.train, recipe.data.name if root or data is None else data
        )
    initial_model = build_model(
        recipe, material.train, root, None if loaded_model is None else loaded_model.preprocess, folder
    )
    model = with_copied_weights(initial_model)
    if loaded_model is not None:
        copy_weights(model, loaded_model, folder)
    try:
        train, validation = (
            model.fitting(arrays_of(data_set, None, name, model.classes, model.seed), name)
            for name, data_set in (("x", material.train), ("validation", material.validation or material.test))
        )
    except PellucidError as error:
        raise PellucidError(f"{data or recipe.data.name} does not fit the model of {folder.path}: {error}") from error
    history = read_history(folder.path)
    return Case(
        model,
        train,
        validation,
        lambda: with_copied_weights(initial_model),
        min(recipe.train.batch_size, len(train)),
        recipe.train.epochs,
        history,
        StoppedError.read(folder.error) or "",
        augmentation(recipe, material),
        notes=_interruption_notes(folder, history, recipe.train.epochs),
    )


def recipe_to_examine(folder: RunFolder) -> Recipe:
    """Return the recipe of a run, for the CPU, since this machine may lack the run's device."""
    if not folder.recipe.is_file():
        raise PellucidError(f"{folder.path} contains no recipe.toml; give a run folder that `pellucid train` began")
    recipe = recipe_of_run(folder.path)
    threads = recorded_threads(folder) if recipe.recipe.threads == "auto" else recipe.recipe.threads
    return replace(recipe, recipe=replace(recipe.recipe, device="cpu", threads=threads))


def saved_model(folder: RunFolder) -> Model | None:
    """Return the model of a run's best weights, else of its last, else of its latest epoch that was kept; or None.

    A weights file does not contain the settings of the training, such as the optimizer: the recipe has them.
    """
    epoch_weights = snapshot_files(folder.weights)  # in ascending order
    files = (folder.best, folder.last, *reversed(epoch_weights.values()))
    weights = next((file for file in files if file.is_file()), None)
    return None if weights is None else Model.load(weights)


def _interruption_notes(folder: RunFolder, history: History | None, epochs: int) -> tuple[str, ...]:
    """Return a note on how to resume an interrupted run, or on missing weights; () if neither applies."""
    n_finished = 0 if history is None else int(history.last["epoch"])
    is_complete = (folder.path / "results.json").is_file()
    if not (is_complete or folder.error.is_file() or n_finished >= epochs):
        stop_position = f"after epoch {n_finished}" if n_finished else "before the end of epoch 1"
        return (
            f"stopped {stop_position} of {epochs}, unless it still runs; resume with "
            f"`pellucid train --resume {quote(str(folder.path))}`",
        )
    if is_complete and not (folder.best.is_file() or folder.last.is_file()):
        return (f"the run ended, but its weights are missing; put them back into {folder.weights}, or train again",)
    return ()


def read_history(folder: Path) -> History | None:
    """Return the history of a run, None before the end of its first epoch; raises PellucidError for invalid files."""
    if not (folder / "metrics.csv").is_file():
        return None
    history = History.read(folder)
    check_columns(folder / "metrics.csv", history.rows, ("train_loss",))
    check_columns(folder / "layers.csv", history.layers, ("update_ratio",))
    return history if history.rows else None


def case_of_model(model: Model, data: str | None = None, history: History | None = None) -> Case:
    """Return the case of a model without a recipe, whose training settings are unknown.

    data: see `splits_for`. history: the history of its training, if the folder of the weights has one.
    """
    return case_of_splits(model, splits_for(model, data), history)


def case_of_splits(model: Model, splits: Splits, history: History | None = None) -> Case:
    """Return the case of a model without a recipe on the data `splits`; history: see `case_of_model`."""
    train, test = examples(splits.train), examples(splits.test)
    return Case(
        model, model.fitting(train), model.fitting(test, "validation"), lambda: reinitialized(model), history=history,
        trainable=False,
    )  # fmt: skip


def splits_for(model: Model, data: str | None = None) -> Splits:
    """Load training and test data for a model.

    data: the name or folder of a data set, the root of the data sets, or None for the model's own data set. Raises
    PellucidError for a model that does not name its data, for missing data, and for classes that the model lacks.
    """
    shape = model.nominal_shape
    if len(shape) != 3:
        raise PellucidError(f"the model takes inputs of shape {shape}, not images; use model.doctor(x, y) in Python")
    name, root = data_and_root(model, data)
    check_data_exists(name)
    splits = load_splits(table_for(shape, name), root, getattr(model.loss, "ignore", None))
    return Splits(*(data_for_model(shape, model.classes, split) for split in (splits.train, splits.test)))


def _names_same_data(data: str | None, name: str) -> bool:
    """Return whether a user's argument names the data of a recipe: a data set, or a folder by any path."""
    if data is None or name in CATALOGUE:
        return data == name
    return Path(data).resolve() == Path(name).resolve()


def _load_material(recipe: Recipe, data: str | None, loaded_model: Model | None) -> Material[Any]:
    """Load the recipe's data, or another data set with the network's input shape and class indices."""
    ignored = recipe.loss.arguments.get("ignore")
    if data is None or is_data_root(recipe.data.name, data):
        return load_data(recipe, data)
    named_recipe = replace(recipe, data=replace(recipe.data, name=data))
    own_material = data_in_task_format(named_recipe)
    if own_material is not None:
        return own_material
    if is_annotated(data) and loaded_model is not None and len(loaded_model.output_shape) == 1:
        raise PellucidError(
            f"{data} has annotated objects, but the model outputs {plural(loaded_model.output_shape[0], 'value')} for "
            "an image; give "
            "images in one folder for each of its classes"
        )
    if is_annotated(data) or recipe.data.stream:
        return load_data(named_recipe)
    check_data_exists(data)
    table = recipe.data
    shape = SHAPES.get(table.name, (1 if table.mode == "L" else 3, table.size, table.size))
    shape = shape if loaded_model is None else loaded_model.nominal_shape
    arrays = load_arrays(
        replace(table_for(shape, data), validation=table.validation), recipe.recipe.seed, None, ignored
    )
    if loaded_model is None:
        return arrays
    task, objective = task_of(loaded_model), loaded_model.objective

    def convert(split: Any) -> Any:
        return task.examples(objective, data_for_model(shape, loaded_model.classes, split), data)

    return arrays.map(convert)


def copy_weights(model: BaseModel, loaded_model: Model, folder: RunFolder) -> None:
    """Copy weights and calibration of `loaded_model`, see `saved_model`; raises PellucidError if the shapes differ."""
    params, weights = flatten(model.params), flatten(loaded_model.params)
    if {path: value.shape for path, value in params.items()} != {path: value.shape for path, value in weights.items()}:
        raise PellucidError(
            f"{loaded_model.source} does not match the network of {folder.recipe}; give a run folder as "
            "`pellucid train` wrote it"
        )
    for path, value in params.items():
        value.copy_(weights[path])
    model.confidence = loaded_model.confidence
    model.source = loaded_model.source
