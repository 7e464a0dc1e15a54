"""Train the same network in five ways on the same pictures, resuming trainings, and evaluate all in the same way."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pellucid.data import CATALOGUE, Dataset, data_root
from pellucid.errors import PellucidError
from pellucid.recipe.job import Run, build_model
from pellucid.recipe.material import SHAPES, Material, load_arrays
from pellucid.recipe.recipe import Recipe, load_recipe
from pellucid.recipe.resume import train_or_resume
from pellucid.run.history import History
from pellucid.settings.checks import integer
from pellucid.tasks.gestures.backbone import adapted, backbone_settings
from pellucid.tasks.gestures.collection import Collection
from pellucid.tasks.gestures.comparison import (
    VARIANTS,
    TrainingVariant,
    Trial,
    VariantComparison,
    VariantRow,
    count_learned,
)
from pellucid.tasks.gestures.findings import lines
from pellucid.tasks.gestures.learn import check_data, check_in_memory, enough_epochs, read_for, told_by
from pellucid.tasks.gestures.measure import REPEATS, measure
from pellucid.tasks.gestures.reading import ReadingProgress
from pellucid.tasks.gestures.report import write_comparison
from pellucid.text import plural
from pellucid.training.process import kernel_threads

BACKBONE = "cifar"  # start.weights of the recipes themselves
Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Pictures:
    """The data of a training.

    collection: the contents of the user's own folder, None for a data set. preprocess: see `build_model`.
    """

    material: Material[Dataset]
    collection: Collection | None
    preprocess: Mapping[str, Any]


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
    tell: Tell = lambda line: None,
    reading: ReadingProgress | None = None,
    repeats: int = REPEATS,
) -> VariantComparison:
    """Train every variant with `seeds` seeds, and write page, table and figures into the folder `out`.

    backbone: `start.weights` of all variants but the first. data: a data set's name, an image folder, or the root of
    the data sets; a folder is read, split and weighted as by `gestures train`. overrides: for all recipes; unless they
    set the epochs, small collections get more of them, as by `gestures train`. tell: is called with each line of the
    findings in a folder, and with a line for each finished training. reading: is called with the progress of reading a
    folder. Below `out`, an unfinished training of the same recipe and pictures is resumed, and a finished one is only
    measured again. Raises PellucidError for mistakes before anything is trained, and KeyboardInterrupt on Ctrl-C, after
    which the page shows the finished trainings.
    """
    count = integer(seeds, "seeds", 1)
    root, named = _data(data)
    settings = {**named, **(overrides or {})}
    backbone_overrides = {} if backbone == BACKBONE else backbone_settings(backbone, root)
    recipes = _recipes(variants, backbone_overrides, settings)
    pictures = pictures_for(recipes[0], root, reading)
    material = pictures.material
    settings = {**_data_settings(recipes, pictures), **settings}
    recipes = _recipes(variants, backbone_overrides, settings)
    if "train.epochs" not in settings:
        n = len(material.train)
        recipes = [replace(recipe, train=replace(recipe.train, epochs=enough_epochs(recipe, n))) for recipe in recipes]
    for line in lines(pictures.collection) if pictures.collection is not None else ():
        tell(line)
    for recipe in recipes:
        build_model(recipe, material.train, root)  # raises errors before the first training
    trials: dict[str, list[Trial]] = {variant.name: [] for variant in variants}
    folder = Path(out)

    def finished() -> VariantComparison:
        return VariantComparison(
            rows=tuple(
                VariantRow(variant, tuple(trials[variant.name])) for variant in variants if trials[variant.name]
            ),
            planned=len(variants),
            backbone=backbone,
            network=recipes[0].network.name,
            size=tuple(material.test.x.shape[1:]),
            data=Path(recipes[0].data.name).name,
            n_train=len(material.train) + (0 if material.validation is None else len(material.validation)),
            n_test=len(material.test),
            classes=material.test.classes,
            command=command,
            collection=pictures.collection,
        )

    try:
        for k in range(count):
            for number, (variant, first) in enumerate(zip(variants, recipes, strict=True), 1):
                recipe = replace(first, recipe=replace(first.recipe, seed=first.recipe.seed + k))
                shared = same_pictures(recipe, recipes[0])
                own_pictures = pictures if shared else pictures_for(recipe, root, reading)
                # Only this command splits the user's own folder in the same way, so the report of a run shows it.
                repeating = "" if own_pictures.collection is None else command
                own = own_pictures.material, folder, root, progress, own_pictures.preprocess, repeating
                run = train_or_resume(recipe, *own)
                trial = measure_run(run, own_pictures.material, repeats)
                trials[variant.name].append(trial)
                seed = f", seed {trial.seed}" if count > 1 else ""
                tell(_line(f"{number}/{len(variants)} {variant.title}{seed}", trial))
    except KeyboardInterrupt:
        n_done = sum(map(len, trials.values()))
        if n_done:
            write_comparison(folder, finished())
        raise KeyboardInterrupt(
            f"stopped with {n_done} of {count * len(variants)} trainings finished; they are kept in {folder}; run the "
            "same command again to continue"
        ) from None
    result = finished()
    write_comparison(folder, result)
    return result


def _data(data: str | os.PathLike[str] | None) -> tuple[str | None, dict[str, Any]]:
    """Return the root of the data sets, None for the default, and the settings for data other than the recipes'."""
    if data is None:
        return None, {}
    text = os.fspath(data)
    if text in CATALOGUE:
        return None, {"data.name": text}
    if not Path(text).exists():
        raise PellucidError(f"no data set or folder {text!r}; give an image folder or a name of `pellucid data list`")
    if Path(text).is_dir() and any(
        _is_present(data_root(text) / entry.path) for entry in CATALOGUE.values() if entry.path
    ):
        return text, {}
    return None, {"data.name": str(Path(text).absolute())}


def _is_present(path: Path) -> bool:
    """Return whether a data set of images is at a path; a class folder of the same name has no part train/."""
    return path.is_file() or (path / "train").is_dir()


def _recipes(
    variants: Sequence[TrainingVariant], backbone_overrides: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[Recipe]:
    """Return the recipe of each variant.

    backbone_overrides: for the variants that start from a backbone; the others only get its settings of the network.
    """
    network = {key: value for key, value in backbone_overrides.items() if not key.startswith("start.")}
    recipes: list[Recipe] = []
    for variant in variants:
        overrides = {**(backbone_overrides if variant.transfers else network), **settings}
        recipe = load_recipe(variant.recipe, overrides)
        recipes.append(load_recipe(variant.recipe, {**adapted(recipe), **overrides}) if network else recipe)
    _check_alike(recipes)
    return recipes


def _data_settings(recipes: Sequence[Recipe], pictures: Pictures) -> dict[str, Any]:
    """Return the settings that depend on the pictures: the number of classes, and weights of imbalanced ones."""
    if pictures.collection is not None:
        by_recipe = [told_by(pictures.collection, recipe) for recipe in recipes]
        return {
            key: value for one in by_recipe for key, value in one.items() if all(key in other for other in by_recipe)
        }
    classes = len(pictures.material.test.classes)
    arguments = recipes[0].network.arguments
    return {"network.classes": classes} if arguments.get("classes", classes) != classes else {}


def _check_alike(recipes: Sequence[Recipe]) -> None:
    """Raise PellucidError unless all recipes have the same network and images."""
    first = recipes[0]
    for recipe in recipes[1:]:
        ours, theirs = first.tables(), recipe.tables()
        for table, keys in (("network", ours["network"] | theirs["network"]), ("data", ("name", "size", "mode"))):
            for key in keys:
                if ours[table].get(key) != theirs[table].get(key):
                    raise PellucidError(
                        f"{first.name} and {recipe.name} differ in {table}.{key} ({ours[table].get(key)} and "
                        f"{theirs[table].get(key)}), so they cannot be compared; set it for all by {table}.{key}=..."
                    )


def _line(name: str, trial: Trial) -> str:
    measured = trial.measured
    return (
        f"{name}: accuracy {100 * measured.accuracy:.2f} %, macro F1 {100 * measured.macro_f1:.2f} %, "
        f"{plural(trial.epochs, 'epoch')} in {trial.seconds:.1f} s"
    )


def pictures_for(recipe: Recipe, root: str | None = None, progress: ReadingProgress | None = None) -> Pictures:
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
        part="test" if material.validation is None else "validation",
        seconds=float(run.metrics["seconds"]),
        epochs=int(run.metrics["epochs"]),
        parameters=total,
        learned=learned,
    )
