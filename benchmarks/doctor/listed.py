"""The frozen lists of mistakes, the draw of the half that was opened last, and what readers judged of the doctor."""

import random
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "lists"
DRAW_SEED = 34
# The first list has two halves. The later ones were written by someone who had not seen the doctor; each was opened
# once, as a whole.
LATER = ("second", "third", "fourth", "fifth")
UNUSUAL = ("first", "unopened", *LATER)


@dataclass(frozen=True)
class Mistake:
    """An entry of a list: with its task and the change that mends it, or if usual, with a kind of names.toml."""

    id: str
    mistake: str
    cause: str
    source: str
    url: str
    task: str = ""
    change: str = ""
    kind: str = ""


@cache
def read(name: str) -> Mapping[str, Any]:
    """Return the contents of a file of the folder."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))


@cache
def mistakes(list_name: str) -> dict[str, Mistake]:
    """Return the harmful mistakes of "usual" or of one of UNUSUAL, by their ids."""
    contents = read("first" if list_name == "unopened" else list_name)
    unopened, left_out = contents.get("unopened", ()), contents.get("not_harmful", ())
    entries = [Mistake(**one) for one in contents["mistake"] if one["id"] not in left_out]
    return {one.id: one for one in entries if (one.id in unopened) == (list_name == "unopened")}


def draw(entries: Iterable[Mistake], seed: int = DRAW_SEED) -> list[str]:
    """Return the ids of the unopened half, drawn as the comment in first.toml says."""
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


def judgements(list_name: str) -> Mapping[str, str]:
    """Return what a reader judged of the first thing that the doctor says, by the ids of mistakes of a list."""
    name = "mistakes" if list_name in ("first", "unopened") else list_name
    return read("judged").get(name, {}) if list_name in UNUSUAL else {}
