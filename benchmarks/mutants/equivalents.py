"""Survivors that are no gap in the checks: what they change cannot be noticed, and `equivalents.toml` says why."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants.mutant import Mutant

FILE = Path(__file__).with_name("equivalents.toml")


@dataclass(frozen=True)
class Equivalent:
    """Mutants of one line of a file, and why they compute the same; without `after`, all that survive."""

    file: str
    before: str
    why: str
    after: tuple[str, ...] = ()

    def explains(self, mutant: Mutant) -> bool:
        """Say whether the mutant is one of these."""
        same_line = (self.file, self.before) == (mutant.file, mutant.before)
        return same_line and (not self.after or mutant.after in self.after)


def load(path: Path = FILE) -> list[Equivalent]:
    """Read the entries."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["equivalent"]
    return [Equivalent(**entry | {"after": tuple(entry.get("after", ()))}) for entry in entries]


def reason(mutant: Mutant, entries: Iterable[Equivalent]) -> str:
    """Return why the mutant is none; "" where nobody said so."""
    return next((one.why for one in entries if one.explains(mutant)), "")


def unused_entries(entries: Iterable[Equivalent], survivors: Iterable[Mutant]) -> list[Equivalent]:
    """Return the entries that explain no survivor: the code has changed, or the checks notice it by now."""
    mutants = list(survivors)
    return [one for one in entries if not any(one.explains(mutant) for mutant in mutants)]
