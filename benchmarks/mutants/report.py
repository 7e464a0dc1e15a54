"""The outcomes of the mutants: docs/mutants.md for people, docs/mutants.json.gz for programs."""

import gzip
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mutants.checks import Verdict
from benchmarks.mutants.mutant import Mutant
from benchmarks.mutants.trials import Trial

HEADING = """# Mutation check

Every backward pass is broken on purpose, to measure whether the tests and the [scorecard](scorecard.md) detect it. Each
mutant is one typical mistake (a sign, a factor, an axis, a sum, a padding off by one, swapped gradients) in code that
gradients pass through: the backward passes of all layers, combinators and fused forms, the values and gradients of all
losses, and the outputs of the form for inference. It is written into a copy of the library, and the tests of that code
and the cases of the scorecard for its layer or loss are run; combinators and fused forms have none there. Each mutant,
the error that showed it, and the reasons why some change nothing are in [mutants.json.gz](mutants.json.gz). Written by
`python -m benchmarks.mutants`; nothing is typed by hand.
"""
STORED = "mutants.json.gz"
WRONG_NUMBER_ERRORS = {
    "AssertionError",
    "Failed",
    "Mismatch",
}  # errors that report a wrong number; all other errors were raised before a comparison


@dataclass(frozen=True)
class Outcome:
    """A trial, and the reason why its mutant is equivalent to the original; "" if it is not."""

    trial: Trial
    why: str = ""

    @property
    def survived(self) -> bool:
        """Whether the mutant is a mistake that was not detected."""
        return not self.trial.caught and not self.why

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        mutant, tests, scorecard = self.trial.mutant, self.trial.tests, self.trial.scorecard
        return {
            "mutant": mutant.name,
            "before": mutant.before,
            "after": mutant.after,
            "tests": tests.how,
            "scorecard": None if scorecard.none else scorecard.how,
            "equivalent": self.why,
        }


def outcomes(trials: Iterable[Trial], reason: Callable[[Any], str]) -> list[Outcome]:
    """Return the outcomes of the trials that count, sorted by file and line."""
    results = [Outcome(trial, "" if trial.caught else reason(trial.mutant)) for trial in trials if trial.counts]
    return sorted(results, key=lambda one: sort_key(one.trial.mutant.name))


def sort_key(name: str) -> tuple[str, int, str]:
    file, line_and_operator = name.split(":", 1)
    line, operator = line_and_operator.split(" ", 1)
    return file, int(line), operator


def counts(results: Iterable[Outcome]) -> dict[str, int]:
    """Return the number of mutants and the numbers by outcome."""
    all_outcomes = list(results)
    trials = [one.trial for one in all_outcomes]
    return {
        "mutants": len(all_outcomes),
        "tests": sum(trial.tests.caught for trial in trials),
        "scorecard": sum(trial.scorecard.caught for trial in trials),
        "both": sum(trial.tests.caught and trial.scorecard.caught for trial in trials),
        "equivalent": sum(bool(one.why) for one in all_outcomes),
        "survived": sum(one.survived for one in all_outcomes),
    }


def summary(results: list[Outcome]) -> str:
    """Return a paragraph with the counts."""
    n = counts(results)
    scored = [one.trial for one in results if not one.trial.scorecard.none]
    n_by_scorecard = sum(trial.scorecard.caught for trial in scored)
    n_wrong_numbers = sum(
        one.trial.tests.how in WRONG_NUMBER_ERRORS or one.trial.scorecard.how in WRONG_NUMBER_ERRORS for one in results
    )
    n_faults = n["mutants"] - n["equivalent"]
    n_caught = n_faults - n["survived"]
    return (
        f"**{n['mutants']} mutants, of which {n['equivalent']} change nothing. Of the other {n_faults}, "
        f"{n_caught} ({share(n_caught, n_faults)}) are caught:** {n['tests']} by the tests, {n['scorecard']} by the "
        f"scorecard, {n['both']} by both. The scorecard alone has cases for {len(scored)} of the mutants and catches "
        f"{share(n_by_scorecard, len(scored))} of these. {n_wrong_numbers} showed by a wrong number, "
        "the others by an error.\n"
    )


def share(part: int, total: int) -> str:
    """Return part / total in percent, rounded down: 100 % means all."""
    return f"{1000 * part // max(total, 1) / 10:g} %"


def counts_table(title: str, results: list[Outcome], key: Callable[[Outcome], str]) -> str:
    """Return a table of the counts for each value of `key`."""
    names = list(dict.fromkeys(key(one) for one in results))
    lines = [f"| {title} | mutants | caught by tests | by scorecard | by both | equivalent | survived |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for name in names:
        group = [one for one in results if key(one) == name]
        n = counts(group)
        by_scorecard = "-" if all(one.trial.scorecard.none for one in group) else str(n["scorecard"])
        cells = (
            n["mutants"],
            n["tests"],
            by_scorecard,
            n["both"] if by_scorecard != "-" else "-",
            n["equivalent"],
            n["survived"],
        )
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def mutant_list(results: list[Outcome]) -> str:
    """Return a list of mutants with the lines that they change, and the reasons why they are equivalent."""
    lines = []
    for one in results:
        mutant = one.trial.mutant
        why = f": {one.why}" if one.why else ""
        lines.append(f"- {mutant.name}{why}\n  - `{mutant.before}`\n  - `{mutant.after}`")
    return "\n".join(lines) + "\n"


def page(results: list[Outcome], date: str) -> str:
    """Return the page. date: of the measurement."""
    parts = [HEADING, summary(results)]
    parts += ["## By package\n", counts_table("package", results, lambda one: f"`{package(one.trial.mutant.file)}`")]
    order = sorted(results, key=lambda one: one.trial.mutant.operator)
    parts += ["## By mistake\n", counts_table("mistake", order, lambda one: one.trial.mutant.operator)]
    if survivors := [one for one in results if one.survived]:
        parts += ["## Survived\n", mutant_list(survivors)]
    parts.append(f"Measured {date}.\n")
    return "\n".join(parts)


def package(file: str) -> str:
    """Return the first folder of a file's path, or the file if it has none."""
    return file.partition("/")[0]


def read(docs: Path) -> dict[str, Any]:
    """Return what is stored in the folder: the date, the counts and the mutants."""
    return json.loads(gzip.decompress((docs / STORED).read_bytes()))


def stored_page(docs: Path) -> str:
    """Return the page of the stored outcomes."""
    results = read(docs)
    stored = [Outcome(_trial(_mutant(row), row), row["equivalent"]) for row in results["mutants"]]
    return page(stored, results["date"])


def _mutant(row: dict[str, Any]) -> Mutant:
    """Return a stored mutant, without the text of its file."""
    file, line_and_operator = row["mutant"].split(":", 1)
    operator = line_and_operator.split(" ", 1)[1].rpartition(" #")[0]
    return Mutant(row["mutant"], file, operator, "", frozenset(), row["before"], row["after"], "")


def earlier_trials(docs: Path, mutants: Iterable[Mutant]) -> list[Trial]:
    """Return the trials of mutants stored in the folder; raises SystemExit if some are missing there."""
    rows_by_mutant = {(row["mutant"], row["before"], row["after"]): row for row in read(docs)["mutants"]}
    pairs = [(one, rows_by_mutant.get((one.name, one.before, one.after))) for one in mutants]
    if new := sorted({one.file for one, row in pairs if row is None}):
        raise SystemExit(f"{docs / STORED} is older than {', '.join(new)}; try these too, with --only")
    return [_trial(one, row) for one, row in pairs if row is not None]


def _trial(mutant: Mutant, row: dict[str, Any]) -> Trial:
    return Trial(mutant, _verdict(row["tests"]), _verdict(row["scorecard"]))


def _verdict(how: str | None) -> Verdict:
    return Verdict(none=True) if how is None else Verdict(how, how)


def write(results: list[Outcome], docs: Path, every: int = 1) -> None:
    """Write mutants.md and mutants.json.gz to `docs`. every: only each `every`-th mutant was tried."""
    docs.mkdir(parents=True, exist_ok=True)
    date = time.strftime("%Y-%m-%d")
    text = page(results, date)
    if every > 1:
        text = text.replace("nothing is typed by hand.", f"nothing is typed by hand. Only each {every}th was tried.", 1)
    (docs / "mutants.md").write_text(text, encoding="utf-8")
    rows = ",\n".join(json.dumps(one.to_json(), ensure_ascii=False) for one in results)
    stored = f'{{"date": "{date}", "counts": {json.dumps(counts(results))}, "mutants": [\n{rows}\n]}}\n'
    (docs / STORED).write_bytes(gzip.compress(stored.encode(), mtime=0))  # the same bytes for the same outcomes
