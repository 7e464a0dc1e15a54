"""The data that a trained model names, and data in the form that it expects."""

import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from pellucid.base.errors import PellucidError, nearest
from pellucid.data import CATALOGUE, Dataset, data_root
from pellucid.data.folder import MaskDataset
from pellucid.data.skipping import skipping
from pellucid.data.tree import YAML_SUFFIXES, data_folder
from pellucid.model import Model
from pellucid.recipe.material import SHAPES, mask_parts_of
from pellucid.recipe.recipe import recipe_of_run
from pellucid.recipe.tables import Data
from pellucid.run.folder import RunFolder


def data_name(model: Model) -> str:
    """Return the name of the data that a model was trained on; "" if its file does not name them."""
    name = model.preprocess.get("data", "")
    return name if isinstance(name, str) else ""


def check_data_in_run_folder(name: str, file: Path | None) -> None:
    """Raise PellucidError if `file` names its data by a path outside its own run folder, unless it was trained on them.

    file: a weights file or a recipe of any origin; None for a model that was made in this process, whose paths the user
    gave. The run folder is RUN for RUN/recipe.toml, and for RUN/weights/FILE if RUN/manifest.json exists. Training with
    a recipe opens its paths without this check, since the user chose the recipe.
    """
    if file is None or not name or name in CATALOGUE or name in SHAPES:
        return
    run = run_folder_of(file.resolve())
    if run is None or not (_is_inside(name, run) or _has_checksums_of_run(name, run)):
        raise PellucidError(
            f"{file} names its training data by a path outside its run folder, which is not opened, since a file of "
            f"somebody else could name any path; if it is yours, add --data {shlex.quote(name):.200}"
        )


def _is_inside(name: str, run: Path) -> bool:
    """Return whether a path is in a run folder, and with a settings file also the folder that its key `path` names."""
    return Path(name).resolve().is_relative_to(run) and data_folder(name).resolve().is_relative_to(run)


@cache
def _has_checksums_of_run(name: str, run: Path) -> bool:
    """Return whether the data that a run names have the checksums in its manifest: nobody else can write these there.

    Raises PellucidError for data that are gone, and for data that have changed since.
    """
    from pellucid.recipe.job import load_data  # which imports the tasks of models

    folder = RunFolder(run)
    recorded_data = folder.read_manifest().get("data") if folder.manifest.is_file() else None
    if not isinstance(recorded_data, dict):
        return False
    recipe = recipe_of_run(run)
    if recipe.data.name != name:
        return False
    if not Path(name).exists():
        raise PellucidError(f"{run} was trained on {name}, which is gone; give its new place with --data")
    if load_data(recipe, decode_all=False).checksums != recorded_data:
        raise PellucidError(
            f"{name} is not what {run} was trained on: the checksums differ; if that is intended, add --data "
            f"{shlex.quote(name):.200}"
        )
    return True


def is_folder_of_training(model: Model, path: str | Path) -> bool:
    """Return whether a path is that of a user's folder, zip or settings file on which a model was trained.

    A settings file is its folder, except beside another one: two of one folder may name other images of it.
    """
    name = data_name(model)
    if not name or name in CATALOGUE:
        return False
    paths = [Path(name), Path(path)]
    if any(candidate_path.suffix.lower() not in YAML_SUFFIXES for candidate_path in paths):
        paths = [data_folder(candidate_path) for candidate_path in paths]
    return paths[0].resolve() == paths[1].resolve()


def reading_as_in_training(model: Model, data: str | Path | None) -> AbstractContextManager[None]:
    """Return a context in which unreadable images of the training's data are left out if the training left them out.

    data: the data that are read, None for those of the training. Without the context, the images would be others, and
    another fifth of them would be held out.
    """
    is_own = data is None or is_folder_of_training(model, data)
    return skipping(is_own and skips_images(model.source))


def skips_images(file: Path | None) -> bool:
    """Return whether the run of a weights file left out unreadable images, by data.skip in its recipe."""
    run = None if file is None else run_folder_of(file.resolve())
    return run is not None and RunFolder(run).recipe.is_file() and recipe_of_run(run).data.skip


def run_folder_of(file: Path) -> Path | None:
    """Return the run folder of a weights file or a recipe; None if the file is not in one."""
    if file.name == "recipe.toml":
        return file.parent
    run = file.parent.parent
    return run if file.parent.name == "weights" and (run / "manifest.json").is_file() else None


def check_data_exists(name: str) -> None:
    """Raise PellucidError, with the nearest name, for a name that is neither a known data set nor an existing path."""
    if name not in CATALOGUE and name not in SHAPES and not Path(name).exists():
        hint = nearest(name, [*CATALOGUE, *SHAPES])
        raise PellucidError(f"no data set or folder {name!r}{hint}; `pellucid data list` shows the names")


def is_data_root(name: str, folder: str) -> bool:
    """Return whether `folder` is the root that contains the data set `name` of the catalogue."""
    path = CATALOGUE[name].path if name in CATALOGUE else ""
    return bool(path) and Path(folder).is_dir() and (data_root(folder) / path).exists()


def data_and_root(model: Model, data: str | None) -> tuple[str, str | None]:
    """Return the name or folder of the data to examine a model with, and the root, None for the default root.

    data: the name of a data set, a folder, or the root of the model's own data set; None for the model's own. Raises
    PellucidError if the model does not name its data, and like `check_data_in_run_folder`.
    """
    name = data_name(model)
    if data is not None and not is_data_root(name, data):
        return data, None
    if not name:
        raise PellucidError(
            "the model does not name its training data; name a data set or a folder with --data, or use "
            "Model.evaluate in Python, or model.doctor(x, y)"
        )
    check_data_in_run_folder(name, model.source)
    return name, data


def table_for(shape: Sequence[int], name: str) -> Data:
    """Return the [data] table that loads images as inputs of this shape."""
    if name in SHAPES:
        return Data(name)
    return Data(name, size=0 if mask_parts_of(name) else shape[-1], mode="L" if shape[0] == 1 else "RGB")


def data_for_model(shape: Sequence[int], classes: Sequence[str] | None, data: Dataset) -> Dataset:
    """Return a data set with the class indices of a model, checked for a network with inputs of this shape.

    Images with masks may have another height and width. Raises PellucidError if the images have another shape, and if
    the model lacks one of the classes.
    """
    data_shape = tuple(data.x.shape[1:])
    if data_shape != tuple(shape) and not (isinstance(data, MaskDataset) and data_shape[0] == shape[0]):
        data_shape_text, shape_text = (" x ".join(map(str, sizes)) for sizes in (data_shape, shape))
        raise PellucidError(
            f"{data.name} has images of {data_shape_text}, but the model takes {shape_text}; give other data"
        )
    return with_model_classes(classes, data)


def with_model_classes(classes: Sequence[str] | None, data: Dataset) -> Dataset:
    """Return a data set with the class indices of a model; unchanged if the model has no class names.

    Classes of masks keep their indices, and get the model's names. Raises PellucidError for a class of other data that
    the model lacks.
    """
    names = tuple(classes or data.classes)
    if names == data.classes:
        return data
    if isinstance(data, MaskDataset) and len(data.classes) <= len(names):
        return replace(data, classes=names)
    for name in data.classes:
        if name not in names:
            raise PellucidError(
                f"{data.name} has the class {name!r}, which the model lacks{nearest(name, names)}; it has "
                f"{', '.join(names):.80}; give data with these classes, or train a new model on these data"
            )
    order = torch.tensor([names.index(name) for name in data.classes])
    return replace(Dataset.from_arrays(data.x, order[data.y], names, data.name), skipped=data.skipped)
