"""A diagnosis as text for a terminal."""

from textwrap import wrap

from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.groups import UNKNOWN, Group, footnote, grouped, headline, outcome
from pellucid.text import aligned

WIDTH = 100
STEP = "    "  # that a consequence stands further right than its cause


def told(diagnosis: Diagnosis) -> str:
    """Return what was found: causes with their numbers, fix and what follows from them, then symptoms."""
    blocks = [headline(diagnosis), *diagnosis.notes]  # not wrapped: commands in them are to be copied
    for group in grouped(diagnosis):
        blocks += _blocks(group, "")
    note = footnote(diagnosis)
    return "\n\n".join([*blocks, *(["\n".join(wrap(note, WIDTH, break_long_words=False))] if note else [])])


def _blocks(group: Group, indent: str, because: str = "") -> list[str]:
    """Return a paragraph for the group, and those of its consequences."""
    it, inner = group.first, f"{indent}  "
    head = f"{indent}{it.check}{f', which goes away with {because}' if because else ''}"
    head += f", a symptom: {UNKNOWN}" if group.kind == "symptom" else ""
    tables = group.tables(WIDTH - len(inner))
    numbers = [line for table in tables for line in aligned(table, right=range(1, len(table[0]))).splitlines()]
    said = [*_said("cause", it.cause, inner), *_said("fix", it.fix, inner)] if group.kind == "cause" else []
    said += [line for one in group.attempts for line in _said("tried", outcome(one), inner)]
    lines = [head, *(f"{inner}{line}" for line in numbers), *said]
    below = [block for one in group.consequences for block in _blocks(one, indent + STEP, it.check)]
    return ["\n".join(lines), *below]


def _said(name: str, text: str, indent: str) -> list[str]:
    margin = f"{indent}{name:<5}  "
    return wrap(
        text, WIDTH, initial_indent=margin, subsequent_indent=" " * len(margin), break_long_words=False
    )  # fmt: skip
