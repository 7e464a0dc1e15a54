"""Train one network in five ways on the same pictures, resume interrupted trainings, and compare the results."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.base.text import plural
from pellucid.calibration.confidence import negative_log_likelihood
from pellucid.combine.base import buffer_paths
from pellucid.combine.nets import parameter_counts
from pellucid.data import CATALOGUE, Dataset
from pellucid.metrics import class_scores, confusion_matrix, reliability
from pellucid.model import Model
from pellucid.models import match
from pellucid.recipe.build import build_model
from pellucid.recipe.checked.collection import Collection
from pellucid.recipe.checked.findings import finding_lines
from pellucid.recipe.checked.reading import ReadingProgress, read_checked
from pellucid.recipe.job import Run
from pellucid.recipe.material import SHAPES, Material, load_arrays
from pellucid.recipe.model_data import check_data_exists
from pellucid.recipe.recipe import Recipe, load_recipe
from pellucid.recipe.resume import train_or_resume
from pellucid.tasks.classify.own import class_settings
from pellucid.tasks.classify.predictor import class_results
from pellucid.tasks.comparison import Comparison
from pellucid.tasks.gestures.backbone import adapted_settings, backbone_settings, enough_epochs
from pellucid.tasks.gestures.comparison import VARIANTS, TrainingVariant, Trial, comparison_of, row_of
from pellucid.training.process import torch_threads

BACKBONE = "cifar"  # start.weights in the built-in recipes
N_BINS = 15  # bins of the calibration error, as in Guo et al. 2017
N_WARM_UP = 5  # forward passes before the measurement of the latency
N_REPEATS = 60  # forward passes during it
MAX_SECONDS = 3.0  # total time of the forward passes in the measurement of the latency
ReportLine = Callable[[str], None]


def compare(
    variants: Sequence[TrainingVariant] = VARIANTS,
    *,
    backbone: str = BACKBONE,
    data: str | os.PathLike[str] | None = None,
    seeds: int = 1,
    out: str | os.PathLike[str] = "runs/comparison",
    overrides: Mapping[str, Any] | None = None,
    command: str = "pellucid gestures compare",
    progress: bool = True,
    report_line: ReportLine = lambda line: None,
    reading_progress: ReadingProgress | None = None,
    repeats: int = N_REPEATS,
) -> Comparison:
    """Train every variant with `seeds` seeds, and write page, table and figures into the folder `out`.

    backbone: `start.weights` of the variants that transfer. data: a data set's name, an image folder, or the root of
    the data sets; a folder is read, split and weighted as in `gestures train`. overrides: for all recipes; unless they
    set the epochs, small collections are trained for more epochs. report_line: called with each line of the findings in
    a folder, and with a line for each finished training. reading_progress: called with the progress of reading a
    folder. repeats: see `measure_latency`. In `out`, an unfinished training of the same recipe and pictures is resumed,
    and a finished one is only measured once more. Raises PellucidError for invalid arguments before the first training.
    Raises KeyboardInterrupt on Ctrl-C, after writing the page of the finished trainings.
    """
    count = integer(seeds, "seeds", 1)
    root, data_settings = _resolve_data(data)
    settings = {**data_settings, **(overrides or {})}
    if settings.get("data.name", "") not in ("", *CATALOGUE, *SHAPES):
        settings["data.check"] = True
    backbone_overrides = {} if backbone == BACKBONE else backbone_settings(backbone, root)
    recipes = _recipes(variants, backbone_overrides, settings)
    material = load_pictures(recipes[0], root, reading_progress)
    collection = material if isinstance(material, Collection) else None
    recipes = _recipes(variants, backbone_overrides, settings, material)
    for line in finding_lines(collection) if collection is not None else ():
        report_line(line)
    for recipe in recipes:
        build_model(recipe, material.train, root)  # raises errors before the first training
    trials: dict[str, list[Trial]] = {variant.name: [] for variant in variants}
    folder = Path(out)

    def write_so_far() -> Comparison:
        rows = [row_of(variant, trials[variant.name]) for variant in variants if trials[variant.name]]
        result = comparison_of(rows, len(variants), recipes[0], material, backbone, command)
        result.write(folder, command)
        return result

    try:
        for k in range(count):
            for number, (variant, base_recipe) in enumerate(zip(variants, recipes, strict=True), 1):
                recipe = replace(base_recipe, recipe=replace(base_recipe.recipe, seed=base_recipe.recipe.seed + k))
                is_split_by_seed = k > 0 and recipe.data.validation
                pictures = load_pictures(recipe, root, reading_progress) if is_split_by_seed else material
                run = train_or_resume(recipe, pictures, folder, root, progress)
                trial = measure_run(run, pictures.test, repeats)
                trials[variant.name].append(trial)
                seed_text = f", seed {trial.values['seed']}" if count > 1 else ""
                report_line(_trial_line(f"{number}/{len(variants)} {variant.title}{seed_text}", trial))
    except KeyboardInterrupt:
        n_done = sum(map(len, trials.values()))
        if n_done:
            write_so_far()
        raise KeyboardInterrupt(
            f"stopped with {n_done} of {count * len(variants)} trainings finished; they are kept in {folder}; run the "
            "same command again to continue"
        ) from None
    return write_so_far()


def _resolve_data(data: str | os.PathLike[str] | None) -> tuple[str | None, dict[str, Any]]:
    """Return the root of the data sets, None for the default, and the settings that replace the recipes' data.

    A root contains the file of a data set, or its folder with a part train/, which a class folder of its name lacks.
    """
    if data is None:
        return None, {}
    text = os.fspath(data)
    check_data_exists(text)
    if text in CATALOGUE or text in SHAPES:
        return None, {"data.name": text}
    paths = [Path(text) / entry.path for entry in CATALOGUE.values() if entry.path]
    if any(path.is_file() or (path / "train").is_dir() for path in paths):
        return text, {}
    return None, {"data.name": str(Path(text).absolute())}


def _recipes(
    variants: Sequence[TrainingVariant],
    backbone_overrides: Mapping[str, Any],
    settings: Mapping[str, Any],
    material: Material[Any] | None = None,
) -> list[Recipe]:
    """Return the recipe of each variant.

    backbone_overrides: for the variants that start from a backbone; for the others, only the settings of the network
    are used. material: the pictures, on which some settings depend; None if they are not loaded yet.
    """
    network_overrides = {key: value for key, value in backbone_overrides.items() if not key.startswith("start.")}
    recipes: list[Recipe] = []
    for variant in variants:
        overrides = {**(backbone_overrides if variant.transfers else network_overrides), **settings}
        recipe = load_recipe(variant.recipe, overrides)
        derived_overrides: dict[str, Any] = {}
        if network_overrides:
            derived_overrides |= adapted_settings(recipe)
        if material is not None:
            derived_overrides |= derived_settings(recipe, material)
        recipes.append(load_recipe(variant.recipe, {**derived_overrides, **overrides}))
    return recipes


def derived_settings(recipe: Recipe, material: Material[Any]) -> dict[str, Any]:
    """Return the settings that depend on the pictures.

    These are the number of classes, class weights if the classes of a folder are imbalanced, and epochs for at least
    MIN_STEPS steps. Keys that the recipe does not have are left out.
    """
    settings: dict[str, Any] = {"network.classes": len(material.test.classes)}
    if isinstance(material, Collection):
        settings = class_settings(material.train.counts())
    tables = recipe.tables()
    known_settings = {key: value for key, value in settings.items() if key.split(".")[1] in tables[key.split(".")[0]]}
    return {**known_settings, "train.epochs": enough_epochs(recipe, len(material.train))}


def _trial_line(name: str, trial: Trial) -> str:
    values = trial.values
    return (
        f"{name}: accuracy {100 * values['accuracy']:.2f} %, macro F1 {100 * values['macro_f1']:.2f} %, "
        f"{plural(values['epochs'], 'epoch')} in {values['seconds']:.1f} s"
    )


def load_pictures(recipe: Recipe, root: str | None = None, progress: ReadingProgress | None = None) -> Material[Any]:
    """Load the pictures of a recipe into memory; a folder becomes a `Collection`, as in `gestures train`."""
    if recipe.data.check:
        return read_checked(recipe, progress)
    return load_arrays(recipe.data, recipe.recipe.seed, root)


def measure_run(run: Run, test: Dataset, repeats: int) -> Trial:
    """Evaluate a finished training on the test images; repeats: see `measure_latency`."""
    model = run.model
    with torch_threads(run.recipe.recipe.fixed_threads):
        probabilities = class_scores(model.predict(test).cpu())
        results = {**measure(test, probabilities), **measure_latency(model, test.x, repeats)}
    n_parameters = parameter_counts({"": model.net}, model.params).parameters
    frozen_paths = {path for pattern in run.recipe.train.frozen for path in match(model.params, pattern)}
    n_frozen = sum(model.weights[path].numel() for path in frozen_paths - buffer_paths(model.net))
    training = {
        "seed": run.recipe.recipe.seed,
        "run": str(run.path),
        "seconds": float(run.metrics["seconds"]),
        "epochs": int(run.metrics["epochs"]),
        "parameters": n_parameters,
        "learned": n_parameters - n_frozen,
    }
    return Trial({**training, **results}, probabilities.argmax(1) == test.y)


def measure(test: Dataset, probabilities: Tensor) -> dict[str, Any]:
    """Return the results of a classifier on images as JSON values. probabilities: (N, C), its outputs.

    They are those of `pellucid evaluate` for the classes, and for any training loss the mean negative log-likelihood.
    ece: the expected calibration error before calibration, of the bins in reliability. misread: the number of
    misclassified images. confusion: the counts by true and predicted class, and confusion_normalised, the same as
    fractions of each true class.
    """
    confusion = confusion_matrix(test.y, probabilities.argmax(1), len(test.classes))
    bins = reliability(test.y, probabilities, N_BINS)
    return {
        **class_results(test.classes, confusion),
        "loss": negative_log_likelihood(probabilities, test.y),
        "ece": bins.error,
        "misread": len(test) - int(confusion.diagonal().sum()),
        "confusion": confusion.tolist(),
        "confusion_normalised": (confusion.double() / confusion.sum(1).clamp_min(1)[:, None]).tolist(),
        "reliability": {
            "count": bins.count.tolist(),
            "confidence": bins.confidence.tolist(),
            "accuracy": bins.accuracy.tolist(),
        },
    }


def measure_latency(model: Model, x: Tensor, repeats: int = N_REPEATS) -> dict[str, Any]:
    """Return the median time of forward passes for single images of x (N, C, H, W), after a few warm-up passes.

    The keys are latency_ms, and latency_threads, the number of CPU threads. Raises PellucidError without images or
    repeats.
    """
    if repeats < 1 or not len(x):
        raise PellucidError(f"latency: {repeats} repeats over {len(x)} images; give at least one of each")
    predict = model.predictor()  # as for camera frames, the network is converted once
    for k in range(N_WARM_UP):
        predict(x[k % len(x)][None])
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < MAX_SECONDS:
        image = x[len(seconds) % len(x)][None]
        start = time.perf_counter()
        predict(image)
        seconds.append(time.perf_counter() - start)
    return {"latency_ms": 1000 * statistics.median(seconds), "latency_threads": torch.get_num_threads()}
