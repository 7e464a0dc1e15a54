"""Make the doctor's cases of detectors from a run folder with its recipe, or from a model and its data set."""

import os
from dataclasses import replace

from pellucid.data import Augment, DetectionFolder, Source
from pellucid.data.formats import ANNOTATION_FORMATS
from pellucid.errors import PellucidError
from pellucid.model import Model
from pellucid.recipe.doctor_case import read_history
from pellucid.recipe.job import build_model, load_data
from pellucid.recipe.material import (
    Material,
    check_data_exists,
    check_data_in_run_folder,
    data_and_root,
    is_annotated,
    is_data_root,
    load_material,
)
from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.tables import Data
from pellucid.run.folder import RunFolder
from pellucid.task import task_of
from pellucid.tasks.detect.doctor import DetectionCase, detection_case


def case_of_detector(run: str | os.PathLike[str], data: str | None = None) -> DetectionCase:
    """Return the case of a detector's run folder, with its best, otherwise its last, otherwise its initial weights.

    data: another annotated data set to examine the model with, or the root of the data sets; None for the run's own.
    """
    folder = RunFolder(run)
    recipe = load_recipe(folder.recipe)
    recipe = replace(recipe, recipe=replace(recipe.recipe, device="cpu"))
    root = data if data is None or is_data_root(recipe.data.name, data) else None
    if data is None:
        check_data_in_run_folder(recipe.data.name, folder.recipe)
    elif root is None:
        recipe = replace(recipe, data=replace(recipe.data, name=data))
    weights_file = next((path for path in (folder.best, folder.last) if path.is_file()), None)
    saved_model = None if weights_file is None else Model.load(weights_file)
    check_is_annotated(recipe.data.name)
    material = load_data(recipe, root)
    if saved_model is not None:
        material = with_classes_of(saved_model, material, data or recipe.data.name)

    def begin() -> Model:
        return build_model(recipe, material.train, root, None if saved_model is None else saved_model.preprocess)

    model = begin() if saved_model is None else saved_model
    return detection_case(
        model, material.train, material.validation or material.test, read_history(folder.path),
        batch_size=recipe.train.batch_size, epochs=recipe.train.epochs,
        augment=None if recipe.augment == Augment() else recipe.augment, begin=begin,
    )  # fmt: skip


def case_of_detector_model(model: Model, data: str | None = None) -> DetectionCase:
    """Return the case of a detector without its recipe; data: another data set, or None for the model's own."""
    name, root = data_and_root(model, data)
    check_is_annotated(name)
    material = load_material(Data(name, size=model.preprocess.get("size") or 0), 0, root)
    material = with_classes_of(model, material, data or name)
    return detection_case(model, material.train, material.test)


def check_is_annotated(name: str) -> None:
    """Raise PellucidError for data that do not exist, and for data without annotated objects."""
    check_data_exists(name)
    if not is_annotated(name):
        raise PellucidError(f"{name} has no annotated objects; give images with annotations of {ANNOTATION_FORMATS}")


def with_classes_of(model: Model, material: Material[Source], name: str) -> Material[Source]:
    """Return annotated images with the class indices of a model; raises PellucidError for a class that it lacks."""
    classes = model.classes

    def convert(part: Source) -> Source:
        assert isinstance(part, DetectionFolder)
        task_of(model).check_data(model, part, name)
        return part if classes is None or part.classes == classes else part.with_classes(classes)

    return material.map(convert)
