"""The recipe of `pellucid train TASK DATA`: chosen by the task for a user's own data."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.settings.annotations import arguments_of
from pellucid.base.text import plural
from pellucid.data import CATALOGUE
from pellucid.data.loader import steps_per_epoch
from pellucid.data.mask_settings import MaskSettings, reading_masks
from pellucid.data.skipping import SETTING, skipping
from pellucid.recipe.material import Material
from pellucid.recipe.recipe import Recipe, find_recipe, folder_name, load_recipe, parse_overrides
from pellucid.recipe.toml import check_table
from pellucid.shipped_files import recipe_names
from pellucid.task import Task, tasks

MAX_EPOCHS = 100


def tasks_by_verb() -> dict[str, Task]:
    """Return the tasks that train on a user's own data, by the word that names them on the command line."""
    return {task.verb: task for task in reversed(tasks()) if task.verb}


def recipe_for(
    verb: str, data: str, overrides: Mapping[str, Any], root: str | os.PathLike[str] | None = None
) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe that a task chooses for data, and all settings in which it differs from the built-in one.

    data: a folder, a file or the name of a data set. overrides: settings of the user, which replace those of the task.
    root: the folder of the data sets. Raises PellucidError for data that do not exist or do not fit the task.
    """
    is_catalogued = data in CATALOGUE
    if not is_catalogued and not Path(data).exists():
        raise PellucidError(
            f"no folder, file or data set {data!r}{nearest(data, CATALOGUE)}; give the data to train on"
        )
    path = data if is_catalogued else str(Path(data).expanduser().absolute())
    mask_overrides = {key: overrides[f"data.{key}"] for key in arguments_of(MaskSettings) if f"data.{key}" in overrides}
    settings_of_masks = MaskSettings(**check_table(mask_overrides, arguments_of(MaskSettings), verb, "data"))
    with skipping(overrides.get(SETTING) is True), reading_masks(settings_of_masks):
        name, settings, reason = tasks_by_verb()[verb].recipe_with(path, root, overrides)
    reason_text = f" ({reason})" if reason else ""
    description_settings = {
        "recipe.name": folder_name(f"{Path(data).stem}-{verb}"),
        "recipe.about": f"{verb}: the data of {Path(data).name}, from the recipe {name}{reason_text}",
    }
    all_settings = {**description_settings, **settings, "data.name": path, **overrides}
    return load_recipe(name, all_settings), all_settings


def recipe_of_words(
    name: str, words: Sequence[str], device: str | None = None, root: str | os.PathLike[str] | None = None
) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe of a command line, and the settings in which it differs from the file.

    name: a recipe, or the verb of a task. words: settings key=value; for a task, the data come first. device: replaces
    recipe.device, unless None. root: the folder of the data sets. Raises PellucidError for invalid words.
    """
    if "=" in name:
        raise PellucidError(f"the recipe or the task comes first, then {name}")
    verbs = tasks_by_verb()
    is_task = name in verbs
    if not is_task and words and "=" not in words[0] and ("/" in words[0] or Path(words[0]).exists()):
        if name not in recipe_names() and (hint := nearest(name, [*verbs])):
            raise PellucidError(f"no task {name!r}{hint}")
        find_recipe(name)  # raises PellucidError for an unknown one
        raise PellucidError(f"{name} is a recipe with data of its own; leave out {words[0]!r}, or give data.name=DIR")
    if is_task and (not words or "=" in words[0]):
        raise PellucidError(f"{name} needs the DATA to train on: a folder, a file or a data set")
    overrides = parse_overrides([*words[1:]] if is_task else [*words])
    if device is not None:
        overrides["recipe.device"] = device
    return recipe_for(name, words[0], overrides, root) if is_task else (load_recipe(name, overrides), overrides)


def epochs_for(steps: int, images: int, batch_size: int, min_epochs: int = 5, max_epochs: int = MAX_EPOCHS) -> int:
    """Return the number of epochs that makes about `steps` steps, from `min_epochs` to `max_epochs`."""
    return min(max_epochs, max(min_epochs, round(steps / steps_per_epoch(images, batch_size))))


def training_length(
    steps: int, images: int, batch_size: int, min_epochs: int = 5, max_epochs: int = MAX_EPOCHS
) -> dict[str, int]:
    """Return the settings for about `steps` steps on a number of images; batch_size: the largest. See `epochs_for`."""
    size = min(batch_size, images)
    return {"train.batch_size": size, "train.epochs": epochs_for(steps, images, size, min_epochs, max_epochs)}


def plan_text(recipe: Recipe, material: Material[Any], shape: Sequence[int | None], cost: str, run: Path) -> str:
    """Return what a training is about to do: with which images, of which size, from which start, for how long.

    shape: of the network's input. cost: of the training, "" if it is unknown. run: the run folder.
    """
    held_out = {"validation": material.validation, "test": material.test}
    counts_texts = [plural(len(part), f"{role} image") for role, part in held_out.items() if part is not None]
    class_names = material.train.classes
    classes_text = f"{plural(len(class_names), 'class', 'classes')}, " if class_names else ""
    start_text = f"starts from {recipe.start.weights}, " if recipe.start.weights else ""
    steps = plural(steps_per_epoch(len(material.train), recipe.train.batch_size), "step")
    return (
        f"{recipe.recipe.about}; {len(material.train):,} training, {' and '.join(counts_texts)}, {classes_text}"
        f"{' x '.join(str(side or 'any') for side in shape)} values; {start_text}"
        f"{plural(recipe.train.epochs, 'epoch')} of {steps}{cost} (train.epochs=N or train.minutes=N changes "
        f"that); all settings are in {run / 'recipe.toml'}"
    )
