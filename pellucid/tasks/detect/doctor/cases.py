"""Make the doctor's cases of detectors from a run folder with its recipe, or from a model and its data set."""

import os
from dataclasses import replace

from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder, Source
from pellucid.data.format_names import ANNOTATION_FORMATS
from pellucid.doctor.run_case import copy_weights, read_history, recipe_to_examine, saved_model
from pellucid.model import Model
from pellucid.recipe.build import build_model
from pellucid.recipe.job import augmentation, load_data
from pellucid.recipe.material import Material, is_annotated, load_material
from pellucid.recipe.model_data import check_data_exists, check_data_in_run_folder, data_and_root, is_data_root
from pellucid.recipe.tables import Data
from pellucid.run.folder import RunFolder
from pellucid.task import task_of
from pellucid.tasks.detect.doctor import DetectionCase, detection_case
from pellucid.training.diagnose import StoppedError


def case_of_detector(run: str | os.PathLike[str], data: str | None = None) -> DetectionCase:
    """Return the case of a detector's run folder, with its best, otherwise its last, otherwise its initial weights.

    data: another annotated data set to examine the model with, or the root of the data sets; None for the run's own.
    """
    folder = RunFolder(run)
    recipe = recipe_to_examine(folder)
    root = data if data is None or is_data_root(recipe.data.name, data) else None
    if data is None:
        check_data_in_run_folder(recipe.data.name, folder.recipe)
    elif root is None:
        recipe = replace(recipe, data=replace(recipe.data, name=data))
    loaded = saved_model(folder)
    check_is_annotated(recipe.data.name)
    material = load_data(recipe, root)
    if loaded is not None:
        material = with_classes_of(loaded, material, data or recipe.data.name)
    preprocess = None if loaded is None else loaded.preprocess

    def begin() -> Model:
        """Return a model with the weights from which training starts."""
        return build_model(recipe, material.train, root, preprocess, folder)

    if loaded is None:
        model = begin()
    else:  # the weights that training starts from may be missing on this machine
        model = build_model(recipe, material.train, root, preprocess, folder, starts=False)
        copy_weights(model, loaded, folder)
    return detection_case(
        model, material.train, material.validation or material.test, read_history(folder.path),
        batch_size=recipe.train.batch_size, epochs=recipe.train.epochs, augment=augmentation(recipe, material),
        begin=begin, stopped=StoppedError.read(folder.error) or "",
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

    def convert(split: Source) -> Source:
        assert isinstance(split, DetectionFolder)
        task_of(model).check_data(model, split, name)
        return split if classes is None or split.classes == classes else split.with_classes(classes)

    return material.map(convert)
