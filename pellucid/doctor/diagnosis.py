"""A diagnosis: the findings of the doctor, shown as text in a terminal and as HTML in notebooks.

Findings of one check are shown together, consequences below their cause.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from textwrap import wrap
from typing import Any

from pellucid.base.brief import screen_repr
from pellucid.base.deprecated import renamed_fields
from pellucid.base.text import aligned, plural
from pellucid.doctor.finding import EvidenceValue, Finding
from pellucid.doctor.intervention import MeasuredEffect

CellRows = list[tuple[str, ...]]
CAUSE_KINDS = ("cause", "likely cause")
UNKNOWN_CAUSE = "cause not established"  # shown for symptoms
WIDTH = 100  # maximum number of characters in a line of text or of a table
INDENT = "    "  # of a consequence below its cause


@renamed_fields("0.4", follows="cause_by_consequence", gone="resolved", effects="intervention_effects")
@dataclass(frozen=True, eq=False)
class Diagnosis:
    """The findings (first causes, then symptoms, then consequences) and the names of the checks that were made.

    A finding is a cause if an experiment without it had a clearly better score, and a likely cause if it is a fault
    whose effect no experiment has proven. symptoms: the indices of the findings whose cause is not established.
    cause_by_consequence: the name of the cause of each consequence, by the index of the consequence. resolved: the
    indices of the consequences that were not found after an experiment without the cause. attempts: the effects of the
    remedies that were tried, by the index of the finding. left_out: the reason why a check or an experiment was
    skipped, by its name. notes: sentences to print before the findings. trained: whether the weights differ from those
    before the first step. intervention_effects: the effects of all interventions.
    """

    findings: tuple[Finding, ...]
    checks: tuple[str, ...]
    cause_by_consequence: dict[int, str]
    attempts: dict[int, MeasuredEffect]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    trained: bool = True
    symptoms: frozenset[int] = frozenset()
    resolved: frozenset[int] = frozenset()
    intervention_effects: tuple[MeasuredEffect, ...] = ()
    __repr__ = screen_repr

    @property
    def healthy(self) -> bool:
        """Whether there are no findings."""
        return not self.findings

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the checks that have findings, causes first, each once."""
        return tuple(dict.fromkeys(finding.check for finding in self.findings))

    @property
    def causes(self) -> tuple[str, ...]:
        """The names of the findings that are causes or likely causes, each once."""
        return self._of_kind(*CAUSE_KINDS)

    def _of_kind(self, *kinds: str) -> tuple[str, ...]:
        check_names = (finding.check for index, finding in enumerate(self.findings) if self.kind(index) in kinds)
        return tuple(dict.fromkeys(check_names))

    def kind(self, index: int) -> str:
        """Return the kind of a finding: "cause", "likely cause", "symptom" (no cause is known) or "consequence"."""
        if index in self.cause_by_consequence or index in self.symptoms:
            return "consequence" if index in self.cause_by_consequence else "symptom"
        return "cause" if self.findings[index].proven else "likely cause"

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values; `cause` and `fix` are None for symptoms and consequences."""
        hidden = dict.fromkeys(("cause", "fix", "can_try"))
        return {
            "summary": summary(self),
            "healthy": self.healthy,
            "trained": self.trained,
            "notes": list(self.notes),
            "findings": [
                {
                    **finding.to_json(),
                    "kind": self.kind(index),
                    **({} if self.kind(index) in CAUSE_KINDS else hidden),
                    "follows_from": self.cause_by_consequence.get(index),
                    "goes_away": index in self.resolved,
                    "tried": self.attempts[index].to_json() if index in self.attempts else None,
                }
                for index, finding in enumerate(self.findings)
            ],
            "checks": list(self.checks),
            "left_out": dict(self.left_out),
            "effects": [effect.to_json() for effect in self.intervention_effects],
        }

    def __str__(self) -> str:
        """Return the diagnosis as text: the summary, the findings, the ineffective changes and the skipped checks."""
        first_blocks = [_wrapped(summary(self)), headline(self), *self.notes]  # notes contain commands: not wrapped
        blocks = [block for group in group_findings(self) for block in _blocks(group, "")]
        last_blocks = [_wrapped(ineffective_changes(self)), _wrapped(footnote(self))]
        return "\n\n".join(block for block in (*first_blocks, *blocks, *last_blocks) if block)

    def _repr_html_(self) -> str:
        """Return the diagnosis as HTML without scripts, in the colours of the surrounding page."""
        from pellucid.report.page import render

        return render(
            "doctor", summary=summary(self), headline=headline(self), notes=self.notes, groups=group_findings(self),
            footnotes=(ineffective_changes(self), footnote(self)), unknown=UNKNOWN_CAUSE,
            width=WIDTH,
        )  # fmt: skip


def without_refuted_causes(diagnosis: Diagnosis, names: Set[str]) -> Diagnosis:
    """Return the diagnosis with the likely causes of these names in the validation data as symptoms.

    Their consequences become symptoms too. In training data, a cause without which the score is the same may still be
    one: another may keep the network from learning.
    """
    findings, kinds = diagnosis.findings, [diagnosis.kind(k) for k in range(len(diagnosis.findings))]
    refuted = {
        k for k, finding in enumerate(findings)
        if finding.check in names and finding.path == "validation" and kinds[k] == "likely cause"
    }  # fmt: skip
    remaining = {findings[k].check for k, kind in enumerate(kinds) if kind in CAUSE_KINDS and k not in refuted}
    refuted_names = {findings[k].check for k in refuted} - remaining
    causes = {k: cause for k, cause in diagnosis.cause_by_consequence.items() if cause not in refuted_names}
    symptoms = diagnosis.symptoms | refuted | (diagnosis.cause_by_consequence.keys() - causes.keys())
    changed = replace(
        diagnosis,
        findings=tuple(replace(one, is_fault=False) if k in refuted else one for k, one in enumerate(findings)),
        cause_by_consequence=causes, symptoms=symptoms, resolved=diagnosis.resolved & causes.keys(),
    )  # fmt: skip
    return sorted_by_kind(changed)


def sorted_by_kind(diagnosis: Diagnosis) -> Diagnosis:
    """Return the diagnosis with its causes first, then symptoms, then consequences; each in the order as before."""
    places = [(k in diagnosis.cause_by_consequence, k in diagnosis.symptoms) for k in range(len(diagnosis.findings))]
    return with_order(diagnosis, sorted(range(len(places)), key=lambda k: places[k]))


def with_order(diagnosis: Diagnosis, order: Sequence[int]) -> Diagnosis:
    """Return the diagnosis with the findings of these indices in this order, and without all other findings."""
    moved = {old: new for new, old in enumerate(order)}
    return replace(
        diagnosis,
        findings=tuple(diagnosis.findings[k] for k in order),
        cause_by_consequence={moved[k]: cause for k, cause in diagnosis.cause_by_consequence.items() if k in moved},
        attempts={moved[k]: attempt for k, attempt in diagnosis.attempts.items() if k in moved},
        symptoms=frozenset(moved[k] for k in diagnosis.symptoms if k in moved),
        resolved=frozenset(moved[k] for k in diagnosis.resolved if k in moved),
    )


@dataclass(frozen=True, eq=False)
class Group:
    """Findings of one check that differ only in path and measurements, and the consequences of that check.

    attempts: the effects of their remedies, each once. kind: the kind of the findings, see `Diagnosis.kind`.
    resolved: whether all of them are consequences in `Diagnosis.resolved`.
    """

    findings: Sequence[Finding]
    attempts: Sequence[MeasuredEffect]
    consequences: "Sequence[Group]"
    kind: str = "cause"
    resolved: bool = False

    @property
    def is_cause(self) -> bool:
        """Whether the findings are causes or likely causes."""
        return self.kind in CAUSE_KINDS

    def relation(self, cause: str) -> str:
        """Return as text how the findings, which are consequences, are related to a cause of this name."""
        return f"goes away with {cause}" if self.resolved else f"may follow from {cause}"

    @property
    def first(self) -> Finding:
        """The first finding, whose cause and fix are shown for all."""
        return self.findings[0]

    def tables(self, width: int) -> list[CellRows]:
        """Return the evidence as one table if its lines have at most `width` characters, else as one for each finding.

        The first row and column contain names. A row is a finding, or a measurement if that table is narrower or there
        is only one finding.
        """
        column_names = [name.replace("_", " ") for name in self.first.evidence]
        rows = [
            (finding.path, *(format_value(value) for value in finding.evidence.values())) for finding in self.findings
        ]
        table = [("where", *column_names), *rows]
        transposed = list(zip(*table, strict=True))
        if len(rows) == 1 or _width(transposed) <= min(width, _width(table)):
            return [transposed]
        if _width(table) <= width:
            return [table]
        return [list(zip(table[0], row, strict=True)) for row in rows]


def group_findings(diagnosis: Diagnosis) -> list[Group]:
    """Return the groups of causes and symptoms in the order of the findings, each with its consequences."""

    def below(cause: str | None) -> list[Group]:
        indices_by_key: dict[tuple[object, ...], list[int]] = {}
        for index, finding in enumerate(diagnosis.findings):
            if diagnosis.cause_by_consequence.get(index) == cause:
                kind = diagnosis.kind(index)
                texts = (finding.cause, finding.fix) if kind in CAUSE_KINDS else ()  # not shown for other kinds
                indices_by_key.setdefault((finding.check, kind, *texts, *finding.evidence), []).append(index)
        # Consequences are shown below the last group of a check.
        last_key_by_check = {diagnosis.findings[indices[0]].check: key for key, indices in indices_by_key.items()}
        groups: list[Group] = []
        for key, indices in indices_by_key.items():
            findings = [diagnosis.findings[index] for index in indices]
            attempts = dict.fromkeys(diagnosis.attempts[index] for index in indices if index in diagnosis.attempts)
            check = findings[0].check
            consequences = below(check) if last_key_by_check[check] == key else []
            resolved = all(index in diagnosis.resolved for index in indices)
            groups.append(Group(findings, list(attempts), consequences, diagnosis.kind(indices[0]), resolved))
        return groups

    return below(None)


def headline(diagnosis: Diagnosis) -> str:
    """Return one line with the number of findings of each kind and the number of checks."""
    checks = plural(len(diagnosis.checks), "check")
    if not diagnosis.findings:
        return f"nothing wrong was found by {checks}"
    counts = {kind: len(diagnosis._of_kind(kind)) for kind in (*CAUSE_KINDS, "symptom", "consequence")}
    parts = [plural(number, kind) for kind, number in counts.items() if number]
    counts_text = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"{counts_text}, found by {checks}"


def summary(diagnosis: Diagnosis) -> str:
    """Return the fix of the first cause or likely cause and its measured effect, as text; "" if there is neither."""
    if not diagnosis.findings or diagnosis.kind(0) not in CAUSE_KINDS:
        return ""
    first = diagnosis.findings[0]
    effects = [effect for effect in diagnosis.intervention_effects if effect.name == first.check]
    if not first.proven:
        measured = f" Measured, but not certain: {effects[0]}" if effects else ""
        return f"Likely cause, {first.check}: {first.fix}.{measured}"
    measurements = [f" Measured: {effect}" for effect in effects if effect.verdict == "cause"]
    return f"{first.fix[:1].upper()}{first.fix[1:]}.{''.join(measurements[:1])}"


def ineffective_changes(diagnosis: Diagnosis) -> str:
    """Return as text the interventions that were tried and removed no cause; "" if there were none."""
    effects = [effect for effect in diagnosis.intervention_effects if effect.verdict != "cause"]
    return "; ".join(f"tried, {_outcome(effect)}: {effect}" for effect in effects)


def _outcome(effect: MeasuredEffect) -> str:
    """Return the verdict on an ineffective change in words."""
    if effect.verdict != "no effect" or effect.low <= 0 <= effect.high:
        return effect.verdict
    return "too small an effect" if effect.low > 0 else "harmful"


def footnote(diagnosis: Diagnosis) -> str:
    """Return as text which checks were skipped, and why; "" if all were made."""
    names_by_reason: dict[str, list[str]] = {}
    for name, reason in diagnosis.left_out.items():
        names_by_reason.setdefault(reason, []).append(name)
    return "; ".join(f"skipped: {', '.join(names)} ({reason})" for reason, names in names_by_reason.items())


def format_value(value: EvidenceValue) -> str:
    """Return a value of the evidence as text: integers in full, other numbers with three digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else value
    return text.replace("-", "\u2212") if not isinstance(value, str) else text


def _width(table: CellRows) -> int:
    """Return the number of characters in a line of the table, with two spaces between columns."""
    return sum(max(map(len, column)) + 2 for column in zip(*table, strict=True)) - 2


def _wrapped(text: str) -> str:
    return "\n".join(wrap(text, WIDTH, break_long_words=False))


def _blocks(group: Group, indent: str, cause: str = "") -> list[str]:
    """Return one paragraph for the group and one for each of its consequences; cause: the name of the group's cause."""
    first, inner = group.first, f"{indent}  "
    head = f"{indent}{first.check}{f', which {group.relation(cause)}' if cause else ''}"
    head += f", a symptom: {UNKNOWN_CAUSE}" if group.kind == "symptom" else ""
    tables = group.tables(WIDTH - len(inner))
    table_lines = [line for table in tables for line in aligned(table, right=range(1, len(table[0]))).splitlines()]
    labelled_texts = [(group.kind, first.cause), ("fix", first.fix)] if group.is_cause else []
    labelled_texts += [("tried", str(attempt)) for attempt in group.attempts]
    lines = [head, *(f"{inner}{line}" for line in table_lines)]
    for name, text in labelled_texts:
        margin = f"{inner}{name:<5}  "
        lines += wrap(
            text, WIDTH, initial_indent=margin, subsequent_indent=" " * len(margin), break_long_words=False
        )  # fmt: skip
    below = [block for group in group.consequences for block in _blocks(group, indent + INDENT, first.check)]
    return ["\n".join(lines), *below]
