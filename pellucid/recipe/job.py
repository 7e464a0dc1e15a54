"""A training job: from a recipe to a finished run folder."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pellucid.base.allocator import keeping_freed_memory
from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.base.limits import MAX_RUN_JSON_BYTES
from pellucid.data import CATALOGUE, Augment, Source
from pellucid.data.skipping import skipping
from pellucid.data.source import swaps_of
from pellucid.model import Model
from pellucid.recipe.baseline import baseline_results
from pellucid.recipe.build import build_model
from pellucid.recipe.checked.reading import checked_data
from pellucid.recipe.duration import cost_of_run, within_minutes
from pellucid.recipe.material import Material, divide_data, fetch_missing, load_material
from pellucid.recipe.previews import Previews
from pellucid.recipe.recipe import Recipe, load_recipe, recipe_of_run
from pellucid.recipe.start import source_checksum
from pellucid.recipe.threads import auto_threads
from pellucid.recipe.watched import TrainingControl
from pellucid.run.folder import RunFolder, next_run
from pellucid.run.history import History
from pellucid.task import task_for, task_of
from pellucid.training.callbacks import Callback, EarlyStopping, Snapshots, Training
from pellucid.training.distributed import launch_name, processes
from pellucid.training.process import torch_threads
from pellucid.training.shard_loaders import shards_of_process
from pellucid.training.trackers import check_trackers, trackers


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training: its folder, report, results on the test images, model and recipe."""

    path: Path
    report: Path
    metrics: dict[str, Any]
    model: Model
    recipe: Recipe
    __repr__ = brief_repr


@dataclass(frozen=True, eq=False)
class Job:
    """A training that is ready to start: its recipe, the model with its initial weights, the data and the run folder.

    root: the folder of the data sets. command: the command that repeats the training, for the report; "" for
    `pellucid train` with the run's recipe. callbacks: additional callbacks, without a state that resuming restores.
    """

    recipe: Recipe
    model: Model
    material: Material[Any]
    path: Path
    root: str | os.PathLike[str] | None
    progress: bool
    command: str = ""
    callbacks: Sequence[Callback] = ()

    def cost(self) -> str:
        """Return ", about 5 min and 1.2 GB on this machine", measured by a few steps; "" if that is not known."""
        cost = cost_of_run(self.recipe, self.model, self.material, augmentation(self.recipe, self.material))
        return "" if cost is None else f", {cost.text(self.recipe.train.epochs)}"

    def train(self) -> Run:
        """Train in the run folder, or resume its training."""
        recipe, material, train_table = self.recipe, self.material, self.recipe.train
        augment, threads = augmentation(recipe, material), recipe.recipe.threads
        model, thread_callbacks = self.model, list[Callback]()
        if threads == "auto":
            thread_callbacks = [thread_choice := auto_threads(recipe, model, material, RunFolder(self.path), augment)]
            threads = thread_choice.fastest.threads
            model = self._model_with_threads(threads)
        manifest = {
            "recipe": recipe.name,
            "data_set": recipe.data.name,
            "data": material.checksums,
            "start": source_checksum(recipe.start.weights, self.root),
        }
        if (file_parts := material.file_parts()) is not None and processes().is_first:
            split_json = json.dumps(file_parts, indent=1).encode()
            if len(split_json) <= MAX_RUN_JSON_BYTES:  # what is larger could not be read; the seed draws it again
                write_atomically(RunFolder(self.path).split, split_json)
        with torch_threads(threads), processes().answering_within(recipe.distributed.timeout):
            history = model.fit(
                material.train,
                epochs=train_table.epochs,
                batch_size=min(train_table.batch_size, len(material.train)),
                validation=material.validation or material.test,
                augment=augment,
                callbacks=[*self._callbacks(model), *thread_callbacks],
                run=self.path,
                resume=True,
                monitor="" if material.validation is None else train_table.monitor,  # test images choose no weights
                checkpoint_seconds=train_table.checkpoint_seconds,
                manifest=manifest,
                verbose=self.progress,
                accumulate=train_table.accumulate,
                **recipe.distributed.arguments(),
            )
        with torch_threads(threads), keeping_freed_memory():
            run = self._evaluate_and_report(history) if processes().is_first else None
            results = processes().from_first(lambda: None if run is None else run.metrics)
            return run or Run(self.path, self.path / "report.html", results or {}, model, recipe)

    def _callbacks(self, model: Model) -> list[Callback]:
        """Return the callbacks of the training of a model."""
        folder, material, train_table = RunFolder(self.path), self.material, self.recipe.train
        previews = Previews(folder, model, material.validation or material.test)
        callbacks: list[Callback] = [previews, TrainingControl(self.path), *self.callbacks]
        if train_table.early_stopping:
            callbacks.append(EarlyStopping(train_table.early_stopping, train_table.monitor))
        if train_table.keep:
            callbacks.append(Snapshots(folder.weights, train_table.keep))
        callbacks += trackers(train_table.log, self.path, self.recipe.name, self.recipe.tables())
        return [*callbacks, _RecipeWriter(folder.recipe, self.recipe)]

    def _model_with_threads(self, threads: int) -> Model:
        """Return the model with the initial weights of a recipe with this number of threads."""
        # their last bits may depend on it (start.whiten); the run then equals one with this number in its recipe
        recipe = replace(self.recipe, recipe=replace(self.recipe.recipe, threads=threads))
        return build_model(recipe, self.material.train, self.root, self.model.preprocess, RunFolder(self.path))

    def _evaluate_and_report(self, history: History) -> Run:
        """Evaluate the model on the test images, and write results.json and the report."""
        # Imports matplotlib, which the doctor of a run does not need.
        from pellucid.recipe.data_page.look import TEST, TRAINING, VALIDATION, page_of_parts
        from pellucid.recipe.run_report import read_report_data, write_report

        recipe, material, path = self.recipe, self.material, self.path
        folder = RunFolder(path)
        model = Model.load(folder.best)
        if task_of(model).finish(model, material.train, material.validation, material.test):
            model.save(folder.best)
        if recipe.recipe.device != "cpu":
            model = Model.load(folder.best, device=recipe.recipe.device)
        baseline = baseline_results(model, material.train, material.test, len(material.train) * len(history))
        results = {
            **model.evaluate(material.test),
            **task_of(model).test_figures(model, material.test),
            **({"baseline": baseline} if baseline else {}),
            "weights": "last" if material.validation is None else "best",
            "sha256": model.sha256(),
            "epochs": len(history),
            "seconds": round(sum(history["seconds"]), 3),
            "images_per_second": round(sum(history["images_per_second"]) / len(history), 1),
        }
        write_atomically(path / "results.json", (json.dumps(results, indent=2) + "\n").encode())
        val_data = "test" if material.validation is None else "validation"
        command = self.command or f"pellucid train {path / 'recipe.toml'}"
        report_data = read_report_data(path, model, material.test, command, results, val_data, material.train)
        parts = {TRAINING: material.train, VALIDATION: material.validation, TEST: material.test}
        data_page = page_of_parts(parts, recipe.data.name, model, augmentation(recipe, material))
        manifest = {**report_data.manifest, "weights_sha256": results["sha256"]}
        report = write_report(path, replace(report_data, manifest=manifest, data=data_page.sections()))
        return Run(path, report, results, model, recipe)


class _RecipeWriter(Callback):
    """Write the recipe of a run that is extended, as soon as its training begins."""

    def __init__(self, file: Path, recipe: Recipe) -> None:
        self.file = file
        self.recipe = recipe

    def on_start(self, training: Training) -> None:
        """Write the recipe, unless the file contains it."""
        if load_recipe(self.file) != self.recipe:
            write_atomically(self.file, self.recipe.to_toml().encode())


def augmentation(recipe: Recipe, material: Material[Any]) -> Augment | None:
    """Return the augmentation of a recipe, with the pairs of key-points that mirroring swaps; None for none."""
    augment = recipe.augment
    if augment == Augment():
        return None
    return replace(augment, swaps=swaps_of(material.train)) if augment.swaps is None else augment


def train(
    recipe: str | Path | Recipe,
    /,
    *,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "runs",
    progress: bool = True,
    **overrides: Any,
) -> Run:
    """Train with a recipe: `pellucid.train("mnist-mlp", **{"optimizer.lr": 0.5})`.

    recipe: a built-in name, a TOML file or a Recipe. data: the root of the data sets. out: the folder in which
    the run folder is made. Returns the run of this recipe, even if recipe.then adds a second run for comparison.
    Raises PellucidError for mistakes in the recipe, missing data, and NaN or infinity in training.
    """
    if isinstance(recipe, Recipe) and overrides:
        raise PellucidError("a Recipe is complete; give overrides to load_recipe, or give the recipe's name")
    full_recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    first_run, *_ = (job.train() for job in new_jobs(full_recipe, overrides, data, out, progress))
    return first_run


def new_jobs(
    recipe: Recipe,
    overrides: Mapping[str, Any],
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "runs",
    progress: bool = True,
) -> list[Job]:
    """Return the job of a recipe in a new run folder, followed by the job of the recipe that recipe.then names, if any.

    overrides: the overrides of the recipe; all but recipe.name, .then and .about also apply to the second recipe.
    """
    shared_overrides = {
        key: value for key, value in overrides.items() if key not in ("recipe.name", "recipe.then", "recipe.about")
    }
    recipes = [recipe, load_recipe(recipe.recipe.then, shared_overrides)] if recipe.recipe.then else [recipe]
    processes(recipe.distributed.timeout)
    for job_recipe in recipes:
        check_trackers(job_recipe.train.log)
    materials = [load_data(recipe, data) for recipe in recipes]
    # All models are built before any folder is made, so that an error leaves no folder behind.
    models = [
        build_model(job_recipe, material.train, data) for job_recipe, material in zip(recipes, materials, strict=True)
    ]
    recipes = [
        within_minutes(job_recipe, model, material, augmentation(job_recipe, material))
        for job_recipe, model, material in zip(recipes, models, materials, strict=True)
    ]
    paths = _make_folders(recipes, out)
    return [Job(*job_parts, data, progress) for job_parts in zip(recipes, models, materials, paths, strict=True)]


def _make_folders(recipes: Sequence[Recipe], out: str | os.PathLike[str]) -> list[Path]:
    """Make a run folder for each recipe in the first process, and return the folders in all.

    Raises PellucidError, before any folder is made, for recipes that differ between the processes and too few shards.
    """
    all_processes = processes()
    for recipe in recipes:
        settings = {f"{table}.{key}": value for table, keys in recipe.tables().items() for key, value in keys.items()}
        all_processes.check_equal({name: repr(value) for name, value in settings.items()})
        if recipe.distributed.shards:
            shards_of_process(all_processes, recipe.distributed.shards)
    return all_processes.from_first(lambda: _new_folders(recipes, out))


def _new_folders(recipes: Sequence[Recipe], out: str | os.PathLike[str]) -> list[Path]:
    """Make a run folder with recipe.toml for each recipe, and return the folders."""
    paths = [next_run(out, recipe.name) for recipe in recipes]
    if len(paths) > 1:
        write_following_name(paths[0], paths[1])
    for job_recipe, path in reversed(list(zip(recipes, paths, strict=True))):
        write_atomically(path / "recipe.toml", job_recipe.to_toml().encode())
    if processes().count > 1:
        # torchrun repeats the command after a failure, which would otherwise begin another run
        write_atomically(RunFolder(paths[0]).launch, launch_name().encode())
    return paths


def begin_run(
    recipe: Recipe,
    material: Material[Any],
    out: str | os.PathLike[str] = "runs",
    data: str | os.PathLike[str] | None = None,
) -> tuple[Path, Model]:
    """Make the run folder and the model of a training on `material`; an error in the recipe leaves no folder behind."""
    processes(recipe.distributed.timeout)
    model = build_model(recipe, material.train, data)
    return _make_folders([recipe], out)[0], model


def train_in(
    path: Path,
    material: Material[Any],
    progress: bool = True,
    data: str | os.PathLike[str] | None = None,
    command: str = "",
    model: Model | None = None,
    callbacks: Sequence[Callback] = (),
    recipe: Recipe | None = None,
) -> Run:
    """Train in a run folder with its recipe, from its last checkpoint if there is one.

    command, callbacks: see `Job`. model: the model of `begin_run`, for a new run. recipe: replaces that of the folder
    when the training begins.
    """
    recipe = recipe or recipe_of_run(path)
    model = model or build_model(recipe, material.train, data, run=RunFolder(path))
    recipe = within_minutes(recipe, model, material, augmentation(recipe, material))
    return Job(recipe, model, material, path, data, progress, command, callbacks).train()


def load_data(recipe: Recipe, root: str | os.PathLike[str] | None = None, decode_all: bool = True) -> Material[Source]:
    """Return the data of a recipe in the form that the task of its objective needs.

    For the user's own masks, loss.ignore is the class index that is ignored. The user's own images that are decoded on
    demand are all decoded once, so that unreadable files raise PellucidError before the training, unless decode_all is
    False. Missing files of a data set with a download site are downloaded. With data.check, the data are a
    `Collection`.
    """
    objective, table = recipe.training_objective(), recipe.data
    if table.check:
        return checked_data(recipe)
    processes().from_first(lambda: fetch_missing(table.name, root))
    material = data_in_task_format(recipe, root)
    if material is None:
        material = load_material(table, recipe.recipe.seed, root, recipe.loss.arguments.get("ignore"))
    if decode_all and table.name not in CATALOGUE:
        # an unreadable file then ends the training in seconds, not in its first epoch, with all such files counted
        material.refuse_unreadable()
    return material.map(lambda part: task_for(objective).examples(objective, part, table.name))


def data_in_task_format(recipe: Recipe, root: str | os.PathLike[str] | None = None) -> Material[Source] | None:
    """Return the data of a recipe if their format is specific to its task, otherwise None."""
    objective = recipe.training_objective()
    with skipping(recipe.data.skip):
        parts = task_for(objective).read(objective, recipe.data, root)
    if parts is None:
        return None
    train, test, *validation = parts
    if not validation:
        return divide_data(recipe.data, recipe.recipe.seed, train, test)
    material = divide_data(replace(recipe.data, validation=0.0), recipe.recipe.seed, train, test)
    return replace(material, validation=validation[0])


def write_following_name(path: Path, following: Path) -> None:
    """Write into the run folder `path` the name of the run that follows it."""
    write_atomically(RunFolder(path).comparison_file, f"{following.name}\n".encode())
