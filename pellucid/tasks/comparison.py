"""Comparison of candidates on the same data: their selection, their rows, and the files of the results."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from matplotlib.figure import Figure

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.files import make_folder, write_atomically
from pellucid.command.out import plain
from pellucid.report.figures.style import png
from pellucid.report.sections import Page, TablePart

ComparisonProgress = Callable[[str, int, int], None]


class Titled(Protocol):
    """A candidate of a comparison."""

    @property
    def title(self) -> str:
        """The name in tables."""
        ...


Candidate = TypeVar("Candidate", bound=Titled)
Row = TypeVar("Row")


def select(candidates: Mapping[str, Candidate], only: Collection[str], message: str) -> dict[str, Candidate]:
    """Return the candidates with the names in `only`, all if it is empty; raises PellucidError for an unknown name.

    message: of the error, with {} for the unknown name.
    """
    for key in only:
        if key not in candidates:
            hint = nearest(key, candidates) or f"; there are {', '.join(candidates)}"
            raise PellucidError(f"{message.format(key)}{hint}")
    return {key: candidate for key, candidate in candidates.items() if not only or key in only}


def measure_candidates(
    candidates: Mapping[str, Candidate],
    measure: Callable[[str, Candidate], Iterable[Row]],
    progress: ComparisonProgress,
) -> tuple[Row, ...]:
    """Return the rows of all candidates.

    measure: a function of a name and its candidate that trains the candidate and returns its rows. progress: called
    with each title, its number (from 1) and the number of candidates.
    """
    rows: list[Row] = []
    for number, (key, candidate) in enumerate(candidates.items(), 1):
        progress(candidate.title, number, len(candidates))
        rows += measure(key, candidate)
    return tuple(rows)


class Comparison(ABC):
    """The rows of a comparison as a table, as JSON values, and as a page or a figure."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""

    @abstractmethod
    def table(self) -> TablePart:
        """Return a row for each candidate."""

    @abstractmethod
    def lines(self) -> list[str]:
        """Return the lines above the table in a terminal."""

    @abstractmethod
    def page_or_figure(self, command: str) -> Page | Figure:
        """Return a page or a figure of the rows. command: the command that repeats the comparison."""

    def __str__(self) -> str:
        """Return the table in plain text."""
        return str(self.table())

    def write(self, folder: Path, command: str) -> list[Path]:
        """Write comparison.json, and comparison.html with its figures or comparison.png; return both paths."""
        make_folder(folder)
        json_path, display = folder / "comparison.json", self.page_or_figure(command)
        write_atomically(json_path, json.dumps(plain(self.to_json()), indent=1).encode(), durable=False)
        if isinstance(display, Page):
            return [display.write(folder / "comparison.html"), json_path]
        write_atomically(folder / "comparison.png", png(display), durable=False)
        return [json_path, folder / "comparison.png"]
