"""A diagnosis, as a value, as text for a terminal and as HTML for notebooks.

Findings of one kind are shown together, consequences below their cause.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

from pellucid.doctor.finding import Finding, Number
from pellucid.doctor.trials import Attempt
from pellucid.text import aligned, plural

Table = list[tuple[str, ...]]
UNKNOWN = "cause not established"  # shown for symptoms
WIDTH = 100  # characters of a line and of a table
INDENT = "    "  # of a consequence below its cause


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The findings, causes first, then symptoms, then consequences, and the names of the checks made.

    A cause was measured as the fault itself, or a trial without it has shown that it matters. symptoms: the indices of
    the findings whose cause is not established. follows: by their indices, the findings that go away with another one,
    with that one's name. attempts: for findings by their index, what their remedy did. left_out: the checks that have
    no answer here, and why. notes: what to know before reading the findings, a sentence each. trained: whether the
    weights differ from those before the first step.
    """

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    follows: dict[int, str]
    attempts: dict[int, Attempt]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    trained: bool = True
    symptoms: frozenset[int] = frozenset()

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the checks that found something, causes first, each once."""
        return tuple(dict.fromkeys(finding.check for finding in self.findings))

    @property
    def causes(self) -> tuple[str, ...]:
        """The names of the findings that are causes, each once."""
        return self._of_kind("cause")

    def _of_kind(self, kind: str) -> tuple[str, ...]:
        found = (one.check for index, one in enumerate(self.findings) if self.kind(index) == kind)
        return tuple(dict.fromkeys(found))

    def kind(self, index: int) -> str:
        """Return what a finding is: "cause", "symptom" (of no established cause) or "consequence"."""
        return "consequence" if index in self.follows else "symptom" if index in self.symptoms else "cause"

    def to_json(self) -> dict[str, Any]:
        """Return all of it as values of JSON; symptoms and consequences have no cause of their own, and no fix."""
        nothing = dict.fromkeys(("cause", "fix", "can_try"))
        return {
            "healthy": self.healthy,
            "trained": self.trained,
            "notes": list(self.notes),
            "findings": [
                {
                    **finding.to_json(),
                    "kind": self.kind(index),
                    **(nothing if self.kind(index) != "cause" else {}),
                    "follows_from": self.follows.get(index),
                    "tried": self.attempts[index].to_json() if index in self.attempts else None,
                }
                for index, finding in enumerate(self.findings)
            ],
            "checks": list(self.checks),
            "left_out": dict(self.left_out),
        }

    def __str__(self) -> str:
        """Return the diagnosis as text: causes with their numbers, fix and consequences, then symptoms."""
        blocks = [headline(self), *self.notes]  # not wrapped: commands in them are to be copied
        for group in grouped(self):
            blocks += _blocks(group, "")
        note = footnote(self)
        return "\n\n".join([*blocks, *(["\n".join(wrap(note, WIDTH, break_long_words=False))] if note else [])])

    def _repr_html_(self) -> str:
        """Return the diagnosis as HTML, without scripts, in the page's own colours."""
        from pellucid.report.page import render

        return render(
            "doctor", headline=headline(self), notes=self.notes, groups=grouped(self), footnote=footnote(self),
            outcome=outcome, unknown=UNKNOWN, width=WIDTH,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Group:
    """Findings of one check that differ in path and numbers only, and the consequences of that check.

    attempts: what their remedies did, each once. kind: as `Diagnosis.kind`.
    """

    findings: Sequence[Finding]
    attempts: Sequence[Attempt]
    consequences: "Sequence[Group]"
    kind: str = "cause"

    @property
    def first(self) -> Finding:
        """The finding whose words are shown for all."""
        return self.findings[0]

    def tables(self, width: int) -> list[Table]:
        """Return the evidence, in one table if that is no wider than `width`, else in one for each finding.

        The first row and column are names: a row is a finding, or a number where that is narrower or there is only one
        finding.
        """
        names = [name.replace("_", " ") for name in self.first.evidence]
        rows = [(one.path, *(shown(value) for value in one.evidence.values())) for one in self.findings]
        table = [("where", *names), *rows]
        turned = list(zip(*table, strict=True))
        if len(rows) == 1 or _width(turned) <= min(width, _width(table)):
            return [turned]
        if _width(table) <= width:
            return [table]
        return [list(zip(table[0], row, strict=True)) for row in rows]


def grouped(diagnosis: Diagnosis) -> list[Group]:
    """Return the causes and the symptoms in their order, each with its consequences."""

    def below(cause: str | None) -> list[Group]:
        kinds: dict[tuple[object, ...], list[int]] = {}
        for index, it in enumerate(diagnosis.findings):
            if diagnosis.follows.get(index) == cause:
                kind = diagnosis.kind(index)
                words = (it.cause, it.fix) if kind == "cause" else ()  # of others they are not shown
                kinds.setdefault((it.check, kind, *words, *it.evidence), []).append(index)
        last = {diagnosis.findings[indices[0]].check: key for key, indices in kinds.items()}  # has the consequences
        groups: list[Group] = []
        for key, indices in kinds.items():
            findings = [diagnosis.findings[index] for index in indices]
            tried = dict.fromkeys(diagnosis.attempts[index] for index in indices if index in diagnosis.attempts)
            check = findings[0].check
            follows = below(check) if last[check] == key else []
            groups.append(Group(findings, list(tried), follows, diagnosis.kind(indices[0])))
        return groups

    return below(None)


def headline(diagnosis: Diagnosis) -> str:
    """Return one line: what was found, by how many checks."""
    checks = plural(len(diagnosis.checks), "check")
    if not diagnosis.findings:
        return f"nothing wrong was found by {checks}"
    counts = {kind: len(diagnosis._of_kind(kind)) for kind in ("cause", "symptom", "consequence")}
    known = [plural(number, kind) for kind, number in counts.items() if number]
    listed = f"{', '.join(known[:-1])} and {known[-1]}" if len(known) > 1 else known[0]
    return f"{listed}, found by {checks}"


def footnote(diagnosis: Diagnosis) -> str:
    """Return which checks were not made, and why; "" where all were."""
    why: dict[str, list[str]] = {}
    for name, reason in diagnosis.left_out.items():
        why.setdefault(reason, []).append(name)
    return "; ".join(f"skipped: {', '.join(names)} ({reason})" for reason, names in why.items())


def outcome(tried: Attempt) -> str:
    """Return in a line what a remedy did."""
    loss = _change("loss", *(None if value is None else f"{value:.3g}" for value in tried.loss))
    accuracy = ""
    if any(value is not None for value in tried.accuracy):
        accuracy = ", " + _change("accuracy", *(None if it is None else f"{100 * it:.1f} %" for it in tried.accuracy))
    part = "validation data" if tried.measured_on == "validation" else "training data"
    return f"{tried.does}: {loss}{accuracy} ({part}, after {_steps(tried)})"


def shown(value: Number) -> str:
    """Return one number of the evidence: whole ones in full, others with three digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else value
    return text.replace("-", "\u2212") if not isinstance(value, str) else text


def _width(table: Table) -> int:
    """Return the characters of a table's line, with two between columns."""
    return sum(max(map(len, column)) + 2 for column in zip(*table, strict=True)) - 2


def _steps(tried: Attempt) -> str:
    """Return how many steps were made, of how many that the training has."""
    made = plural(tried.steps, "step")
    if tried.steps == tried.planned:
        return f"all {made} of the training"
    return f"{tried.steps:,} of {plural(tried.planned, 'step')}" if tried.planned else f"{made} from the beginning"


def _change(name: str, before: str | None, after: str | None) -> str:
    return (
        f"{name} {'stopped with NaN' if before is None else before} → {'stopped with NaN' if after is None else after}"
    )


def _blocks(group: Group, indent: str, because: str = "") -> list[str]:
    """Return a paragraph of text for the group, and those of its consequences."""
    it, inner = group.first, f"{indent}  "
    head = f"{indent}{it.check}{f', which goes away with {because}' if because else ''}"
    head += f", a symptom: {UNKNOWN}" if group.kind == "symptom" else ""
    tables = group.tables(WIDTH - len(inner))
    numbers = [line for table in tables for line in aligned(table, right=range(1, len(table[0]))).splitlines()]
    words = [("cause", it.cause), ("fix", it.fix)] if group.kind == "cause" else []
    words += [("tried", outcome(one)) for one in group.attempts]
    lines = [head, *(f"{inner}{line}" for line in numbers)]
    for name, text in words:
        margin = f"{inner}{name:<5}  "
        lines += wrap(
            text, WIDTH, initial_indent=margin, subsequent_indent=" " * len(margin), break_long_words=False
        )  # fmt: skip
    below = [block for one in group.consequences for block in _blocks(one, indent + INDENT, it.check)]
    return ["\n".join(lines), *below]
