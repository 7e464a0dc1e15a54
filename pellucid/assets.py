"""Files shipped with Pellucid: recipes and pretrained weights."""

import tomllib
from pathlib import Path

from pellucid.errors import PellucidError, nearest

MODEL_HELP = "a run folder, a weights file, or a pretrained model's name"  # what a MODEL argument may be


def folder(kind: str) -> Path:
    """Return the folder `kind`, "recipes" or "pretrained", of the installed package, or of a checkout beside it."""
    package = Path(__file__).resolve().parent
    inside = package / kind
    return inside if inside.is_dir() else package.parent / kind


def recipe_names() -> tuple[str, ...]:
    """Return the names of the built-in recipes, sorted."""
    return _stems("recipes", ".toml")


def recipe_file(name: str) -> Path:
    """Return the path of a built-in recipe; PellucidError with the nearest name for an unknown one."""
    return _named("recipes", name, ".toml", "recipe", "give one of these or a TOML file")


def recipe_abouts() -> dict[str, str]:
    """Return the description of each built-in recipe, by name."""
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


def _stems(kind: str, suffix: str) -> tuple[str, ...]:
    here = folder(kind)
    return tuple(sorted(file.stem for file in here.glob(f"*{suffix}"))) if here.is_dir() else ()


def _named(kind: str, name: str, suffix: str, what: str, advice: str) -> Path:
    known = _stems(kind, suffix)
    if name not in known:
        listed = f"known: {', '.join(known)}; " if known else ""
        hint = nearest(name, known)
        raise PellucidError(f"no {what} {name!r}{hint}; {listed}{advice}")
    return folder(kind) / f"{name}{suffix}"
