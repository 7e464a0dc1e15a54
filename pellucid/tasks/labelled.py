"""The images of a table of labels on which a model is evaluated."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.text import note, plural
from pellucid.data import Arrays
from pellucid.data.dataset import Dataset, make_dataset
from pellucid.data.labelled_images import TableImages, load_table, parts_of
from pellucid.data.parts import parts_among
from pellucid.data.seeds import generator
from pellucid.data.source import Subset
from pellucid.data.table_files import table_columns, table_files
from pellucid.data.table_targets import TableFormat, TargetKind
from pellucid.data.tables import TABLE_SUFFIXES
from pellucid.model import Model
from pellucid.recipe.labelled import images_of, is_table
from pellucid.recipe.model_data import data_and_root, data_name, run_folder_of
from pellucid.run.folder import RunFolder
from pellucid.run.records import read_object
from pellucid.tasks.annotated import mode_of


def about_table(model: Model) -> Mapping[str, Any]:
    """Return what a model's targets were in its table; {} for a model of other data."""
    return model.preprocess.get("table", {})


def has_kind(model: Model, kind: TargetKind) -> bool:
    """Return whether a model was trained on targets of this kind from a table."""
    return about_table(model).get("kind") == kind


def held_out_part(model: Model, data: str | None) -> Subset:
    """Return the images of a table on which a model is evaluated.

    data: a table, or a folder or zip with one; None for the model's own. Of the table of the model's training, the test
    part of the training is returned; of another one, its test or validation part, without parts all images, but no
    pictures of the training. Raises PellucidError for a table that lacks the model's columns.
    """
    name, _ = data_and_root(model, data)
    if not _is_table_for(model, name):
        raise PellucidError(f"{name} is no table of labels; give a table, or a folder with one, with --data")
    _, height, width = model.nominal_shape
    images = load_table(name, _format_for(model, name), size=(height, width), mode=mode_of(model))
    if _is_own_table(model, name):
        return _part_of_training(model, images)
    held_out = parts_among({*images.parts}).held_out
    indices = [k for k, part in enumerate(images.parts) if held_out in (None, part)]
    return Subset(images, torch.tensor(_unseen(model, images, indices)))


def _is_table_for(model: Model, name: str) -> bool:
    return is_table(name, over_class_folders=bool(about_table(model)))


def _is_own_table(model: Model, name: str) -> bool:
    """Return whether a path names the table of a model's training, by the table or by its folder."""
    if not data_name(model):
        return False
    path, own = Path(name).resolve(), Path(data_name(model)).resolve()
    # The model's file may be somebody else's, so that no folder is opened that only it names.
    is_near = path.parent == own or own.parent == path
    return path == own or (is_near and _tables(path) == _tables(own))


def _tables(path: Path) -> set[Path]:
    folder, files = table_files(path)
    return {(folder / file.name).resolve() for file in files}


def _unseen(model: Model, images: TableImages, indices: Sequence[int]) -> list[int]:
    """Return the indices of images without the pictures that the run's split.json has in its training part."""
    path, record = images.tree.path, _recorded_parts(model)
    names = [*map(str, record.get("train", ()))]
    own = Path(data_name(model)).resolve()
    folder = own.parent if own.suffix.lower() in TABLE_SUFFIXES else own
    trained_on = {os.path.realpath(folder / name) for name in names}
    unseen = [k for k in indices if os.path.realpath(path / images.names[k]) not in trained_on]
    if not unseen:
        raise PellucidError(f"{path}: the model was trained on all {len(indices):,} pictures; give others")
    if len(unseen) < len(indices):
        note(f"{path}: {plural(len(indices) - len(unseen), 'picture')} of the model's training left out")
    n_same = len({*names} & {images.names[k] for k in unseen})
    if n_same:
        note(f"{path}: {plural(n_same, 'picture')} named as in the model's training, which may be copies")
    return unseen


def _format_for(model: Model, name: str) -> TableFormat:
    """Return how a table is read for a model: with the columns of its training that the table has."""
    about, columns = about_table(model), table_columns(name)
    kind: TargetKind = about.get("kind", "class")
    requested = tuple(about.get("columns", ()))
    if not {*requested} <= {*columns}:
        if kind == "numbers":
            missing = ", ".join(repr(column) for column in requested if column not in columns)
            raise PellucidError(
                f"{name} has no column {missing:.200}, which the model predicts; give data with this column"
            )
        requested = ()
    files, split = (text if (text := about.get(key, "")) in columns else "" for key in ("files", "split"))
    names = tuple(about.get("names", model.classes or ()))
    units = tuple(about.get("units", ()))
    return TableFormat(kind, files, requested, split, about.get("separator", "") if requested else "", units, names)


def _part_of_training(model: Model, images: TableImages) -> Subset:
    """Return the test part of a model's training: that of the run's split.json, otherwise drawn as in the training."""
    names = _recorded_parts(model).get("test")
    if names is None:
        return parts_of(images).test
    held_out = {*map(str, names)}
    indices = [k for k, name in enumerate(images.names) if name in held_out]
    if not indices:
        raise PellucidError(f"{images.tree.path}: none of the {len(held_out):,} test images of the training is left")
    if len(indices) < len(held_out):
        note(f"{images.tree.path}: {plural(len(held_out) - len(indices), 'test image')} of the training are missing")
    return Subset(images, torch.tensor(indices))


def _recorded_parts(model: Model) -> Mapping[str, Sequence[Any]]:
    """Return the names of the files of each part in a run's split.json; {} without one."""
    run = None if model.source is None else run_folder_of(model.source.resolve())
    record = None if run is None else read_object(RunFolder(run).split, "train the model again")
    return {part: names for part, names in (record or {}).items() if isinstance(names, list)}


def held_out_arrays(model: Model, data: str | None) -> Arrays:
    """Return the images of `held_out_part` in memory; those with one class each as a Dataset."""
    part = held_out_part(model, data)
    x, y = part.batch(range(len(part)), generator(0))
    if y.dim() > 1:
        return Arrays(x, y, part.classes, part.checksum)
    return make_dataset(data or data_name(model), x, y, part.classes or (), images_of(part).skipped)


def class_dataset(model: Model, data: str | None) -> Dataset | None:
    """Return the images of a table with one class each on which a model is evaluated; None for other data."""
    name, _ = data_and_root(model, data)
    if not _is_table_for(model, name):
        return None
    arrays = held_out_arrays(model, data)
    assert isinstance(arrays, Dataset)  # a model of one class reads one class
    return arrays
