"""The images on which a model is evaluated: those of a table of labels, or annotated ones, with checks."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import note, plural
from pellucid.data import CATALOGUE, Arrays, DetectionFolder, MaskFolder, data_root
from pellucid.data.annotations.formats import find_format, parts_in_order
from pellucid.data.dataset import Dataset, make_dataset, split_images
from pellucid.data.folder import TEST_FRACTION
from pellucid.data.image_formats import ColourMode
from pellucid.data.labelled_images import TableImages, load_table, parts_of
from pellucid.data.parts import parts_among
from pellucid.data.seeds import generator
from pellucid.data.skipping import note_skipped
from pellucid.data.source import Subset
from pellucid.data.table_files import table_columns, table_files
from pellucid.data.table_targets import TableFormat, TargetKind
from pellucid.data.tables import TABLE_SUFFIXES
from pellucid.data.tree import open_tree
from pellucid.model import Model
from pellucid.recipe.labelled import images_of, is_table
from pellucid.recipe.material import load_material
from pellucid.recipe.model_data import (
    data_and_root,
    data_name,
    is_folder_of_training,
    reading_as_in_training,
    run_folder_of,
)
from pellucid.recipe.recipe import load_recipe
from pellucid.run.folder import RunFolder
from pellucid.run.records import read_object
from pellucid.task import task_of

Folder = TypeVar("Folder", MaskFolder, DetectionFolder)


def mode_of(model: Model) -> ColourMode:
    """Return the mode in which pictures are read for a model: "L" for a network with one input channel."""
    return "L" if model.nominal_shape[0] == 1 else "RGB"


def check_image(model: Model, image: Tensor) -> None:
    """Raise PellucidError unless an image is uint8 and has as many channels as the inputs of a model."""
    n_channels = model.nominal_shape[0]
    if image.shape[0] != n_channels or image.dtype != torch.uint8:
        raise PellucidError(
            f"the model takes uint8 images with {plural(n_channels, 'channel')}, not "
            f"{str(image.dtype).removeprefix('torch.')} of shape {tuple(image.shape)}; read them with "
            f"load_image(file, mode={mode_of(model)!r})"
        )


def data_path(model: Model, data: str | None) -> Path:
    """Return the folder or zip of the images to evaluate a model on.

    data: the name of a data set, a folder, or the root of the model's own data set; None for the model's own data set.
    Raises PellucidError if the folder or zip does not exist.
    """
    name, root = data_and_root(model, data)
    path = data_root(root) / CATALOGUE[name].path if name in CATALOGUE else Path(name)
    if not path.exists():
        raise PellucidError(f"{path} does not exist; name a folder of images with --data")
    return path


def held_out(model: Model, data: str | None, classes: Sequence[str] | None) -> tuple[DetectionFolder, str]:
    """Return the annotated images of the held-out part of a folder or zip, and its name, "" if it has no parts.

    Of the folder of the model's training, only the images that training held out are returned. data: see `data_path`.
    classes: see `DetectionFolder`. Raises PellucidError if the folder does not exist, and for unreadable images.
    """
    path = data_path(model, data)
    with open_tree(path) as tree:
        parts = find_format(tree)[1]
    part = evaluation_part(parts)
    training_part = next(iter(parts_in_order(parts)), "")
    with reading_as_in_training(model, path):
        source = DetectionFolder(path, part, mode=mode_of(model), classes=classes)
        note_skipped(path, source)
        source = images_held_out(model, source) if part == training_part else source
        source.refuse_unreadable()
    parts_among(parts).note_used_parts(path, parts)
    return source, part


def images_held_out(model: Model, source: Folder) -> Folder:
    """Return the images of a training part that training held out, for want of another part; all for other folders.

    For a model that was trained on a user's folder, a note on stderr says which images are measured, and whether the
    folder has changed since the training.
    """
    data_of_training, path, total_text = data_name(model), source.tree.path, plural(len(source), "image")
    if not data_of_training or data_of_training in CATALOGUE:
        return source
    if not is_folder_of_training(model, path / source.tree.settings):
        note(f"{path}: all {total_text} are measured: the folder is not that of the training ({data_of_training})")
        return source
    part = source.subset(split_images(len(source), TEST_FRACTION, 0, str(path))[1])
    has_changed = _has_changed(model)
    if has_changed:
        note(
            f"{path}: the folder has changed since the training, so the model may have been trained on some of the "
            f"measured images, {len(part):,} of {total_text}"
        )
    else:
        condition_text = ", provided that the folder is unchanged" if has_changed is None else ""
        note(
            f"{path}: only the fifth that training held out is measured, {len(part):,} of {total_text}{condition_text}"
        )
    return part


def _has_changed(model: Model) -> bool | None:
    """Return whether the images that training held out have changed since; None if there is no run folder to tell.

    The checksum of the held-out part, computed again, is compared with that in the manifest of the model's run.
    """
    run = None if model.source is None else run_folder_of(model.source.resolve())
    if run is None or not (run / "recipe.toml").is_file():
        return None
    recipe, checksums = load_recipe(run / "recipe.toml"), RunFolder(run).read_manifest().get("data")
    checksum_of_training = checksums.get("test") if isinstance(checksums, dict) else None
    if checksum_of_training is None or recipe.data.name != data_name(model):
        return None
    try:
        test = load_material(recipe.data, recipe.recipe.seed, None, recipe.loss.arguments.get("ignore")).test
        return task_of(model).examples(model.objective, test, recipe.data.name).checksum != checksum_of_training
    except PellucidError:  # such as fewer images than data.limit
        return True


def evaluation_part(parts: Mapping[str, Sequence[str]]) -> str:
    """Return the part to evaluate a model on: the test part, otherwise the validation part, otherwise the last one."""
    held_out_part = parts_among(parts).held_out
    return held_out_part if held_out_part is not None else next(reversed(parts_in_order(parts)), "")


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
    path, own_path = Path(name).resolve(), Path(data_name(model)).resolve()
    # The model's file may be somebody else's, so that no folder is opened that only it names.
    is_near = path.parent == own_path or own_path.parent == path
    return path == own_path or (is_near and _tables(path) == _tables(own_path))


def _tables(path: Path) -> set[Path]:
    folder, files = table_files(path)
    return {(folder / file.name).resolve() for file in files}


def _unseen(model: Model, images: TableImages, indices: Sequence[int]) -> list[int]:
    """Return the indices of images without the pictures that the run's split.json has in its training part."""
    path, recorded_parts = images.tree.path, _recorded_parts(model)
    trained_names = [*map(str, recorded_parts.get("train", ()))]
    own_path = Path(data_name(model)).resolve()
    folder = own_path.parent if own_path.suffix.lower() in TABLE_SUFFIXES else own_path
    trained_on = {os.path.realpath(folder / name) for name in trained_names}
    unseen_indices = [k for k in indices if os.path.realpath(path / images.names[k]) not in trained_on]
    if not unseen_indices:
        raise PellucidError(f"{path}: the model was trained on all {len(indices):,} pictures; give others")
    if len(unseen_indices) < len(indices):
        note(f"{path}: {plural(len(indices) - len(unseen_indices), 'picture')} of the model's training left out")
    n_same_name = len({*trained_names} & {images.names[k] for k in unseen_indices})
    if n_same_name:
        note(f"{path}: {plural(n_same_name, 'picture')} named as in the model's training, which may be copies")
    return unseen_indices


def _format_for(model: Model, name: str) -> TableFormat:
    """Return how a table is read for a model: with the columns of its training that the table has."""
    table_settings, columns = about_table(model), table_columns(name)
    kind: TargetKind = table_settings.get("kind", "class")
    columns_in_training = tuple(table_settings.get("columns", ()))
    if not {*columns_in_training} <= {*columns}:
        if kind == "numbers":
            missing_text = ", ".join(repr(column) for column in columns_in_training if column not in columns)
            raise PellucidError(
                f"{name} has no column {missing_text:.200}, which the model predicts; give data with this column"
            )
        columns_in_training = ()
    file_column, split_column = (
        text if (text := table_settings.get(key, "")) in columns else "" for key in ("files", "split")
    )
    names = tuple(table_settings.get("names", model.classes or ()))
    units = tuple(table_settings.get("units", ()))
    return TableFormat(
        kind=kind,
        files=file_column,
        columns=columns_in_training,
        split=split_column,
        separator=table_settings.get("separator", "") if columns_in_training else "",
        units=units,
        names=names,
    )


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
