"""Images for models that predict objects, key-points, masks or colours: checks, and the held-out images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import note, plural
from pellucid.data import CATALOGUE, DetectionFolder, MaskFolder, data_root
from pellucid.data.annotations.layout import find_format, parts_in_order
from pellucid.data.dataset import split_images
from pellucid.data.folder import TEST_FRACTION
from pellucid.data.image_formats import ColourMode
from pellucid.data.parts import parts_among
from pellucid.data.skipping import note_skipped
from pellucid.data.tree import open_tree
from pellucid.model import Model
from pellucid.recipe.material import load_material
from pellucid.recipe.model_data import data_and_root, data_name, run_folder_of
from pellucid.recipe.recipe import load_recipe
from pellucid.run.folder import RunFolder
from pellucid.task import task_of

Folder = TypeVar("Folder", MaskFolder, DetectionFolder)


def mode_of(model: Model) -> ColourMode:
    """Return the mode in which pictures are read for a model: "L" for a network with one input channel."""
    return "L" if model.nominal_shape[0] == 1 else "RGB"


def check_image(model: Model, image: Tensor) -> None:
    """Raise PellucidError unless an image is uint8 and has as many channels as the inputs of a model."""
    channels = model.nominal_shape[0]
    if image.shape[0] != channels or image.dtype != torch.uint8:
        raise PellucidError(
            f"the model takes uint8 images with {plural(channels, 'channel')}, not "
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
    source = DetectionFolder(path, part, mode=mode_of(model), classes=classes)
    source = images_held_out(model, source) if part == training_part else source
    source.refuse_unreadable()
    note_skipped(path, source)
    parts_among(parts).note_use(path, parts)
    return source, part


def images_held_out(model: Model, source: Folder) -> Folder:
    """Return the images of a training part that training held out, for want of another part; all for other folders.

    For a model that was trained on a user's folder, a note on stderr says which images are measured, and whether the
    folder has changed since the training.
    """
    name, path, total = data_name(model), source.tree.path, plural(len(source), "image")
    if not name or name in CATALOGUE:
        return source
    if Path(name).resolve() != Path(path).resolve():
        note(f"{path}: all {total} are measured: the folder is not that of the training ({name})")
        return source
    part = source.subset(split_images(len(source), TEST_FRACTION, 0, str(path))[1])
    has_changed = _has_changed(model)
    if has_changed:
        note(
            f"{path}: the folder has changed since the training, so the model may have been trained on some of the "
            f"measured images, {len(part):,} of {total}"
        )
    else:
        condition = ", provided that the folder is unchanged" if has_changed is None else ""
        note(f"{path}: only the fifth that training held out is measured, {len(part):,} of {total}{condition}")
    return part


def _has_changed(model: Model) -> bool | None:
    """Return whether the images that training held out have changed since; None if there is no run folder to tell.

    The checksum of the held-out part, computed again, is compared with that in the manifest of the model's run.
    """
    run = None if model.source is None else run_folder_of(model.source.resolve())
    if run is None or not (run / "recipe.toml").is_file():
        return None
    recipe, checksums = load_recipe(run / "recipe.toml"), RunFolder(run).read_manifest().get("data")
    expected = checksums.get("test") if isinstance(checksums, dict) else None
    if expected is None or recipe.data.name != data_name(model):
        return None
    try:
        test = load_material(recipe.data, recipe.recipe.seed, None, recipe.loss.arguments.get("ignore")).test
        return task_of(model).examples(model.objective, test, recipe.data.name).checksum != expected
    except PellucidError:  # such as fewer images than data.limit
        return True


def evaluation_part(parts: Mapping[str, Sequence[str]]) -> str:
    """Return the part to evaluate a model on: the test part, otherwise the validation part, otherwise the last one."""
    held_out_part = parts_among(parts).held_out
    return held_out_part if held_out_part is not None else next(reversed(parts_in_order(parts)), "")
