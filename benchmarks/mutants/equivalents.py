"""Equivalent mutants: survivors that compute the same as the original, with the reasons in equivalents.toml."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants.mutant import Mutant

FILE = Path(__file__).with_name("equivalents.toml")


@dataclass(frozen=True)
class Equivalent:
    """Equivalent mutants of one line of a file, and the reason. after: the changed lines; () for all that survive."""

    file: str
    before: str
    why: str
    after: tuple[str, ...] = ()

    def explains(self, mutant: Mutant) -> bool:
        """Return whether the mutant is one of these."""
        same_line = (self.file, self.before) == (mutant.file, mutant.before)
        return same_line and (not self.after or mutant.after in self.after)


def load(path: Path = FILE) -> list[Equivalent]:
    """Return the entries of a TOML file."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["equivalent"]
    return [Equivalent(**entry | {"after": tuple(entry.get("after", ()))}) for entry in entries]


def reason(mutant: Mutant, entries: Iterable[Equivalent]) -> str:
    """Return the reason why a mutant is equivalent; "" without an entry for it."""
    return next((one.why for one in entries if one.explains(mutant)), "")


def unused_entries(entries: Iterable[Equivalent], survivors: Iterable[Mutant]) -> list[Equivalent]:
    """Return the entries that explain no survivor: their code has changed, or their mutants are now detected."""
    mutants = list(survivors)
    return [one for one in entries if not any(one.explains(mutant) for mutant in mutants)]
