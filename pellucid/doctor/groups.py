"""The findings of a diagnosis as people read them: those of one kind together, consequences below their cause."""

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.doctor.attempt import Attempt
from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.finding import Finding, Number

Table = list[tuple[str, ...]]
UNKNOWN = "cause not established"  # said of symptoms


@dataclass(frozen=True, eq=False)
class Group:
    """Findings of one check that differ in place and numbers only, and what follows from that check.

    attempts: what their remedies did, each once. kind: as `Diagnosis.kind`.
    """

    findings: Sequence[Finding]
    attempts: Sequence[Attempt]
    consequences: "Sequence[Group]"
    kind: str = "cause"

    @property
    def first(self) -> Finding:
        """The finding whose words are those of all."""
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
    """Return the causes and the symptoms in their order, each with what follows from it."""
    places = range(len(diagnosis.findings))

    def below(cause: str | None) -> list[Group]:
        kinds: dict[tuple[object, ...], list[int]] = {}
        for k in places:
            it = diagnosis.findings[k]
            if diagnosis.follows.get(k) == cause:
                said = diagnosis.kind(k)
                words = (it.cause, it.fix) if said == "cause" else ()  # of others they are not said
                kinds.setdefault((it.check, said, *words, *it.evidence), []).append(k)
        last = {diagnosis.findings[some[0]].check: kind for kind, some in kinds.items()}  # what follows stands there
        groups: list[Group] = []
        for kind, some in kinds.items():
            check = diagnosis.findings[some[0]].check
            tried = dict.fromkeys(diagnosis.attempts[k] for k in some if k in diagnosis.attempts)
            follows = below(check) if last[check] == kind else []
            kind_of = diagnosis.kind(some[0])
            groups.append(Group([diagnosis.findings[k] for k in some], list(tried), follows, kind_of))
        return groups

    return below(None)


def headline(diagnosis: Diagnosis) -> str:
    """Return one line: what was found, by how many checks."""
    made = _count(len(diagnosis.checks), "check")
    if not diagnosis.findings:
        return f"nothing wrong was found by {made}"
    counts = {"cause": len(diagnosis.causes)}
    for kind in ("symptom", "consequence"):
        places = range(len(diagnosis.findings))
        counts[kind] = len({diagnosis.findings[place].check for place in places if diagnosis.kind(place) == kind})
    known = [_count(number, kind) for kind, number in counts.items() if number]
    listed = f"{', '.join(known[:-1])} and {known[-1]}" if len(known) > 1 else known[0]
    return f"{listed}, found by {made}"


def footnote(diagnosis: Diagnosis) -> str:
    """Return what was not asked, and why; "" where everything was."""
    why: dict[str, list[str]] = {}
    for name, reason in diagnosis.left_out.items():
        why.setdefault(reason, []).append(name)
    return "; ".join(f"not asked: {', '.join(names)} ({reason})" for reason, names in why.items())


def outcome(tried: Attempt) -> str:
    """Say in a line what a remedy did."""
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
    """Return how many letters wide a table is, with two between columns."""
    return sum(max(map(len, column)) + 2 for column in zip(*table, strict=True)) - 2


def _steps(tried: Attempt) -> str:
    """Say how many steps were made, of how many that the training has."""
    made = _count(tried.steps, "step")
    if tried.steps == tried.planned:
        return f"all {made} of the training"
    return f"{tried.steps:,} of {_count(tried.planned, 'step')}" if tried.planned else f"{made} from the beginning"


def _change(name: str, before: str | None, after: str | None) -> str:
    return f"{name} {'broke off' if before is None else before} → {'broke off' if after is None else after}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
