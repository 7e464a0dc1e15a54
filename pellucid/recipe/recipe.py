"""Recipes: everything that defines a training run, in one TOML file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pellucid import shipped_files
from pellucid.base.errors import PellucidError, closest, nearest
from pellucid.base.settings.annotations import arguments_of
from pellucid.base.toml_reader import read_toml
from pellucid.data import Augment
from pellucid.losses import LOSSES
from pellucid.models import MODELS
from pellucid.objective import Objective, Supervised
from pellucid.optim import OPTIMIZERS, REGULARIZERS, SCHEDULES, Schedule
from pellucid.recipe.tables import About, Data, Distributed, NamedPart, Start, Train, as_table
from pellucid.recipe.toml import check_table, coerce, parse_value, write_toml
from pellucid.task import tasks

NO_PART = "none"  # for example regularizer.name = "none"
MAX_DEPTH = 8  # levels of nested schedules


@dataclass(frozen=True)
class PartKind:
    """A table that names a part: the key of the name, the default name, and a function that returns parts by name."""

    key: str
    default: str
    parts: Callable[[], Mapping[str, Callable[..., Any]]]

    @property
    def known(self) -> Mapping[str, Callable[..., Any]]:
        """The available parts by name."""
        return self.parts()


def _objectives() -> dict[str, Callable[..., Any]]:
    return {NO_PART: dict} | {
        name: build_objective for task in reversed(tasks()) for name, build_objective in task.objectives().items()
    }


PART_KINDS: dict[str, PartKind] = {
    "network": PartKind("model", "mlp", lambda: MODELS),
    "objective": PartKind("model", NO_PART, _objectives),
    "loss": PartKind("name", "softmax_cross_entropy", lambda: LOSSES),
    "optimizer": PartKind("name", "adam", lambda: OPTIMIZERS),
    "schedule": PartKind("name", "constant", lambda: SCHEDULES),
    "regularizer": PartKind("name", NO_PART, lambda: {NO_PART: dict, **REGULARIZERS}),
}


def read_part(values: Mapping[str, Any], table: str, where: str, depth: int = 0) -> NamedPart:
    """Return the part that a table describes, with all its arguments.

    An argument that is itself a part (the schedule after a linear warmup) is given by its name or as a table. depth:
    the number of enclosing parts.
    Raises PellucidError for an unknown name (suggesting the nearest), unknown or missing arguments, and wrong types.
    """
    kind = PART_KINDS[table]
    name = values.get(kind.key, kind.default)
    if not isinstance(name, str) or name not in kind.known:
        hint = nearest(name, kind.known) if isinstance(name, str) else ""
        raise PellucidError(f"{where}: no {table} {name!r:.60}{hint}; known: {', '.join(kind.known)}")

    def read_argument(value: Any, annotation: Any, location: str) -> Any:
        if annotation is not Schedule:
            return coerce(value, annotation, location)
        schedule_table = {PART_KINDS["schedule"].key: value} if isinstance(value, str) else value
        if not isinstance(schedule_table, Mapping):
            raise PellucidError(f"{location} takes the name of a schedule or its table, not {schedule_table!r:.60}")
        if depth == MAX_DEPTH:
            raise PellucidError(f"{where}: [schedule] is nested in more than {MAX_DEPTH} levels; make it flatter")
        return read_part(schedule_table, "schedule", where, depth + 1)

    argument_slots = {} if name == NO_PART else arguments_of(kind.known[name])
    default_parts = {key: {} for key, slot in argument_slots.items() if slot.annotation is Schedule}
    arguments = default_parts | {key: value for key, value in values.items() if key != kind.key}
    return NamedPart(name, check_table(arguments, argument_slots, where, table, read_argument))


def part_table(part: NamedPart, table: str) -> dict[str, Any]:
    """Return the table that describes a part."""
    arguments = {
        key: part_table(value, "schedule") if isinstance(value, NamedPart) else value
        for key, value in part.arguments.items()
    }
    return {PART_KINDS[table].key: part.name, **arguments}


def build_part(part: NamedPart, table: str, where: str) -> Any:
    """Return the object that a part describes, None for the part "none"; raises PellucidError for invalid arguments."""
    if part.name == NO_PART:
        return None
    arguments = {
        key: build_part(value, "schedule", where) if isinstance(value, NamedPart) else value
        for key, value in part.arguments.items()
    }
    try:
        return PART_KINDS[table].known[part.name](**arguments)
    except PellucidError as error:
        raise PellucidError(f"{where}: [{table}] {error}") from error


# Tables with fixed keys; each of the other tables names a part, whose arguments are its keys.
PLAIN_TABLES: dict[str, type] = {
    "recipe": About, "data": Data, "augment": Augment, "start": Start, "train": Train, "distributed": Distributed
}  # fmt: skip
FINDINGS_FILE = "collection.json"  # in the run folders of `gestures train`: the findings in the class folders
REPLACED_TABLES = ("network", "loss")  # tables that [objective] replaces
TABLES = (
    "recipe", "data", "augment", "network", "objective", "start", "loss", "optimizer", "schedule", "regularizer",
    "train", "distributed",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A training run: every table with every key.

    With an objective, network and loss are the part "none"; without one, the objective is the part "none".
    """

    recipe: About
    data: Data
    augment: Augment
    network: NamedPart
    objective: NamedPart
    start: Start
    loss: NamedPart
    optimizer: NamedPart
    schedule: NamedPart
    regularizer: NamedPart
    train: Train
    distributed: Distributed

    @property
    def name(self) -> str:
        """The name of the recipe's run folders."""
        return self.recipe.name

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return all tables with all their keys and values."""
        return {
            table: as_table(getattr(self, table)) if table in PLAIN_TABLES else part_table(getattr(self, table), table)
            for table in TABLES
            if table not in ("objective", *REPLACED_TABLES) or getattr(self, table).name != NO_PART
        }

    def to_toml(self) -> str:
        """Return the complete recipe as TOML."""
        return write_toml(self.tables())

    def training_objective(self) -> Objective:
        """Return the objective; without one, the supervised objective of the network and its loss."""
        return self.build("objective") or Supervised(self.build("network"), self.build("loss"))

    def build(self, table: str) -> Any:
        """Return the network, objective, loss, optimizer, schedule or regularizer (None for "none")."""
        return build_part(getattr(self, table), table, self.name)


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return a recipe: a built-in one by its name, or a TOML file (or the run folder that contains one).

    overrides: values by dotted key, `{"optimizer.lr": 0.5}`. A new name for a part ("optimizer.name") drops the
    arguments that the file gives to the old one. If train.epochs is lowered, the last epoch replaces later ones in
    train.keep.
    Raises PellucidError for files that cannot be read, for unknown names and keys (suggesting the nearest), and for
    values of the wrong type or size.
    """
    path = find_recipe(name_or_path)
    # A run folder, which may come from a stranger, contains its recipe itself, not a link to any file.
    is_in_run_folder = path.name == "recipe.toml"
    _, tables = read_toml(path, "give a built-in recipe or a TOML file", follow_links=not is_in_run_folder)
    return read_recipe(tables, str(name_or_path), overrides or {}, path.stem)


def recipe_of_run(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a run folder; overrides: see `load_recipe`."""
    # Folders of `gestures train` of earlier releases have FINDINGS_FILE, but not data.check.
    check_override = {"data.check": True} if (Path(path) / FINDINGS_FILE).is_file() else {}
    return load_recipe(Path(path) / "recipe.toml", {**check_override, **(overrides or {})})


def read_recipe(tables: Mapping[str, Any], where: str, overrides: Mapping[str, Any], name: str = "custom") -> Recipe:
    """Return the recipe that raw tables describe; errors begin with `where`; `name` is the default name."""
    for table, table_values in tables.items():
        if table not in TABLES:
            raise PellucidError(
                f"{where}: unknown table [{table}]{nearest(table, TABLES) or f'; known: {_TABLE_NAMES}'}"
            )
        if not isinstance(table_values, Mapping):
            raise PellucidError(f"{where}: {table} must be a table, written [{table}], not {table_values!r:.60}")
    raw_tables = _apply_overrides({table: dict(tables.get(table, {})) for table in TABLES}, overrides, where)
    epochs: Any = raw_tables["train"].get("epochs")
    keep: Any = raw_tables["train"].get("keep")
    is_shortened = "train.epochs" in overrides and "train.keep" not in overrides and isinstance(keep, list)
    if is_shortened and all(type(epoch) is int for epoch in (epochs, *keep)):  # other types raise an error below
        raw_tables["train"]["keep"] = sorted({min(epochs, epoch) for epoch in keep})
    values: dict[str, Any] = {}
    has_objective = raw_tables["objective"].get(PART_KINDS["objective"].key, NO_PART) != NO_PART
    for table in TABLES:
        if table in PLAIN_TABLES:
            values[table] = _read_plain_table(PLAIN_TABLES[table], raw_tables[table], table, where)
        elif has_objective and table in REPLACED_TABLES:
            if raw_tables[table]:
                raise PellucidError(f"{where}: [{table}] is given beside [objective], which replaces it; leave it out")
            values[table] = NamedPart(NO_PART)
        else:
            values[table] = read_part(raw_tables[table], table, where)
    recipe = Recipe(**values)
    if not recipe.name:
        recipe = replace(recipe, recipe=replace(recipe.recipe, name=folder_name(name)))
    built_parts = {
        table: build_part(getattr(recipe, table), table, where) for table in PART_KINDS
    }  # invalid arguments raise an error before the data are loaded
    if not recipe.data.validation and (recipe.train.early_stopping or built_parts["schedule"].watches):
        cause = "train.early_stopping" if recipe.train.early_stopping else "reduce_on_plateau in [schedule]"
        raise PellucidError(f"{where}: {cause} needs validation data; hold some images out with data.validation=0.1")
    return recipe


def parse_overrides(settings: list[str]) -> dict[str, Any]:
    """Return the overrides of a command line's `key=value` words; raises PellucidError for any other word."""
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals_sign, text = setting.partition("=")
        if not equals_sign or not key:
            raise PellucidError(f"{setting!r} is not a setting; write key=value, such as optimizer.lr=0.5")
        if key in overrides:
            raise PellucidError(f"{key} is set twice; give it once")
        overrides[key] = parse_value(text)
    return overrides


def find_recipe(name_or_path: str | Path) -> Path:
    """Return the TOML file of a built-in recipe, of a path, or of a run folder."""
    text = str(name_or_path)
    if text in shipped_files.recipe_names():
        return shipped_files.recipe_file(text)
    path = Path(text)
    if path.is_dir() and (path / "recipe.toml").is_file():
        return path / "recipe.toml"
    if path.suffix == ".toml" or path.is_file():
        return path
    return shipped_files.recipe_file(text)  # raises PellucidError with a list of the built-in recipes


def _apply_overrides(
    tables: dict[str, dict[str, Any]], overrides: Mapping[str, Any], where: str
) -> dict[str, dict[str, Any]]:
    for key in overrides:
        table, dot, name = key.partition(".")
        if table not in TABLES or not dot or not name:
            hint = _nearest_key(key, tables) or f"; keys are TABLE.KEY with one of the tables {_TABLE_NAMES}"
            raise PellucidError(f"{where}: unknown key {key!r}{hint}")
        if table in PART_KINDS and name == PART_KINDS[table].key and overrides[key] != tables[table].get(name):
            tables[table] = {}
    for key, value in overrides.items():
        table, _, name = key.partition(".")
        tables[table][name] = value
    return tables


def _nearest_key(key: str, tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a hint such as "; did you mean 'optimizer.lr'?" for an unknown key; "" if no key is similar."""
    table, _, name = key.rpartition(".")
    nearest_table = closest(table, TABLES) if table else None
    table_by_key = {
        key: table
        for table in ([nearest_table] if nearest_table else TABLES)
        for key in _known_keys(table, tables[table])
    }
    nearest_name = closest(name, table_by_key, 0.6)
    if key in PART_KINDS:
        return f"; did you mean '{key}.{PART_KINDS[key].key}'?"
    return f"; did you mean '{table_by_key[nearest_name]}.{nearest_name}'?" if nearest_name else ""


def _known_keys(table: str, values: Mapping[str, Any]) -> list[str]:
    """Return the keys of a table, including the arguments of the part that it names."""
    if table in PLAIN_TABLES:
        return list(arguments_of(PLAIN_TABLES[table]))
    kind = PART_KINDS[table]
    part = kind.known.get(values.get(kind.key, kind.default))
    return [kind.key, *values, *(arguments_of(part) if part not in (None, dict) else ())]


def _read_plain_table(table_class: type, table_values: Mapping[str, Any], table: str, where: str) -> Any:
    values = check_table(table_values, arguments_of(table_class), where, table)
    try:
        return table_class(**values)
    except PellucidError as error:
        raise PellucidError(f"{where}: {error}") from error


def folder_name(stem: str) -> str:
    """Return a name for run folders from a file's stem, with "-" for characters that are not allowed."""
    valid_name = "".join(character if character.isalnum() or character in "-_." else "-" for character in stem).lstrip(
        ".-"
    )[:100]
    return valid_name or "custom"


_TABLE_NAMES = ", ".join(TABLES)
