"""Train a network on a collection, and measure how far its answers can be believed."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.errors import PellucidError
from pellucid.tasks.gestures.backbone import backbone_settings
from pellucid.tasks.gestures.balance import class_weights, imbalance
from pellucid.tasks.gestures.collection import Collection
from pellucid.tasks.gestures.confidence import fit_confidence
from pellucid.tasks.gestures.findings import UNEVEN, to_json
from pellucid.tasks.gestures.reading import Told, read_collection
from pellucid.tasks.pictures import GROUPED
from pellucid.train.files import write_atomically
from pellucid.train.job import Run, begin_run, check_network, train_in
from pellucid.train.recipe import Recipe, load_recipe
from pellucid.train.runs import RunFolder
from pellucid.train.start.trained import trained_features

RECIPE = "signs-best"
NAME = "gestures"
STEPS = 300  # that a training takes at least, with more epochs for few pictures
LEAST = 16  # pixels a side
FOUND = "collection.json"


def settings_for(folder: str | os.PathLike[str], backbone: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides of the recipe for a folder of one's own: those of the backbone, and the user's last.

    backbone: "" for the recipe's own, else see `backbone_settings`.
    """
    place = Path(folder).expanduser().absolute()
    about = {"recipe.name": NAME, "recipe.about": f"the classes of {place.name}, by fine-tuning a whole network"}
    return {**about, **(backbone_settings(backbone) if backbone else {}), **overrides, "data.name": str(place)}


def begun(path: str | os.PathLike[str]) -> Recipe:
    """Return the recipe of a run folder that `learn` began; PellucidError for any other folder."""
    path = Path(path)
    if not (path / FOUND).is_file() or not (path / "recipe.toml").is_file():
        raise PellucidError(f"{path} holds no {FOUND}; give a run folder that `pellucid gestures train` began")
    return load_recipe(path / "recipe.toml")


def check(recipe: Recipe) -> None:
    """Raise PellucidError for a recipe that no folder of pictures fits: to be known before they are read."""
    data = recipe.data
    if data.size < LEAST:
        raise PellucidError(f"data.size is {data.size}, but pictures of one's own have many sizes; set {LEAST} or more")
    if data.limit:
        raise PellucidError("data.limit means nothing for a folder of one's own; leave it out")
    net, shape = recipe.build("network"), (1 if data.mode == "L" else 3, data.size, data.size)
    check_network(recipe, net, shape)
    if recipe.start.weights:
        trained_features(recipe.start.weights, net, shape)


def read_for(recipe: Recipe, progress: Told | None = None) -> Collection:
    """Read the collection that a recipe is for."""
    data = recipe.data
    return read_collection(data.name, data.size, data.mode, data.validation, recipe.recipe.seed, progress)


def recipe_for(collection: Collection, settings: Mapping[str, Any], recipe: str = RECIPE) -> Recipe:
    """Return the recipe with what only the collection tells, unless `settings` say otherwise.

    That is the number of classes; weights of the classes where one has UNEVEN times as many pictures as another; and
    so many epochs that there are STEPS steps.
    """
    base, counts = load_recipe(recipe, settings), collection.train.counts()
    told: dict[str, Any] = {"network.classes": len(counts)} if "classes" in base.network.arguments else {}
    if imbalance(counts) >= UNEVEN and min(counts) and "class_weights" in base.loss.arguments:
        told["loss.class_weights"] = [round(weight, 6) for weight in class_weights(counts)]
    n = sum(counts)
    per_epoch = math.ceil(n / min(base.train.batch_size, n))
    told["train.epochs"] = max(base.train.epochs, math.ceil(STEPS / per_epoch))
    return load_recipe(recipe, {**told, **settings})


def learn(collection: Collection, recipe: Recipe, out: str | os.PathLike[str] = "runs", progress: bool = True) -> Run:
    """Train into a new run folder below `out`, which also gets the findings as collection.json.

    Raises PellucidError for a recipe that does not fit; KeyboardInterrupt on Ctrl-C, when all is saved.
    """
    path = begin_run(recipe, collection.material(), out)
    write_atomically(path / FOUND, (json.dumps(to_json(collection), indent=1) + "\n").encode())
    return go_on(collection, path, progress)


def go_on(collection: Collection, path: Path, progress: bool = True) -> Run:
    """Train in a run folder from where it stands, calibrate the best weights on held-out pictures, and save them."""
    material = collection.material()
    try:
        run = train_in(path, material, progress)
    except KeyboardInterrupt as stop:
        again = f"pellucid gestures train --resume {path}"
        raise KeyboardInterrupt(str(stop).replace(f"pellucid train --resume {path}", again)) from None
    held = material.validation or material.test
    run.model.confidence = fit_confidence(run.model.predict(held), held.y)
    run.model.preprocess["held_out"] = GROUPED
    run.model.save(RunFolder(path).best)
    return run
