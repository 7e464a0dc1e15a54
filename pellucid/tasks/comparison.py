"""Comparison of candidates on the same examples: rows with one table, one page, and paired intervals."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.files import make_folder, write_atomically
from pellucid.command.out import to_json_types
from pellucid.metrics.bootstrap import percentile_intervals, resampled
from pellucid.report.figures.compared import RUN_COLOURS, Dot, ranking
from pellucid.report.figures.style import png
from pellucid.report.sections import (
    CodeBlock,
    Facts,
    FigurePart,
    FigureRow,
    Legend,
    Page,
    Section,
    SectionPart,
    TablePart,
)

PAGE_FILE, JSON_FILE, TABLE_FILE, FIGURE_FILE = (f"comparison.{suffix}" for suffix in ("html", "json", "md", "png"))
INTERVAL_COLUMNS = ("interval", "difference")
INTERVALS_ABOUT = (
    "interval",
    "95 % of resamples of the held-out examples; the difference is from the best row, on the same resamples",
)

ComparisonProgress = Callable[[str, int, int], None]
Interval = tuple[float, float]


class Titled(Protocol):
    """A candidate of a comparison."""

    @property
    def title(self) -> str:
        """The name in tables."""
        ...


Candidate = TypeVar("Candidate", bound=Titled)
T = TypeVar("T")


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
    measure: Callable[[str, Candidate], Iterable[T]],
    progress: ComparisonProgress,
) -> tuple[T, ...]:
    """Return the rows of all candidates.

    measure: a function of a name and its candidate that trains the candidate and returns its rows. progress: called
    with each title, its number (from 1) and the number of candidates.
    """
    rows: list[T] = []
    for number, (key, candidate) in enumerate(candidates.items(), 1):
        progress(candidate.title, number, len(candidates))
        rows += measure(key, candidate)
    return tuple(rows)


class ComparedColumn(NamedTuple):
    """A column of the table of a comparison."""

    key: str  # in the values of a row, with dots for nested ones
    heading: str
    text: Callable[[Any], str] = str
    about: str = ""  # what the values are, for the page
    ranking_title: str = ""  # heading of the figure that ranks the rows by their values, "" for no figure
    in_percent: bool = False  # drawn in per cent; other values are drawn on a logarithmic axis


@dataclass(frozen=True, eq=False)
class ComparedRow:
    """The results of one candidate on the held-out examples."""

    name: str
    title: str
    values: Mapping[str, Any]  # JSON values
    ranges: Mapping[str, Interval] = field(default_factory=dict)  # smallest and largest value over several trainings
    weighted_value: Callable[[Tensor], float] | None = (
        None  # the first column as a function of the weights of the examples, for intervals
    )
    about: str = ""  # what the candidate is, for the page
    run: str = ""  # the folder of the training run

    def value(self, key: str) -> Any:
        """Return a value by its dotted key."""
        value: Any = self.values
        for part in key.split("."):
            value = value[part]
        return value


@dataclass(frozen=True, eq=False)
class Comparison:
    """The rows of a comparison as a table, as JSON values, and as a page; all were measured on the same examples."""

    title: str  # of the page
    noun: str  # what a row is
    facts: Mapping[str, Any]  # JSON values: the data, the numbers of examples, the seed
    columns: Sequence[ComparedColumn]  # the first is the main figure, a fraction of which more is better
    rows: tuple[ComparedRow, ...]
    examples: int  # held-out examples
    notes: Sequence[str] = ()
    rows_key: str = "rows"  # in JSON
    caption: str = ""  # of the table
    header: Sequence[SectionPart] = ()  # of the page
    sections: Callable[[Sequence[ComparedRow]], Sequence[Section]] = lambda rows: ()  # further ones of the page

    @property
    def best(self) -> ComparedRow:
        """The row with the highest main figure that is not NaN; of equal ones, with the highest second figure."""
        keys = [column.key for column in self.columns[:2]]
        return max(self.rows, key=lambda row: [_for_ranking(row.value(key)) for key in keys])

    @cached_property
    def intervals(self) -> Mapping[str, Mapping[str, Interval]]:
        """The 95 % intervals of each row by its name: of its main figure, and of its difference from the best row's.

        Empty unless the figure of each row is known by examples.
        """
        functions = [row.weighted_value for row in self.rows if row.weighted_value is not None]
        if len(functions) < len(self.rows):
            return {}
        values = resampled(lambda weights: [function(weights) for function in functions], self.examples)
        best_values = values[:, [self.rows.index(self.best)]]  # (resamples, 1)
        pairs = zip(percentile_intervals(values), percentile_intervals(values - best_values), strict=True)
        return {
            row.name: dict(zip(INTERVAL_COLUMNS, pair, strict=True)) for row, pair in zip(self.rows, pairs, strict=True)
        }

    def to_json(self) -> dict[str, Any]:
        """Return the facts, the best row, and the values, ranges and intervals of each row."""
        rows: list[dict[str, Any]] = []
        for row in self.rows:
            ranges = {"range": row.ranges} if row.ranges else {}
            intervals = self.intervals.get(row.name, {})
            rows.append({"name": row.name, "title": row.title, **row.values, **ranges, **intervals})
        return {**self.facts, "best": self.best.name, self.rows_key: rows}

    def table(self) -> TablePart:
        """Return a row for each candidate; missing values are "-"."""
        main_column, *other_columns = self.columns
        head = [self.noun, main_column.heading, *INTERVAL_COLUMNS, *(column.heading for column in other_columns)]
        rows = [
            [
                row.title,
                _cell(row, main_column),
                *self._interval_cells(row),
                *(_cell(row, column) for column in other_columns),
            ]
            for row in self.rows
        ]
        return TablePart(self.caption, head, rows)

    def _interval_cells(self, row: ComparedRow) -> tuple[str, str]:
        """Return the interval of a row, and its difference from the best row with the interval, in per cent."""
        if row.name not in self.intervals:
            return "-", "-"
        interval, difference_interval = self.intervals[row.name].values()
        interval_text = f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
        if row is self.best:
            return interval_text, "-"
        key = self.columns[0].key
        difference = row.value(key) - self.best.value(key)
        limits_text = f"{100 * difference_interval[0]:+.1f} to {100 * difference_interval[1]:+.1f}"
        return interval_text, f"{100 * difference:+.1f} ({limits_text})"

    def __str__(self) -> str:
        """Return the table in plain text."""
        return str(self.table())

    def markdown(self) -> str:
        """Return the notes, the table, and the description and the run folder of each row."""
        lines = [f"# {self.title}", "", *self.notes, "", *self.table().markdown(), "", self.caption]
        for row in self.rows:
            run_text = f"Run: `{row.run}`" if row.run else ""
            lines += ["", f"## {row.title}", "", row.about, "", run_text]
        return "\n".join(lines) + "\n"

    def page(self, command: str) -> Page:
        """Return the page: the notes, the figures that rank the rows, the table, and the further sections."""
        abouts = [(column.heading, column.about) for column in self.columns if column.about]
        parts = [*self.notes, FigureRow(self.rankings()), self.table(), Facts([*abouts, INTERVALS_ABOUT], "Columns")]
        candidates = [(row.title, f"{row.about} Run: {row.run}") for row in self.rows if row.about]
        sections = [Section("result", "Result", parts, wide=True)]
        if candidates:
            sections.append(Section("candidates", "Candidates", [Facts(candidates)], wide=True))
        sections += [*self.sections(self.rows), Section("again", "Reproduce", [CodeBlock(command)], wide=True)]
        legend = Legend([(row.title, _colour(k)) for k, row in enumerate(self.rows)])
        return Page(self.title, sections, header=[legend, *self.header])

    def rankings(self) -> list[FigurePart]:
        """Return a figure for each column with a ranking."""
        colours = [_colour(k) for k in range(len(self.rows))]
        figures: list[FigurePart] = []
        for column in self.columns:
            if column.ranking_title:
                dots = [self._dot(row, column) for row in self.rows]
                figure = ranking(column.ranking_title, dots, colours, logarithmic=not column.in_percent)
                alt = f"{column.ranking_title}: {', '.join(f'{dot.name} {dot.text}' for dot in dots)}"
                figures.append(FigurePart(column.key.replace(".", "-"), figure, alt))
        return figures

    def _dot(self, row: ComparedRow, column: ComparedColumn) -> Dot:
        scale = 100 if column.in_percent else 1
        value = row.value(column.key)
        low, high = row.ranges.get(column.key, (value, value))
        return Dot(row.title, scale * value, scale * low, scale * high, column.text(value))

    def write(self, folder: Path, command: str) -> list[Path]:
        """Write comparison.html with its figures, comparison.json, .md and .png; return the paths of the first two.

        command: the command that repeats the comparison. Each file is written completely or not at all.
        """
        make_folder(folder)
        page = self.page(command).write(folder / PAGE_FILE)
        write_atomically(
            folder / JSON_FILE, json.dumps(to_json_types(self.to_json()), indent=1).encode(), durable=False
        )
        write_atomically(folder / TABLE_FILE, f"{self.markdown()}\nMade by `{command}`.\n".encode())
        figure = self.rankings()[0].figure
        if figure is not None:
            write_atomically(folder / FIGURE_FILE, png(figure), durable=False)
        return [page, folder / JSON_FILE]


def _for_ranking(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _colour(k: int) -> str:
    return RUN_COLOURS[k % len(RUN_COLOURS)]


def _cell(row: ComparedRow, column: ComparedColumn) -> str:
    """Return the value of a row as text, with its range over several trainings."""
    low, high = row.ranges.get(column.key, (0.0, 0.0))
    text = column.text(row.value(column.key))
    return text if low == high else f"{text} ({column.text(low)} to {column.text(high)})"
