"""Files shipped with Pellucid and its plugins: recipes and pretrained weights."""

from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.plugins import load_plugins
from pellucid.base.toml_reader import read_toml

MODEL_HELP = "a run folder, a weights file, or a pretrained model's name"  # what a MODEL argument may be


_PLUGIN_FOLDERS: list[Path] = []  # folders of recipes


def add_recipes(folder: Path) -> None:
    """Register the recipes NAME.toml in a folder, which can then be used by name.

    Raises PellucidError for a folder without recipes, and for the name of another recipe.
    """
    names = [file.stem for file in folder.glob("*.toml")]
    if not names:
        raise PellucidError(f"{folder} contains no recipes; give a folder with NAME.toml in it")
    known_files = _files_by_name("recipes", ".toml")
    duplicate = next((name for name in names if name in known_files and known_files[name].parent != folder), None)
    if duplicate is not None:
        raise PellucidError(f"{folder / duplicate}.toml: another recipe is called {duplicate!r}; rename the file")
    if folder not in _PLUGIN_FOLDERS:
        _PLUGIN_FOLDERS.append(folder)


def shipped_folder(kind: str) -> Path:
    """Return the folder `kind`, "recipes" or "pretrained": in the package or, in a checkout, in its parent folder."""
    package = Path(__file__).resolve().parent
    packaged_folder = package / kind
    return packaged_folder if packaged_folder.is_dir() else package.parent / kind


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes, sorted."""
    return _sorted_names("recipes", ".toml")


def recipe_file(name: str) -> Path:
    """Return the path of a recipe; raises PellucidError, with the nearest name, for an unknown one."""
    return _file_named("recipes", name, ".toml", "recipe", "give one of these or a TOML file")


def recipe_abouts() -> dict[str, str]:
    """Return the description of each recipe, by name."""
    return {name: read_recipe(name)[1].get("recipe", {}).get("about", "") for name in recipe_names()}


def read_recipe(name: str) -> tuple[str, dict[str, Any]]:
    """Return the text and the tables of a recipe; raises PellucidError like `recipe_file`."""
    return read_toml(recipe_file(name), "correct the file")


def pretrained_names() -> tuple[str, ...]:
    """Return the names of the pretrained models, sorted."""
    return _sorted_names("pretrained", ".safetensors")


def pretrained_file(name: str) -> Path:
    """Return the weights of a pretrained model; raises PellucidError, with the nearest name, for an unknown one."""
    return _file_named("pretrained", name, ".safetensors", "model", "give one of these, a run folder or a weights file")


def is_shipped(file: Path) -> bool:
    """Return whether a file is the weights of a pretrained model of this installation."""
    return file.resolve().parent == shipped_folder("pretrained").resolve()


def _sorted_names(kind: str, suffix: str) -> tuple[str, ...]:
    load_plugins()
    return tuple(sorted(_files_by_name(kind, suffix)))


def _file_named(kind: str, name: str, suffix: str, noun: str, advice: str) -> Path:
    load_plugins()
    known = _files_by_name(kind, suffix)
    if name not in known:
        known_text = f"known: {', '.join(sorted(known))}; " if known else ""
        hint = nearest(name, sorted(known))
        raise PellucidError(f"no {noun} {name!r}{hint}; {known_text}{advice}")
    return known[name]


def _files_by_name(kind: str, suffix: str) -> dict[str, Path]:
    folders = [shipped_folder(kind), *(_PLUGIN_FOLDERS if kind == "recipes" else [])]
    return {file.stem: file for parent in folders for file in parent.glob(f"*{suffix}")}
