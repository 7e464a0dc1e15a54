"""The frozen list of mistakes of all tasks, and the draw of the half that is opened last."""

import random
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEED = 34


@dataclass(frozen=True)
class Listed:
    """An entry of list.toml."""

    id: str
    task: str
    mistake: str
    cause: str
    change: str
    source: str
    url: str


@cache
def _content() -> dict[str, Any]:
    return tomllib.loads((HERE / "list.toml").read_text("utf-8"))


@cache
def listed() -> tuple[Listed, ...]:
    """Return the list."""
    return tuple(Listed(**entry) for entry in _content()["mistake"])


@cache
def unopened() -> frozenset[str]:
    """Return the ids of the half that is opened only once, at the end."""
    return frozenset(_content()["unopened"])


def draw(entries: Iterable[Listed], seed: int = SEED) -> list[str]:
    """Return the ids of the unopened half, drawn as the comment in list.toml says."""
    rng, by_task, chosen, larger = random.Random(seed), dict[str, list[str]](), list[str](), True
    for entry in entries:
        by_task.setdefault(entry.task, []).append(entry.id)
    for task in sorted(by_task):
        ids = sorted(by_task[task])
        rng.shuffle(ids)
        odd = len(ids) % 2
        chosen += sorted(ids[: len(ids) // 2 + (odd and larger)])
        larger = larger != bool(odd)
    return chosen
