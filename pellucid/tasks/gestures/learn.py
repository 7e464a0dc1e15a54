"""Train a network on a collection of pictures, calibrate it, and evaluate it."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.base.files import write_atomically
from pellucid.recipe.checked.collection import Collection
from pellucid.recipe.checked.findings import findings_to_json
from pellucid.recipe.checked.reading import check_table
from pellucid.recipe.checks import check_network
from pellucid.recipe.job import Run, begin_run, train_in
from pellucid.recipe.material import Material
from pellucid.recipe.recipe import FINDINGS_FILE, Recipe, load_recipe
from pellucid.recipe.start import trained_features
from pellucid.tasks.classify.confidence import SelectiveResult, cross_validate, measure_selective
from pellucid.tasks.classify.own import class_settings
from pellucid.tasks.gestures.backbone import backbone_settings

RECIPE = "signs-best"
RECIPE_NAME = "gestures"
MIN_STEPS = 300  # of a training; small collections are therefore trained for more epochs


def settings_for(folder: str | os.PathLike[str], backbone: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides of the recipe for the user's own folder.

    backbone: "" for the recipe's own backbone, otherwise see `backbone_settings`. overrides: of the user; they replace
    the overrides of the backbone.
    """
    path = Path(folder).expanduser().absolute()
    about = {"recipe.name": RECIPE_NAME, "recipe.about": f"the classes of {path.name}, by fine-tuning a whole network"}
    data = {"data.name": str(path), "data.check": True}
    return {**about, **(backbone_settings(backbone) if backbone else {}), **overrides, **data}


def check(recipe: Recipe) -> None:
    """Raise PellucidError for a recipe that cannot be trained on a folder of pictures; reads no pictures."""
    data = recipe.data
    check_table(data)
    net, shape = recipe.build("network"), (1 if data.mode == "L" else 3, data.size, data.size)
    check_network(recipe, net, shape)
    if recipe.start.weights:
        trained_features(recipe.start.weights, net, shape)


def recipe_for(collection: Collection, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with settings that depend on the collection, unless `settings` override them."""
    return load_recipe(RECIPE, {**derived_settings(load_recipe(RECIPE, settings), collection), **settings})


def derived_settings(recipe: Recipe, material: Material[Any]) -> dict[str, Any]:
    """Return the settings that depend on the pictures.

    These are the number of classes, class weights if the classes of a folder are imbalanced, and epochs for at least
    MIN_STEPS steps. Keys that the recipe does not have are left out.
    """
    settings: dict[str, Any] = {"network.classes": len(material.test.classes)}
    if isinstance(material, Collection):
        settings = class_settings(material.train.counts())
    tables = recipe.tables()
    known = {key: value for key, value in settings.items() if key.split(".")[1] in tables[key.split(".")[0]]}
    n = len(material.train)
    steps_per_epoch = math.ceil(n / min(recipe.train.batch_size, n))
    return {**known, "train.epochs": max(recipe.train.epochs, math.ceil(MIN_STEPS / steps_per_epoch))}


def measure_confidence(run: Run, collection: Collection) -> tuple[SelectiveResult | None, str]:
    """Return the coverage and accuracy of selective classification, and in words how they were measured.

    Selective classification makes a prediction only if the confidence is high enough. If there is a validation split,
    the confidence was fitted on it, and is measured on the test split. Otherwise it was fitted on the test split, and
    results on the same pictures would be too optimistic: it is measured by `cross_validate`, or, if there are too few
    pictures, not measured (None).
    """
    test, confidence = collection.test, run.model.confidence
    if confidence is None:
        return None, "not fitted, because the network outputs scores, not probabilities"
    probabilities = run.model.predict(test)
    if collection.validation is not None:
        return measure_selective(probabilities, test.y, confidence), "fitted on the validation part"
    result = cross_validate(probabilities, test.y, test.groups)
    if result is None:
        return None, "fitted on these images, which are too few to measure it"
    return result, "each half measured with the confidence fitted on the other"


def learn(
    collection: Collection, recipe: Recipe, out: str | os.PathLike[str], progress: bool = True, command: str = ""
) -> Run:
    """Train in a new run folder inside `out`, and write the findings into its file collection.json.

    command: the command that repeats the training. Raises PellucidError for a recipe that cannot be used. Raises
    KeyboardInterrupt on Ctrl-C, after the state is saved.
    """
    path, model = begin_run(recipe, collection, out)
    findings = {"command": command, **findings_to_json(collection)}
    write_atomically(path / FINDINGS_FILE, (json.dumps(findings, indent=1) + "\n").encode())
    return train_in(path, collection, progress, command=command, model=model)
