"""The frozen lists of mistakes of all tasks, and the draw of the half that is opened last."""

import random
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DRAW_SEED = 34
# Lists written after list.toml by someone who had not seen the doctor; each is opened once, as a whole.
LATER_LISTS = ("second", "third", "fourth", "fifth")


@dataclass(frozen=True)
class ListedMistake:
    """An entry of list.toml, or of a later list such as second.toml."""

    id: str
    task: str
    mistake: str
    cause: str
    change: str
    source: str
    url: str


@cache
def _read_list(name: str = "list.toml") -> dict[str, Any]:
    return tomllib.loads((HERE / name).read_text("utf-8"))


@cache
def listed_mistakes() -> tuple[ListedMistake, ...]:
    """Return the list."""
    return tuple(ListedMistake(**entry) for entry in _read_list()["mistake"])


@cache
def later_mistakes(list_name: str) -> tuple[ListedMistake, ...]:
    """Return the harmful mistakes of one of LATER_LISTS."""
    entries = _read_list(f"{list_name}.toml")
    return tuple(ListedMistake(**one) for one in entries["mistake"] if one["id"] not in entries["not_harmful"])


def all_mistakes() -> tuple[ListedMistake, ...]:
    """Return the mistakes of all lists."""
    return sum(map(later_mistakes, LATER_LISTS), listed_mistakes())


@cache
def unopened_ids() -> frozenset[str]:
    """Return the ids of the half that is opened only once, at the end."""
    return frozenset(_read_list()["unopened"])


def draw(entries: Iterable[ListedMistake], seed: int = DRAW_SEED) -> list[str]:
    """Return the ids of the unopened half, drawn as the comment in list.toml says."""
    rng, by_task, drawn_ids, takes_larger_half = random.Random(seed), dict[str, list[str]](), list[str](), True
    for entry in entries:
        by_task.setdefault(entry.task, []).append(entry.id)
    for task in sorted(by_task):
        ids = sorted(by_task[task])
        rng.shuffle(ids)
        is_odd = len(ids) % 2
        drawn_ids += sorted(ids[: len(ids) // 2 + (is_odd and takes_larger_half)])
        takes_larger_half = takes_larger_half != bool(is_odd)
    return drawn_ids
