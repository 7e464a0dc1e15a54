"""A diagnosis as HTML for notebooks: one piece, without scripts, in the page's own colours."""

from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.groups import UNKNOWN, Group, Table, footnote, grouped, headline, outcome
from pellucid.style import CSS
from pellucid.text import escape

WIDTH = 100  # letters of a table
OWN = """
.pellucid section { margin: 1rem 0 0; padding-left: .9rem; border-left: 3px solid var(--up); }
.pellucid section section { border-left-color: var(--line); }
.pellucid dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .9rem; margin: .3rem 0; }
.pellucid dt { color: var(--soft); } .pellucid dd { margin: 0; }
""".strip()


def page(diagnosis: Diagnosis) -> str:
    """Return what was found: causes with their numbers, fix and what follows from them, then symptoms."""
    parts = "".join(_section(group) for group in grouped(diagnosis))
    note = footnote(diagnosis)
    foot = f'<p class="soft">{escape(note)}</p>' if note else ""
    head = f'<p class="big">{escape(headline(diagnosis))}</p>'
    notes = "".join(f"<p>{escape(one)}</p>" for one in diagnosis.notes)
    return f'<div class="pellucid"><style>{CSS}\n{OWN}</style>{head}{notes}{parts}{foot}</div>'


def _section(group: Group, because: str = "") -> str:
    it = group.first
    reason = f' <span class="soft">goes away with {escape(because)}</span>' if because else ""
    reason += f' <span class="soft">symptom, {UNKNOWN}</span>' if group.kind == "symptom" else ""
    said = [("cause", it.cause), ("fix", it.fix)] if group.kind == "cause" else []
    said += [("tried", outcome(one)) for one in group.attempts]
    words = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in said)
    words = f"<dl>{words}</dl>" if words else ""
    tables = "".join(map(_table, group.tables(WIDTH)))
    below = "".join(_section(one, it.check) for one in group.consequences)
    return f"<section><p><b>{escape(it.check)}</b>{reason}</p>{tables}{words}{below}</section>"


def _table(table: Table) -> str:
    head, *rows = table
    names = "".join(f"<th{' class=n' if k else ''}>{escape(name)}</th>" for k, name in enumerate(head))
    body = "".join(
        f"<tr><td>{escape(name)}</td>" + "".join(f'<td class="n">{escape(value)}</td>' for value in values) + "</tr>"
        for name, *values in rows
    )
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>'
