"""The parts that a recipe selects by name: networks, losses, optimizers, schedules and regularizers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pellucid.errors import PellucidError, nearest
from pellucid.losses import LOSSES
from pellucid.models import MODELS
from pellucid.optim import OPTIMIZERS, REGULARIZERS, SCHEDULES, Schedule
from pellucid.recipe.tables import Part
from pellucid.recipe.values import check_table, slots

NOTHING = "none"  # regularizer.name = "none"


@dataclass(frozen=True)
class Kind:
    """One table of parts: the key that holds the name, the name it has by default, and what the names mean."""

    key: str
    default: str
    known: Mapping[str, Callable[..., Any]]


KINDS: dict[str, Kind] = {
    "network": Kind("model", "mlp", MODELS),
    "loss": Kind("name", "softmax_cross_entropy", LOSSES),
    "optimizer": Kind("name", "adam", OPTIMIZERS),
    "schedule": Kind("name", "constant", SCHEDULES),
    "regularizer": Kind("name", NOTHING, {NOTHING: dict, **REGULARIZERS}),
}


def read_part(given: Mapping[str, Any], table: str, where: str) -> Part:
    """Return the part that a table describes, with all its arguments.

    An argument that is itself a part (the schedule after a warm-up) is given by its name or as a table.
    Raises PellucidError for an unknown name (with the nearest), unknown or missing arguments, and wrong types.
    """
    kind = KINDS[table]
    name = given.get(kind.key, kind.default)
    if not isinstance(name, str) or name not in kind.known:
        hint = nearest(name, kind.known) if isinstance(name, str) else ""
        raise PellucidError(f"{where}: no {table} {name!r:.60}{hint}; known: {', '.join(kind.known)}")
    known = {} if name == NOTHING else slots(kind.known[name])
    plain = {key: slot for key, slot in known.items() if slot.kind is not Schedule}
    arguments = {key: value for key, value in given.items() if key != kind.key and key not in known.keys() - plain}
    parts: dict[str, Any] = {}
    for key in known.keys() - plain:
        inner = given.get(key, {})
        inner = {KINDS["schedule"].key: inner} if isinstance(inner, str) else inner
        if not isinstance(inner, Mapping) or table != "schedule":
            raise PellucidError(f"{where}: {table}.{key} takes the name of a schedule or its table, not {inner!r:.60}")
        parts[key] = read_part(inner, "schedule", where)
    checked = check_table(arguments, plain, where, table)
    return Part(name, {key: parts[key] if key in parts else checked[key] for key in known})


def part_table(part: Part, table: str) -> dict[str, Any]:
    """Return the table that describes a part."""
    arguments = {
        key: part_table(value, "schedule") if isinstance(value, Part) else value
        for key, value in part.arguments.items()
    }
    return {KINDS[table].key: part.name, **arguments}


def build_part(part: Part, table: str, where: str) -> Any:
    """Return the object that a part describes, or None for the part "none"; PellucidError where it cannot be."""
    if part.name == NOTHING:
        return None
    arguments = {
        key: build_part(value, "schedule", where) if isinstance(value, Part) else value
        for key, value in part.arguments.items()
    }
    try:
        return KINDS[table].known[part.name](**arguments)
    except PellucidError as error:
        raise PellucidError(f"{where}: [{table}] {error}") from error
