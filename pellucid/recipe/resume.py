"""Resume the training of a run folder, or extend it."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import read_regular
from pellucid.base.limits import MAX_TOML_BYTES
from pellucid.base.text import plural, shown
from pellucid.model import Model
from pellucid.recipe.job import Run, begin_run, load_data, train_in, write_following_name
from pellucid.recipe.material import Material
from pellucid.recipe.recipe import Recipe, load_recipe, recipe_of_run
from pellucid.recipe.start import source_checksum
from pellucid.recipe.watched import is_taught
from pellucid.run.folder import RunFolder
from pellucid.run.records import read_line, read_object
from pellucid.training.checkpoint import SavedState
from pellucid.training.distributed import launch_name, processes


def resume(run: str | os.PathLike[str], data: str | os.PathLike[str] | None = None, progress: bool = True) -> Run:
    """Resume a run from its last checkpoint, and return it finished; see `resume_runs`."""
    return resume_runs(run, data, progress)[0]


def resume_runs(
    run: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    progress: bool = True,
    epochs: int | None = None,
) -> list[Run]:
    """Resume a run from its last checkpoint, and then the run that follows it for comparison, if any.

    epochs: the new total number of epochs of a finished run; None for no extension. A finished run is returned
    unchanged; if its results or its report are missing, it is evaluated once more. A missing second run is trained from
    its first epoch, with the recipe that recipe.then names. Raises PellucidError for a folder without recipe.toml.
    """
    path = Path(run)
    if not path.exists():
        raise PellucidError(f"{path} does not exist; give a run folder that `pellucid train` began")
    if not (path / "recipe.toml").is_file():
        raise PellucidError(
            f"{path} contains no recipe.toml; give a run folder that `pellucid train` began, or resume it in Python by "
            "model.fit(..., run=..., resume=True)"
        )
    if is_taught(path):
        raise PellucidError(
            f"{path} was taught in the studio, without epochs, so there is nothing to resume; train its recipe in a "
            f"new run: `pellucid train {path / 'recipe.toml'}`"
        )
    timeout = load_recipe(path / "recipe.toml").distributed.timeout
    paths = processes(timeout).from_first(lambda: _prepare_runs(path, data, epochs))
    return [_resume_run(path, data, progress, epochs) for path in paths]


def interrupted_run(out: str | os.PathLike[str], timeout: float) -> Path | None:
    """Return the run folder below `out` that the same command began, if torchrun has restarted it; otherwise None.

    timeout: see `processes`.
    """
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0:
        return None
    return processes(timeout).from_first(lambda: _run_begun_by(launch_name(), Path(out)))


def _run_begun_by(name: str, out: Path) -> Path | None:
    """Return the last run folder below `out` that this launch by torchrun began, even if its training has not begun."""
    launch_files: list[Path] = []
    for file in out.glob("*/launch"):
        with suppress(PellucidError):  # a damaged file of another run
            if read_line(file, "") == name:
                launch_files.append(file)
    return max(launch_files, key=lambda file: file.stat().st_mtime).parent if launch_files else None


def _prepare_runs(path: Path, data: str | os.PathLike[str] | None, epochs: int | None) -> list[Path]:
    """Return a run folder and the one that follows it; raises PellucidError unless both can have `epochs`, if given."""
    following_recipe = load_recipe(path / "recipe.toml").recipe.then
    if not following_recipe:
        if epochs is not None:
            _check_extension(RunFolder(path), epochs)
        return [path]
    following_path = _following_run(path)
    if epochs is not None:
        _check_extension_of_pair(path, following_path, epochs)
    return [path, following_path or _begin_following_run(path, following_recipe, data)]


def _check_extension_of_pair(path: Path, following_path: Path | None, epochs: int) -> None:
    """Raise PellucidError unless both runs can have `epochs`, or this extension was begun and is not finished."""
    if following_path is None:
        _check_extension(RunFolder(path), epochs)
        raise PellucidError(f"the run that follows {path} is missing; resume it without train.epochs first")
    runs = [path, following_path]
    is_finished = all(_has_results(run, epochs) for run in runs)
    for run in runs:
        is_begun = load_recipe(run / "recipe.toml").train.epochs == epochs
        if is_finished or not is_begun:
            _check_extension(RunFolder(run), epochs)


def _has_results(path: Path, epochs: int) -> bool:
    """Return whether a training of `epochs` epochs is finished and evaluated."""
    checkpoint = SavedState.find(RunFolder(path))
    if checkpoint is None or not checkpoint.has_ended(epochs):
        return False
    return _read_results(path).get("epochs") == checkpoint.progress["epoch"]


def _resume_run(path: Path, data: str | os.PathLike[str] | None, progress: bool, epochs: int | None) -> Run:
    """Return a finished run, or resume an unfinished one, or extend it to `epochs`; see `resume_runs`."""
    overrides = {} if epochs is None else {"train.epochs": epochs}
    folder, recipe = RunFolder(path), recipe_of_run(path, overrides)
    checkpoint = SavedState.find(folder)
    if checkpoint is not None and checkpoint.has_ended(recipe.train.epochs) and (path / "report.html").is_file():
        results = _read_results(path)
        try:
            model = Model.load(folder.best)
        except PellucidError:  # a damaged file, which train_in repairs
            model = None
        if model is not None and results.get("epochs") == checkpoint.progress["epoch"]:
            checkpoint.note_finished(folder)
            return Run(path, path / "report.html", results, model, recipe)
    return train_in(path, load_data(recipe, data), progress, data, recipe=recipe)


def _check_extension(folder: RunFolder, epochs: int) -> None:
    """Raise PellucidError for a run that is not finished, or not of fewer epochs; its files are not changed."""
    checkpoint = SavedState.find(folder)
    if checkpoint is None or not checkpoint.done:
        raise PellucidError(f"{folder.path} is not finished; resume it without train.epochs first")
    if epochs <= checkpoint.progress["epoch"]:
        epochs_text = plural(checkpoint.progress["epoch"], "epoch")
        raise PellucidError(f"train.epochs: {folder.path} was trained for {epochs_text}; give more, not {epochs}")


def train_or_resume(
    recipe: Recipe,
    material: Material[Any],
    out: str | os.PathLike[str] = "runs",
    data: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Run:
    """Return the finished run of a recipe on `material` in `out`; otherwise resume or start one.

    Only runs on the same data and from the same initial weights are used.
    """
    expected_entries = {"data": material.checksums, "start": source_checksum(recipe.start.weights, data)}
    unfinished: Path | None = None
    paths = [path.parent for path in Path(out).glob(f"{recipe.name}-*/recipe.toml")]
    for path in sorted(paths, key=lambda path: (len(path.name), path.name)):  # in the order of their numbers
        folder = RunFolder(path)
        manifest = folder.read_manifest() if folder.manifest.is_file() else expected_entries
        try:
            text = read_regular(folder.recipe, MAX_TOML_BYTES, follow_links=False).decode("utf-8", "replace")
        except OSError:
            continue
        if text != recipe.to_toml() or {name: manifest.get(name) for name in expected_entries} != expected_entries:
            continue
        if results := _read_results(path):
            return Run(path, path / "report.html", results, Model.load(folder.best), recipe)
        unfinished = path
    path, model = (unfinished, None) if unfinished else begin_run(recipe, material, out, data)
    return train_in(path, material, progress, data, model=model)


def _read_results(path: Path) -> dict[str, Any]:
    """Return the results of a finished run, {} for an unfinished one."""
    try:
        results = read_object(path / "results.json", "") or {}
    except PellucidError:  # a damaged file, which is written again
        return {}
    return results if {"seconds", "epochs"} <= results.keys() else {}


def _following_run(path: Path) -> Path | None:
    """Return the run folder that follows `path`; None if it is missing."""
    name_file = RunFolder(path).comparison_file
    name = read_line(name_file, "remove it, and its run begins again")
    if name is None:
        return None
    if name == ".." or Path(name).name != name:
        # a run folder may be from a stranger, and must not name any folder to train in
        raise PellucidError(f"{name_file} contains {shown(name)}, not the name of a folder beside {path}; remove it")
    following_path = path.parent / name
    return following_path if (following_path / "recipe.toml").is_file() else None


def _begin_following_run(path: Path, recipe_name: str, data: str | os.PathLike[str] | None) -> Path:
    """Create the run folder that follows `path`, with the recipe `recipe_name`, and return it."""
    recipe = load_recipe(recipe_name)
    following, _ = begin_run(recipe, load_data(recipe, data), path.parent, data)
    write_following_name(path, following)
    return following
