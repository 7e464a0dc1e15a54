"""Files shipped with Pellucid and its plugins: recipes and pretrained weights."""

import tomllib
from pathlib import Path

from pellucid.errors import PellucidError, nearest
from pellucid.plugins import load_plugins

MODEL_HELP = "a run folder, a weights file, or a pretrained model's name"  # what a MODEL argument may be


_OF_PLUGINS: list[Path] = []  # folders of recipes


def add_recipes(folder: Path) -> None:
    """Make the recipes in a folder, NAME.toml, known by their names.

    Raises PellucidError for a folder without recipes, and for a name that another recipe has.
    """
    names = [file.stem for file in folder.glob("*.toml")]
    if not names:
        raise PellucidError(f"{folder} contains no recipes; give a folder with NAME.toml in it")
    others = _files("recipes", ".toml")
    taken = next((name for name in names if name in others and others[name].parent != folder), None)
    if taken is not None:
        raise PellucidError(f"{folder / taken}.toml: another recipe is called {taken!r}; rename the file")
    if folder not in _OF_PLUGINS:
        _OF_PLUGINS.append(folder)


def folder(kind: str) -> Path:
    """Return the folder `kind`, "recipes" or "pretrained", of the installed package, or of a checkout beside it."""
    package = Path(__file__).resolve().parent
    inside = package / kind
    return inside if inside.is_dir() else package.parent / kind


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes, sorted."""
    return _stems("recipes", ".toml")


def recipe_file(name: str) -> Path:
    """Return the path of a recipe; PellucidError with the nearest name for an unknown one."""
    return _named("recipes", name, ".toml", "recipe", "give one of these or a TOML file")


def recipe_abouts() -> dict[str, str]:
    """Return the description of each recipe, by name."""
    abouts: dict[str, str] = {}
    for name in recipe_names():
        with recipe_file(name).open("rb") as file:
            abouts[name] = tomllib.load(file).get("recipe", {}).get("about", "")
    return abouts


def pretrained_names() -> tuple[str, ...]:
    """Return the names of the pretrained models, sorted."""
    return _stems("pretrained", ".safetensors")


def pretrained_file(name: str) -> Path:
    """Return the path of the weights of a pretrained model; PellucidError with the nearest name for an unknown one."""
    return _named("pretrained", name, ".safetensors", "model", "give one of these, a run folder or a weights file")


def is_shipped(file: Path) -> bool:
    """Return whether a file is the weights of a pretrained model of this installation."""
    return file.resolve().parent == folder("pretrained").resolve()


def _stems(kind: str, suffix: str) -> tuple[str, ...]:
    load_plugins()
    return tuple(sorted(_files(kind, suffix)))


def _named(kind: str, name: str, suffix: str, what: str, advice: str) -> Path:
    load_plugins()
    known = _files(kind, suffix)
    if name not in known:
        listed = f"known: {', '.join(sorted(known))}; " if known else ""
        hint = nearest(name, sorted(known))
        raise PellucidError(f"no {what} {name!r}{hint}; {listed}{advice}")
    return known[name]


def _files(kind: str, suffix: str) -> dict[str, Path]:
    folders = [folder(kind), *(_OF_PLUGINS if kind == "recipes" else [])]
    return {file.stem: file for parent in folders for file in parent.glob(f"*{suffix}")}
