"""The keys of a recipe as a form: numbers, switches, choices and texts, and the overrides that a page may send."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pellucid.base.errors import PellucidError
from pellucid.base.settings.annotations import arguments_of
from pellucid.base.settings.checks import check, check_known
from pellucid.data import CATALOGUE
from pellucid.recipe.material import SHAPES
from pellucid.recipe.recipe import (
    NO_PART,
    PART_KINDS,
    PLAIN_TABLES,
    Recipe,
    load_recipe,
    parse_overrides,
    recipe_of_run,
)
from pellucid.recipe.toml import toml_value
from pellucid.shipped_files import recipe_names

MAX_SETTINGS, MAX_SETTING = 100, 1000  # overrides of a recipe, and the characters of one
FILE_KEYS = ("recipe.name", "recipe.then", "start.weights")
INTERVALS = 8  # parts of a training between which weights are kept, if its recipe names no epochs
HIDDEN_KEYS = (*FILE_KEYS, "recipe.about")


def changed_recipe(name: str, settings: Sequence[str]) -> tuple[Recipe, dict[str, Any]]:
    """Return a built-in recipe with overrides such as "optimizer.lr=0.5", and the overrides by key.

    Raises PellucidError for invalid settings, and for overrides that name files, other recipes or runs.
    """
    check_known("no recipe", name, recipe_names())
    check(len(settings) <= MAX_SETTINGS, "settings", f"at most {MAX_SETTINGS}", len(settings))
    check(
        all(len(setting) <= MAX_SETTING for setting in settings),
        "settings",
        f"of at most {MAX_SETTING} characters",
        "more",
    )
    overrides = parse_overrides([*settings])
    for key, value in overrides.items():
        if key == "data.name":
            check_known("no data set", str(value), [*CATALOGUE, *SHAPES])
        elif key in FILE_KEYS or any(mark in text for text in _texts(value) for mark in "/\\~"):
            raise PellucidError(f"{key} names a file or a run; set it on the command line: pellucid train")
    return load_recipe(name, overrides), overrides


def settings_of(recipe: Recipe) -> list[str]:
    """Return the settings in which the form of a run's recipe differs from that of the built-in recipe of its name.

    Raises PellucidError if there is no such recipe, or if the run differs in a file, which a page cannot set.
    """
    name = recipe.recipe.name
    check_known("no built-in recipe", name, recipe_names())
    base = load_recipe(name)
    if (recipe.start, recipe.recipe.then) != (base.start, base.recipe.then):
        raise PellucidError(f"this run of {name} begins with weights of its own; repeat it by pellucid train")
    defaults = {field["key"]: field["value"] for field in form_fields(base)}
    kept_by_studio = toml_value(epochs_to_keep(recipe.train.epochs))  # `train.start` chooses them again
    fields = form_fields(recipe)
    # Another part, such as another optimizer, has other defaults, so that all of its keys are settings.
    other_parts = {
        field["key"].partition(".")[0]
        for field in fields
        if field["is_part"] and field["value"] != defaults.get(field["key"])
    }
    settings = list[str]()
    for field in fields:
        key, value = field["key"], field["value"]
        is_default = value == defaults.get(key) and key.partition(".")[0] not in other_parts
        if is_default or (key == "train.keep" and value == kept_by_studio):
            continue
        settings.append(_setting(field))
    return settings


def settings_of_change(path: Path, change: Mapping[str, Any]) -> list[str]:
    """Return a change of a run's recipe as settings for the form; [] if the form cannot make it, or has it already.

    change: values by dotted key.
    """
    try:
        recipe = recipe_of_run(path)
        changed = recipe_of_run(path, change)
        settings_of(changed)
    except PellucidError:
        return []
    if changed == recipe:
        return []
    return [_setting(field) for field in form_fields(changed) if field["key"] in change]


def _setting(field: Mapping[str, Any]) -> str:
    """Return the override that gives a field of the form its value."""
    value = field["value"]
    value_text = str(value).lower() if isinstance(value, bool) else value
    return f"{field['key']}={value_text}"


def epochs_to_keep(epochs: int) -> list[int]:
    """Return the epochs whose weights are kept: 0, those with pictures (powers of two), and evenly spaced ones."""
    doubled = {2**power for power in range(epochs.bit_length())}
    return sorted(doubled | {round(part * epochs / INTERVALS) for part in range(INTERVALS + 1)})


def _texts(value: Any) -> Iterable[str]:
    """Yield all texts of a TOML value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, element in value.items():
            yield key
            yield from _texts(element)
    elif isinstance(value, Sequence):
        for element in value:
            yield from _texts(element)


def form_fields(recipe: Recipe) -> list[dict[str, Any]]:
    """Return the keys of a recipe that a page can change: key, value and choices.

    value: a number, a boolean or a text; other types are written as TOML. choices: the possible texts, None if there is
    no list of them. is_part: whether other keys of the table depend on the value.
    """
    fields = list[dict[str, Any]]()
    for table, values in recipe.tables().items():
        for key, value in values.items():
            dotted = f"{table}.{key}"
            if dotted in HIDDEN_KEYS:
                continue
            value_text = value if isinstance(value, bool | int | float | str) else toml_value(value)
            value_text = NO_PART if value is None else value_text
            choices = _choices(recipe, table, key)
            if choices and value_text not in choices:  # such as the path of a data set
                value_text = str(value_text)
                choices = [value_text, *choices]
            is_part = table in PART_KINDS and key == PART_KINDS[table].key
            fields.append({"key": dotted, "value": value_text, "choices": choices, "is_part": is_part})
    return fields


def _choices(recipe: Recipe, table: str, key: str) -> list[str] | None:
    """Return the possible texts of a key, None if they are not listed."""
    if table == "data" and key == "name":
        return [*CATALOGUE, *SHAPES]
    if table in PART_KINDS:
        if key == PART_KINDS[table].key:
            return [name for name in PART_KINDS[table].known if table != "objective" or name != NO_PART]
        target: Any = PART_KINDS[table].known[getattr(recipe, table).name]
    else:
        target = PLAIN_TABLES[table]
    slot = arguments_of(target).get(key)
    kinds = () if slot is None else (slot.annotation, *get_args(slot.annotation))
    listed = next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())
    if not listed or not all(isinstance(choice, str) for choice in listed):
        return None
    return [*listed, *([NO_PART] if type(None) in kinds else [])]
