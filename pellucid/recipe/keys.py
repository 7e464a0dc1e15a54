"""Every key of a recipe: its type, default and meaning, from the classes and functions that use it."""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pellucid.base.settings.annotations import Argument, arguments_of, name_of
from pellucid.base.text import aligned
from pellucid.optim import Schedule
from pellucid.recipe.recipe import NO_PART, PART_KINDS, PLAIN_TABLES, TABLES
from pellucid.recipe.toml import TOML_NONE, toml_value


@dataclass(frozen=True)
class RecipeKey:
    """One key: its type in words, and its default, None if `required`."""

    name: str
    type: str
    default: Any
    required: bool = False


@dataclass(frozen=True)
class TableKeys:
    """The keys of a table, or of a part that a table names, with a description.

    choices: the parts that the first key of a table may name; the arguments of each are keys of the table too.
    """

    name: str
    about: str
    keys: tuple[RecipeKey, ...]
    choices: tuple["TableKeys", ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the table, its keys and its choices as JSON values."""
        return {**dataclasses.asdict(self), "choices": [choice.to_json() for choice in self.choices]}

    def __str__(self) -> str:
        """Return the table, its keys and its choices as text."""
        text_lines = [f"[{self.name}]", *self._lines()]
        for choice in self.choices:
            text_lines += ["", f'  {self.keys[0].name} = "{choice.name}"', *(f"  {line}" for line in choice._lines())]
        return "\n".join(line.rstrip() for line in text_lines)

    def _lines(self) -> list[str]:
        rows = [(key.name, "must be given" if key.required else toml_value(key.default), key.type) for key in self.keys]
        table = aligned(rows).splitlines() if rows else []
        about = [*self.about.splitlines(), ""] if len(self.about.splitlines()) > 1 else [self.about]
        return [f"  {line}" for line in (*about, *table)]


def recipe_keys() -> tuple[TableKeys, ...]:
    """Return the keys of every table of a recipe."""
    return tuple(_plain_table_keys(table) if table in PLAIN_TABLES else _part_table_keys(table) for table in TABLES)


def recipe_schema() -> dict[str, Any]:
    """Return a JSON Schema of recipes for editors: tables, keys, and names of parts; types are in the descriptions.

    A table of a part, such as [optimizer], accepts the keys of every part that it may name.
    """
    tables = {}
    for table in recipe_keys():
        keys = [*table.keys, *(key for choice in table.choices for key in choice.keys)]
        properties: dict[str, Any] = {key.name: {"description": key.type} for key in keys}
        if table.choices:
            properties[table.keys[0].name]["enum"] = [choice.name for choice in table.choices]
        tables[table.name] = {
            "type": "object",
            "description": table.about,
            "properties": properties,
            "additionalProperties": False,
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "a recipe of pellucid",
        "type": "object",
        "properties": tables,
        "additionalProperties": False,
    }


def _plain_table_keys(table: str) -> TableKeys:
    about = _docstring(PLAIN_TABLES[table]).removeprefix(f"[{table}]: ")
    return TableKeys(table, about[:1].upper() + about[1:], _argument_keys(PLAIN_TABLES[table]))


def _part_table_keys(table: str) -> TableKeys:
    kind = PART_KINDS[table]
    name_key = RecipeKey(kind.key, f"one of {', '.join(map(repr, kind.known))}", kind.default)
    about = f"The {table} by name; its arguments are the other keys of the table."
    parts = {name: None if name == NO_PART else part for name, part in kind.known.items()}
    choices = (
        TableKeys(name, _docstring(part), _argument_keys(part)) if part else TableKeys(name, "Nothing.", ())
        for name, part in parts.items()
    )
    return TableKeys(table, about, (name_key,), tuple(choices))


def _argument_keys(target: Callable[..., Any]) -> tuple[RecipeKey, ...]:
    return tuple(_argument_key(name, slot) for name, slot in arguments_of(target).items())


def _argument_key(name: str, slot: Argument) -> RecipeKey:
    if slot.annotation is Schedule:
        return RecipeKey(name, "the name of a schedule, or its table", PART_KINDS["schedule"].default)
    if slot.default is dataclasses.MISSING:
        return RecipeKey(name, name_of(slot.annotation, TOML_NONE), None, required=True)
    return RecipeKey(name, name_of(slot.annotation, TOML_NONE), slot.default)


def _docstring(target: Callable[..., Any]) -> str:
    return inspect.getdoc(target) or ""
