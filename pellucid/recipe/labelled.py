"""Tables of labels in recipes: how a recipe's table is read, its parts, and the settings that depend on its labels."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_once
from pellucid.data import CATALOGUE
from pellucid.data.class_folders import MASK_FOLDERS, class_of, class_parts, files_of, root_of
from pellucid.data.detection import has_objects
from pellucid.data.labelled_images import TableImages, TableParts, load_table, parts_of
from pellucid.data.parts import standard_part
from pellucid.data.source import Subset
from pellucid.data.table_files import has_table, table_files
from pellucid.data.table_targets import TableFormat, TargetKind
from pellucid.data.tables import TABLE_SUFFIXES
from pellucid.data.tree import open_tree
from pellucid.losses.regression import RegressionLoss
from pellucid.objective import Supervised
from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.tables import Data

VALIDATION_FRACTION = 0.15  # of the training images, if the table names no validation part
LABEL_STEMS = ("_classes", "labels")  # names of tables that count beside class folders
LABEL_KINDS: dict[str, TargetKind | None] = {"auto": None, "one": "class", "several": "labels"}


def is_table(name: str, *, over_class_folders: bool = False) -> bool:
    """Return whether `name` is a table of labels, or a folder or zip with one, and no data set of the catalogue.

    over_class_folders: whether the table counts in a folder that also has class folders. Otherwise, it must have a name
    in LABEL_STEMS, since it may say other things about the pictures, such as their source.
    """
    if name in CATALOGUE or not Path(name).exists():
        return False
    if Path(name).suffix.lower() in TABLE_SUFFIXES:
        return True
    if not has_table(name) or has_objects(name):
        return False
    _, (table, *_) = table_files(Path(name))
    is_for_all_pictures = (
        bool(table.part) or not table.folder
    )  # not of the pictures of one folder, which may be a class
    is_table_of_labels = is_for_all_pictures and PurePosixPath(table.name).stem.lower() in LABEL_STEMS
    if over_class_folders or is_table_of_labels or not _has_class_folders(name):
        return True
    note_once(f"{name}: the labels are its class folders; to use the table {table.name:.80}, give its path")
    return False


def table_beside_pictures(name: str) -> bool:
    """Return whether a folder without class folders has a table, so that an error of the table is what a user needs."""
    is_without_objects = name not in CATALOGUE and Path(name).exists() and not has_objects(name)
    _, tables = table_files(Path(name)) if is_without_objects else (None, [])
    return bool(tables) and not _has_class_folders(name)


def _has_class_folders(name: str) -> bool:
    """Return whether a folder or zip has two folders of pictures that are neither parts, images nor masks."""
    try:
        with open_tree(name) as tree:
            root = root_of(tree)
            train = class_parts(tree, root).train
            prefix = f"{root}{train}/" if train else root
            folders = {class_of(file, prefix) for file in files_of(tree, prefix)}
    except PellucidError:  # parts without a training part
        return False
    return sum(not standard_part(folder) and folder.lower() not in ("images", *MASK_FOLDERS) for folder in folders) > 1


def format_of(table: Data, kind: TargetKind | None) -> TableFormat:
    """Return how the table [data] says that labels are read; kind: what they are, None for one class or several."""
    if kind is None:
        kind = LABEL_KINDS[table.labels]
    return TableFormat(kind, table.files, table.columns, table.split, table.separator, table.units)


def kind_for(objective: Any) -> TargetKind:
    """Return the kind of targets that an objective learns from a table: by its loss, otherwise one class."""
    loss = objective.loss if isinstance(objective, Supervised) else None
    if isinstance(loss, RegressionLoss):
        return "numbers"
    return "labels" if getattr(loss, "multilabel", False) else "class"


def read_table_parts(objective: Any, table: Data) -> tuple[Subset, ...] | None:
    """Return the training, the test and, if the table names one, the validation part; None for other data."""
    target_kind = kind_for(objective)
    if not is_table(table.name, over_class_folders=target_kind == "numbers" or bool(table.files or table.columns)):
        return None
    size = (table.size, table.size) if table.size else None
    images = load_table(table.name, format_of(table, target_kind), size=size, mode=table.mode, stream=table.stream)
    parts = parts_of(images)
    return (parts.train, parts.test) if parts.validation is None else (parts.train, parts.test, parts.validation)


def planned_parts(data: str, settings: Mapping[str, Any], recipe: str, kind: TargetKind | None) -> TableParts:
    """Return the parts of a table that a user gives to a command, read as the settings say.

    recipe: the name of a built-in recipe that the settings change.
    """
    data_settings = {key: value for key, value in settings.items() if key.startswith("data.")}
    table = load_recipe(recipe, data_settings).data
    return parts_of(load_table(data, format_of(table, kind)))


def table_settings(parts: TableParts) -> dict[str, Any]:
    """Return the settings of a recipe for the parts of a table: the recognized columns, and the validation part."""
    format_found = images_of(parts.train).format_found
    return {
        "data.files": format_found.files,
        "data.columns": list(format_found.columns),
        "data.split": format_found.split,
        "data.separator": format_found.separator,
        "data.validation": 0.0 if parts.validation is not None else VALIDATION_FRACTION,
    }


def images_of(part: Subset) -> TableImages:
    """Return the images of a table of which a part has some."""
    if not isinstance(part.source, TableImages):
        raise PellucidError("these examples are not from a table of labels; give data with a table")
    return part.source


def targets_of_part(part: Subset) -> torch.Tensor:
    """Return the targets of a part of a table."""
    return images_of(part).y[part.indices]
