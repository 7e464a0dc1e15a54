"""Train a network on a collection of pictures, calibrate it, and evaluate it."""

import json
import math
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.model import Model
from pellucid.recipe.checks import check_network
from pellucid.recipe.job import Run, begin_run, train_in
from pellucid.recipe.recipe import Recipe, load_recipe
from pellucid.recipe.start import trained_features
from pellucid.run.folder import RunFolder
from pellucid.run.records import read_object
from pellucid.tasks.classify.confidence import SelectiveResult, cross_validate, fit_confidence, measure_selective
from pellucid.tasks.gestures.backbone import backbone_settings
from pellucid.tasks.gestures.collection import Collection, class_weights, imbalance
from pellucid.tasks.gestures.findings import MIN_IMBALANCE, findings_to_json
from pellucid.tasks.gestures.reading import ReadingProgress, read_collection

RECIPE = "signs-best"
RECIPE_NAME = "gestures"
MIN_STEPS = 300  # of a training; small collections are therefore trained for more epochs
MIN_SIDE = 16  # pixels, the minimum of data.size
FINDINGS_FILE = "collection.json"


def settings_for(folder: str | os.PathLike[str], backbone: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides of the recipe for the user's own folder.

    backbone: "" for the recipe's own backbone, otherwise see `backbone_settings`. overrides: of the user; they replace
    the overrides of the backbone.
    """
    path = Path(folder).expanduser().absolute()
    about = {"recipe.name": RECIPE_NAME, "recipe.about": f"the classes of {path.name}, by fine-tuning a whole network"}
    return {**about, **(backbone_settings(backbone) if backbone else {}), **overrides, "data.name": str(path)}


def recipe_of_run(path: str | os.PathLike[str]) -> Recipe:
    """Return the recipe of a run folder that `learn` started; raises PellucidError for any other folder."""
    path = Path(path)
    if not (path / FINDINGS_FILE).is_file() or not (path / "recipe.toml").is_file():
        raise PellucidError(f"{path} has no {FINDINGS_FILE}; give a run folder that `pellucid gestures train` started")
    return load_recipe(path / "recipe.toml")


def check(recipe: Recipe) -> None:
    """Raise PellucidError for a recipe that cannot be trained on a folder of pictures; reads no pictures."""
    check_data(recipe)
    data = recipe.data
    net, shape = recipe.build("network"), (1 if data.mode == "L" else 3, data.size, data.size)
    check_network(recipe, net, shape)
    if recipe.start.weights:
        trained_features(recipe.start.weights, net, shape)


def check_data(recipe: Recipe) -> None:
    """Raise PellucidError if the [data] table of a recipe cannot be used with a folder of pictures."""
    data = recipe.data
    if data.size < MIN_SIDE:
        raise PellucidError(
            f"data.size is {data.size}, but the pictures of a folder vary in size; set {MIN_SIDE} or more"
        )
    check_in_memory(recipe)
    if data.limit:
        raise PellucidError("data.limit has no effect on a folder of pictures; leave it out")


def check_in_memory(recipe: Recipe) -> None:
    """Raise PellucidError for a recipe that streams its images, since this task reads all pictures into memory."""
    if recipe.data.stream:
        raise PellucidError("data.stream: pictures of gestures are read into memory; leave it out")


def read_recipe_collection(recipe: Recipe, progress: ReadingProgress | None = None) -> Collection:
    """Read the collection in the folder of a recipe; see `read_collection`."""
    data = recipe.data
    return read_collection(data.name, data.size, data.mode, data.validation, recipe.recipe.seed, progress)


def recipe_for(collection: Collection, settings: Mapping[str, Any], recipe: str = RECIPE) -> Recipe:
    """Return the recipe with settings that depend on the collection, unless `settings` override them.

    These are the number of classes, class weights if the classes are imbalanced, and epochs for at least MIN_STEPS
    steps.
    """
    base = load_recipe(recipe, settings)
    derived = {
        **class_settings(collection, base),
        "train.epochs": epochs_for_min_steps(base, len(collection.train.files)),
    }
    return load_recipe(recipe, {**derived, **settings})


def epochs_for_min_steps(recipe: Recipe, n: int) -> int:
    """Return the recipe's epochs, or as many as are needed for MIN_STEPS steps on n pictures if that is more."""
    steps_per_epoch = math.ceil(n / min(recipe.train.batch_size, n))
    return max(recipe.train.epochs, math.ceil(MIN_STEPS / steps_per_epoch))


def class_settings(collection: Collection, recipe: Recipe) -> dict[str, Any]:
    """Return the settings that depend on the classes: their number, and weights if the classes are imbalanced."""
    counts = collection.train.counts()
    settings: dict[str, Any] = {"network.classes": len(counts)} if "classes" in recipe.network.arguments else {}
    if imbalance(counts) >= MIN_IMBALANCE and min(counts) and "class_weights" in recipe.loss.arguments:
        settings["loss.class_weights"] = [round(weight, 6) for weight in class_weights(counts)]
    return settings


def measure_confidence(run: Run, collection: Collection) -> tuple[SelectiveResult | None, str]:
    """Return the coverage and accuracy of selective classification, and in words how they were measured.

    Selective classification makes a prediction only if the confidence is high enough. If there is a validation split,
    the confidence was fitted on it, and is measured on the test split. Otherwise it was fitted on the test split, and
    results on the same pictures would be too optimistic: it is measured by `cross_validate`, or, if there are too few
    pictures, not measured (None).
    """
    test, confidence = collection.test, run.model.confidence
    assert confidence is not None  # `train_in_folder` fits one
    probabilities = run.model.predict(test.images)
    if collection.validation is not None:
        return measure_selective(probabilities, test.images.y, confidence), "fitted on the validation part"
    result = cross_validate(probabilities, test.images.y, test.groups)
    if result is None:
        return None, "fitted on these images, which are too few to measure it"
    return result, "each half measured with the confidence fitted on the other"


def learn(
    collection: Collection,
    recipe: Recipe,
    out: str | os.PathLike[str] = "runs",
    progress: bool = True,
    command: str = "",
) -> Run:
    """Train in a new run folder inside `out`, and write the findings into its file collection.json.

    command: the command that repeats the training, for the report; by default the command line without options. Raises
    PellucidError for a recipe that cannot be used. Raises KeyboardInterrupt on Ctrl-C, after the state is saved.
    """
    path, model = begin_run(recipe, collection.material(), out, preprocess=collection.held_out_metadata())
    repeat_command = command or shlex.join(["pellucid", "gestures", "train", collection.path])
    write_atomically(
        path / FINDINGS_FILE,
        (json.dumps({"command": repeat_command, **findings_to_json(collection)}, indent=1) + "\n").encode(),
    )
    return train_in_folder(collection, path, progress, model)


def train_in_folder(collection: Collection, path: Path, progress: bool = True, model: Model | None = None) -> Run:
    """Start or resume the training in a run folder, fit the confidence on held-out pictures, and save the model."""
    material = collection.material()
    try:
        findings = read_object(path / FINDINGS_FILE, "start a new training")
        command = str((findings or {}).get("command", ""))
        run = train_in(
            path, material, progress, preprocess=collection.held_out_metadata(), command=command, model=model
        )
    except KeyboardInterrupt as interrupt:
        resume_command = f"pellucid gestures train --resume {path}"
        raise KeyboardInterrupt(str(interrupt).replace(f"pellucid train --resume {path}", resume_command)) from None
    held_out = material.validation or material.test
    run.model.confidence = fit_confidence(run.model.predict(held_out), held_out.y)
    run.model.save(RunFolder(path).best)
    return run
