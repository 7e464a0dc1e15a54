"""What became of all mutants: docs/mutants.md for people, docs/mutants.json for programs."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mutants.checks import Verdict
from benchmarks.mutants.mutant import Mutant
from benchmarks.mutants.trials import Trial

HEADING = """# Mutation check

Every backward pass broken on purpose, and who notices. Each mutant is one mistake of the kind that people make (a sign,
a factor, an axis, a sum, a padding off by one, gradients swapped) in one place that gradients pass through: the
backward passes of all layers, combinators and fused forms, the values and gradients of all losses, and the outputs of
the form that predicts. It is put into a copy of the library; then its tests are run (`tests/layers`, `tests/losses`,
`tests/combine`, `tests/fuse`, those of `verify` on the forms that train and predict), and the
cases of the [scorecard](scorecard.md) that are about its layer or loss. Combinators and fused forms have no outside
suite. Written by `python -m benchmarks.mutants`; nothing is typed by hand.
"""
VALUE = {"AssertionError", "Failed", "Mismatch"}  # how a wrong number shows; everything else is an error on the way


@dataclass(frozen=True)
class Outcome:
    """A trial, and why its mutant is equivalent to the code as it is; "" where it is not."""

    trial: Trial
    why: str = ""

    @property
    def survived(self) -> bool:
        """Whether a mistake went unnoticed."""
        return not self.trial.caught and not self.why

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
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
    """Return what became of the mutants that count, by file and line."""
    counted = [Outcome(trial, "" if trial.caught else reason(trial.mutant)) for trial in trials if trial.counts]
    return sorted(counted, key=lambda one: place(one.trial.mutant.name))


def place(name: str) -> tuple[str, int, str]:
    file, rest = name.split(":", 1)
    line, what = rest.split(" ", 1)
    return file, int(line), what


def counts(found: Iterable[Outcome]) -> dict[str, int]:
    """Count the outcomes."""
    every = list(found)
    trials = [one.trial for one in every]
    return {
        "mutants": len(every),
        "tests": sum(trial.tests.caught for trial in trials),
        "scorecard": sum(trial.scorecard.caught for trial in trials),
        "both": sum(trial.tests.caught and trial.scorecard.caught for trial in trials),
        "equivalent": sum(bool(one.why) for one in every),
        "survived": sum(one.survived for one in every),
    }


def summary(found: list[Outcome]) -> str:
    """Say in a paragraph how it went."""
    n = counts(found)
    judged = [one.trial for one in found if not one.trial.scorecard.none]
    outside = sum(trial.scorecard.caught for trial in judged)
    wrong = sum(one.trial.tests.how in VALUE or one.trial.scorecard.how in VALUE for one in found)
    real = n["mutants"] - n["equivalent"]
    caught = real - n["survived"]
    return (
        f"**{n['mutants']} mutants, of which {n['equivalent']} change nothing (below). Of the other {real}, {caught} "
        f"({share(caught, real)}) are caught:** {n['tests']} by the tests, {n['scorecard']} by the scorecard, "
        f"{n['both']} by both. The scorecard alone has cases for {len(judged)} of the mutants and catches "
        f"{share(outside, len(judged))} of these. {wrong} showed by a wrong number, the others by an error.\n"
    )


def share(part: int, whole: int) -> str:
    """Return a share in percent, rounded down, so that 100 means all."""
    return f"{1000 * part // max(whole, 1) / 10:g} %"


def table(title: str, found: list[Outcome], key: Callable[[Outcome], str]) -> str:
    """Return the counts for each value of `key`."""
    names = list(dict.fromkeys(key(one) for one in found))
    lines = [f"| {title} | mutants | caught by tests | by scorecard | by both | equivalent | survived |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for name in names:
        group = [one for one in found if key(one) == name]
        n = counts(group)
        judged = "-" if all(one.trial.scorecard.none for one in group) else str(n["scorecard"])
        cells = (n["mutants"], n["tests"], judged, n["both"] if judged != "-" else "-", n["equivalent"], n["survived"])
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def listed(found: list[Outcome]) -> str:
    """List mutants with the lines that they change."""
    lines = []
    for one in found:
        mutant = one.trial.mutant
        why = f": {one.why}" if one.why else ""
        lines.append(f"- {mutant.name}{why}\n  - `{mutant.before}`\n  - `{mutant.after}`")
    return "\n".join(lines) + "\n"


def page(found: list[Outcome]) -> str:
    """Return the whole page."""
    parts = [HEADING, summary(found)]
    parts += ["## By file\n", table("file", found, lambda one: f"`{one.trial.mutant.file}`")]
    order = sorted(found, key=lambda one: one.trial.mutant.operator)
    parts += ["## By mistake\n", table("mistake", order, lambda one: one.trial.mutant.operator)]
    if survivors := [one for one in found if one.survived]:
        parts += ["## Survived\n", listed(survivors)]
    if equivalent := [one for one in found if one.why]:
        parts += ["## Equivalent\n", listed(equivalent)]
    return "\n".join(parts)


def earlier(docs: Path, mutants: Iterable[Mutant]) -> list[Trial]:
    """Return what DOCS/mutants.json says of these mutants; SystemExit, naming the files of those it lacks."""
    rows = json.loads((docs / "mutants.json").read_text(encoding="utf-8"))["mutants"]
    known = {(row["mutant"], row["before"], row["after"]): row for row in rows}
    pairs = [(one, known.get((one.name, one.before, one.after))) for one in mutants]
    if new := sorted({one.file for one, row in pairs if row is None}):
        raise SystemExit(f"{docs / 'mutants.json'} is older than {', '.join(new)}; try these too, with --only")
    return [Trial(one, _verdict(row["tests"]), _verdict(row["scorecard"])) for one, row in pairs if row is not None]


def _verdict(how: str | None) -> Verdict:
    return Verdict(none=True) if how is None else Verdict(how, how)


def write(found: list[Outcome], docs: Path, every: int = 1) -> None:
    """Write both files. every: only each `every`-th mutant was tried."""
    docs.mkdir(parents=True, exist_ok=True)
    text = page(found)
    if every > 1:
        text = text.replace("nothing is typed by hand.", f"nothing is typed by hand. Only each {every}th was tried.", 1)
    (docs / "mutants.md").write_text(text, encoding="utf-8")
    rows = ",\n".join(json.dumps(one.to_json(), ensure_ascii=False) for one in found)
    (docs / "mutants.json").write_text(f'{{"counts": {json.dumps(counts(found))}, "mutants": [\n{rows}\n]}}\n', "utf-8")
