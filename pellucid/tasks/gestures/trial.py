"""One training of a comparison: its pictures, the training, which can be resumed, and its measurements."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pellucid.data import CATALOGUE, Dataset
from pellucid.model import Model
from pellucid.recipe.job import Run, begin_run, kernel_threads, train_in
from pellucid.recipe.material import SHAPES, Material, load_arrays
from pellucid.recipe.recipe import Recipe
from pellucid.recipe.start import source_checksum
from pellucid.run.folder import RunFolder
from pellucid.run.history import History
from pellucid.tasks.gestures.collection import Collection
from pellucid.tasks.gestures.comparison import Trial, count_learned
from pellucid.tasks.gestures.learn import check_data, check_in_memory, read_for
from pellucid.tasks.gestures.measure import measure
from pellucid.tasks.gestures.reading import Told


@dataclass(frozen=True, eq=False)
class Pictures:
    """The data of a training.

    collection: the findings in the user's own folder, None for a data set. preprocess: see `build_model`.
    """

    material: Material[Dataset]
    collection: Collection | None
    preprocess: Mapping[str, Any]


def pictures_for(recipe: Recipe, root: str | None = None, progress: Told | None = None) -> Pictures:
    """Load the pictures of a recipe; a folder is read by `read_collection`, as by `gestures train`."""
    check_in_memory(recipe)
    if recipe.data.name in CATALOGUE or recipe.data.name in SHAPES:
        return Pictures(load_arrays(recipe.data, recipe.recipe.seed, root), None, {})
    check_data(recipe)
    collection = read_for(recipe, progress)
    return Pictures(collection.material(), collection, collection.held_out())


def same_pictures(recipe: Recipe, first: Recipe) -> bool:
    """Return whether two recipes train on the same pictures, apart from scaling."""
    same_split = not recipe.data.validation or recipe.recipe.seed == first.recipe.seed
    return same_split and replace(recipe.data, standardize=first.data.standardize) == first.data


def train_or_resume(
    recipe: Recipe, pictures: Pictures, root: str | None, out: Path, progress: bool, command: str
) -> Run:
    """Train, or resume the run below `out` with the same recipe, pictures and initial weights.

    command: the command that repeats the comparison; only this one splits the user's own folder in the same way.
    """
    again = "" if pictures.collection is None else command
    text = recipe.to_toml()
    expected = {"data": pictures.material.checksums, "start": source_checksum(recipe.start.weights, root)}
    for path in sorted(out.glob(f"{recipe.name}-*/recipe.toml")):
        folder = RunFolder(path.parent)
        if path.read_text(encoding="utf-8", errors="replace") != text:
            continue
        recorded = folder.read_manifest() if folder.manifest.is_file() else {**expected}
        if {name: recorded.get(name) for name in expected} != expected:
            continue
        results = _results(folder.path)
        if not results:
            return train_in(folder.path, pictures.material, progress, root, pictures.preprocess, again)
        return Run(folder.path, folder.path / "report.html", results, Model.load(folder.best), recipe)
    path, model = begin_run(recipe, pictures.material, out, root, pictures.preprocess)
    return train_in(path, pictures.material, progress, root, pictures.preprocess, again, model)


def measure_run(run: Run, material: Material[Dataset], repeats: int) -> Trial:
    """Evaluate a finished training on the test part; `repeats` single images are timed for the latency."""
    with kernel_threads(run.recipe.recipe.threads):
        measured = measure(run.model, material.test, repeats)
    total, learned = count_learned(run.model, run.recipe.train.frozen)
    return Trial(
        run=run.path,
        recipe=run.recipe,
        measured=measured,
        history=History.read(run.path).rows,
        held="test" if material.validation is None else "validation",
        seconds=float(run.metrics["seconds"]),
        epochs=int(run.metrics["epochs"]),
        parameters=total,
        learned=learned,
    )


def _results(run: Path) -> dict[str, Any]:
    """Return the results of a finished run, {} for an unfinished one."""
    try:
        results = json.loads((run / "results.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return results if isinstance(results, dict) and {"seconds", "epochs"} <= results.keys() else {}
