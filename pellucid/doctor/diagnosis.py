"""A diagnosis: the findings of the doctor, shown as text in a terminal and as HTML in notebooks.

Two sentences come first; the measurements are folded in HTML, and in `to_json`.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from textwrap import wrap
from typing import Any

from pellucid.base.brief import screen_repr
from pellucid.base.deprecated import renamed_fields
from pellucid.base.text import plural
from pellucid.doctor.checks.class_imbalance import LACKED_CLASS
from pellucid.doctor.finding import BOTH_PARTS, FAILURE_SIGNS, UNREACHABLE, EvidenceValue, Finding
from pellucid.doctor.intervention import MeasuredEffect

CAUSE_KINDS = ("cause", "likely cause")
# The names of the findings that say in which part of a training the fault is, and that as text.
FAULTY_DATA, FAULTY_SETTINGS, FAULTY_NETWORK = "faulty-data", "faulty-settings", "faulty-network"
PARTS = {
    FAULTY_DATA: "The training and the validation data differ",
    FAULTY_SETTINGS: "The fault is in the settings of the training",
    FAULTY_NETWORK: "The fault is in the network or its first weights",
}
# The kinds of a FAULTY_SETTINGS whose fix is a far learning rate, or another schedule for one whose rate ends early.
RATE_FIRST, SCHEDULE_FIRST = "rate-first", "schedule-first"
WIDTH = 100  # maximum number of characters in a line of text
MAX_LISTED = 3  # layers of one check in a line
PLACES = {  # the paths of findings that are no layers
    "train": "training data", "validation": "validation data", "training": "training", "loss": "loss",
    "objective": "objective", BOTH_PARTS: "training and validation data",
}  # fmt: skip


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
        names = (one.check for index, one in enumerate(self.findings) if self.kind(index) in CAUSE_KINDS)
        return tuple(dict.fromkeys(names))

    def kind(self, index: int) -> str:
        """Return the kind of a finding: "cause", "likely cause", "part", "symptom" or "consequence".

        "part": an experiment has shown the part of the training with the cause. "symptom": no cause is known.
        """
        if index in self.cause_by_consequence or index in self.symptoms:
            return "consequence" if index in self.cause_by_consequence else "symptom"
        if self.findings[index].check in PARTS:
            return "part"
        return "cause" if self.findings[index].proven else "likely cause"

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values; causes and fixes are None for symptoms and consequences."""
        hidden_fields = dict.fromkeys(("cause", "fix", "can_try", "settings"))
        shown_kinds = (*CAUSE_KINDS, "part")
        return {
            "summary": " ".join(sentences(self)),
            "healthy": self.healthy,
            "trained": self.trained,
            "notes": list(self.notes),
            "findings": [
                {
                    **finding.to_json(),
                    "kind": self.kind(index),
                    **({} if self.kind(index) in shown_kinds else hidden_fields),
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
        """Return the diagnosis as text: two sentences, a line for each other check with findings, what was skipped."""
        blocks = (
            "\n".join(map(_wrapped, sentences(self))),
            *self.notes,  # they contain commands: not wrapped
            "\n".join(map(_wrapped, other_lines(self))),
            _wrapped(footnote(self)),
        )
        return "\n\n".join(block for block in blocks if block)

    def _repr_html_(self) -> str:
        """Return the diagnosis as HTML without scripts, in the colours of the surrounding page."""
        from pellucid.report.page import render

        evidence = [
            (f"{finding.check} {where(finding.path)}", [(name.replace("_", " "), format_value(value))
             for name, value in finding.evidence.items()])
            for finding in self.findings
        ]  # fmt: skip
        return render(
            "doctor", sentences=sentences(self), notes=self.notes, others=other_lines(self), evidence=evidence,
            footnote=footnote(self),
        )  # fmt: skip


def without_refuted_causes(
    diagnosis: Diagnosis, names: Set[str], keys: Set[str] = frozenset(), costly: Set[str] = frozenset()
) -> Diagnosis:
    """Return the diagnosis with likely causes as symptoms, and so their consequences.

    names: of the checks whose likely causes in the validation data these are. keys: of remedies without an effect,
    whose likely causes these are too, unless outputs exclude some targets, which other faults may hide. Symptoms with
    such a remedy do no harm and are left out, unless they are signs of a failing training. costly: of the checks whose
    likely causes in the training data these are, except for classes that these lack.
    """
    findings, kinds = diagnosis.findings, [diagnosis.kind(k) for k in range(len(diagnosis.findings))]
    refuted = {
        k for k, finding in enumerate(findings)
        if kinds[k] == "likely cause"
        and (
            (finding.check in names and finding.path in ("validation", BOTH_PARTS))
            or (finding.check in costly and finding.path == "train" and finding.kind != LACKED_CLASS)
            or (finding.remedy is not None and finding.remedy.key in keys and finding.kind != UNREACHABLE)
        )
    }  # fmt: skip
    remaining = {findings[k].check for k, kind in enumerate(kinds) if kind in CAUSE_KINDS and k not in refuted}
    refuted_names = {findings[k].check for k in refuted} - remaining
    harmless = {
        k for k, one in enumerate(findings)
        if kinds[k] == "symptom" and one.check not in FAILURE_SIGNS and one.remedy and one.remedy.key in keys
    }  # fmt: skip
    causes = {k: cause for k, cause in diagnosis.cause_by_consequence.items() if cause not in refuted_names}
    symptoms = diagnosis.symptoms | refuted | (diagnosis.cause_by_consequence.keys() - causes.keys())
    changed = replace(
        diagnosis,
        findings=tuple(replace(one, is_fault=False, fix="") if k in refuted else one for k, one in enumerate(findings)),
        cause_by_consequence=causes,
        symptoms=symptoms,
        resolved=diagnosis.resolved & causes.keys(),
    )
    return sorted_by_kind(with_order(changed, [k for k in range(len(findings)) if k not in harmless]))


def sorted_by_kind(diagnosis: Diagnosis) -> Diagnosis:
    """Return the diagnosis with its causes first, then symptoms, then consequences; each in the order as before."""
    ranks = [(k in diagnosis.cause_by_consequence, k in diagnosis.symptoms) for k in range(len(diagnosis.findings))]
    return with_order(diagnosis, sorted(range(len(ranks)), key=lambda k: ranks[k]))


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


def sentences(diagnosis: Diagnosis) -> tuple[str, ...]:
    """Return as text what to change and what that gave, or where the fault is; then how sure that is, and why."""
    if not diagnosis.findings:
        return (f"Nothing wrong was found by {plural(len(diagnosis.checks), 'check')}.",)
    first_finding, kind = diagnosis.findings[0], diagnosis.kind(0)
    location, effect = where(first_finding.path), diagnosis.attempts.get(0)
    for measured_effect in diagnosis.intervention_effects:
        if (
            effect is None
            and measured_effect.name == first_finding.check
            and (measured_effect.verdict == "cause" or not first_finding.proven)
        ):
            effect = measured_effect
    if kind == "part" and effect is not None:
        return _sentences_of_part(first_finding, effect)
    if kind not in CAUSE_KINDS:
        return _sentences_of_symptom(first_finding, effect)
    if kind == "likely cause":
        measured = "It is measured directly; no training has proven it"
        if effect is not None:
            measured = f"It is likely, not certain: {effect.outcome}, and {effect.certainty}"
        return (
            f"Probably at fault {location}: {first_finding.cause}.",
            f"{_capitalized(first_finding.fix)}. {measured}.",
        )
    if effect is None:
        return f"{_capitalized(first_finding.fix)}.", f"It is proven as the cause {location}: {first_finding.cause}."
    certainty_text = f"That it helps is certain, since {effect.certainty}. Why: {first_finding.cause}."
    return f"{_capitalized(first_finding.fix)}: {effect.outcome}.", certainty_text


def _sentences_of_part(finding: Finding, effect: MeasuredEffect) -> tuple[str, ...]:
    """Return in which part the fault is, or that its learning rate or its schedule is probably at fault."""
    reservation = "certain" if effect.verdict == "cause" else "not certain"
    if finding.kind in (RATE_FIRST, SCHEDULE_FIRST):
        setting, other = ("learning rate", "schedule") if finding.kind == RATE_FIRST else ("schedule", "learning rate")
        return (
            f"Probably {finding.fix}: {effect.outcome}.",
            f"That the fault is in the settings is {reservation}, since {effect.certainty}. The {setting} alone is "
            f"not proven; compare the {other} and the batch size after it.",
        )
    part = PARTS[finding.check]
    if effect.verdict != "cause":
        part = f"Probably, {part[:1].lower()}{part[1:]}"
    certainty_text = f"That is {reservation}, since {effect.certainty}. To find the place, {finding.fix}."
    return f"{part}: {effect.outcome}.", certainty_text


def _sentences_of_symptom(finding: Finding, effect: MeasuredEffect | None) -> tuple[str, ...]:
    """Return what a symptom shows, and what to try in which order; or that its remedy has no effect."""
    tried = [] if effect is None else [f"Tried: {effect.outcome}; {effect.certainty}."]
    if not finding.fix:
        return f"No cause was found; a symptom is {_words(finding.check)} {where(finding.path)}.", *tried
    candidates = [f"No change is proven to end this. Try in this order: {finding.fix}.", *tried]
    return f"{_capitalized(finding.cause)}.", " ".join(candidates)


def other_lines(diagnosis: Diagnosis) -> list[str]:
    """Return a line of text for each check and kind of finding that the first sentences leave out."""
    paths_by_line: dict[tuple[str, ...], list[str]] = {}
    for index, finding in enumerate(diagnosis.findings):
        kind = diagnosis.kind(index)
        if kind in (*CAUSE_KINDS, "part"):
            text = f"{finding.cause}; {finding.fix}"
        elif kind == "symptom":
            text = "a symptom whose cause is not known"
        else:
            relation = "goes away with" if index in diagnosis.resolved else "may follow from"
            text = f"{relation} {_words(diagnosis.cause_by_consequence[index])}"
        if index in diagnosis.attempts and index:
            text += f"; tried: {diagnosis.attempts[index].outcome}"
        if index:
            paths_by_line.setdefault((kind, finding.check, text), []).append(finding.path)
    return [
        f"{f'Also: {_words(check)}' if kind in CAUSE_KINDS else _capitalized(_words(check))} {_listed(paths)}: {text}."
        for (kind, check, text), paths in paths_by_line.items()
    ]


def where(path: str) -> str:
    """Return as text where a finding is."""
    return f"in the {PLACES[path]}" if path in PLACES else f"at {path}"


def footnote(diagnosis: Diagnosis) -> str:
    """Return as text which checks and experiments were skipped, and why; "" if all were made."""
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


def _words(check: str) -> str:
    return check.replace("-", " ")


def _listed(paths: Sequence[str]) -> str:
    """Return as text where findings of one check are."""
    more = f" and {len(paths) - MAX_LISTED} more" if len(paths) > MAX_LISTED else ""
    return ", ".join(map(where, paths[:MAX_LISTED])) + more


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _wrapped(text: str) -> str:
    return "\n".join(wrap(text, WIDTH, break_long_words=False))
