"""A diagnosis as HTML for notebooks: one piece, without scripts, in the page's own colours."""

from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.groups import UNKNOWN, footnote, grouped, headline, outcome
from pellucid.report.page import render

WIDTH = 100  # letters of a table


def page(diagnosis: Diagnosis) -> str:
    """Return the findings: causes with their numbers, fix and consequences, then symptoms."""
    return render(
        "doctor",
        headline=headline(diagnosis),
        notes=diagnosis.notes,
        groups=grouped(diagnosis),
        footnote=footnote(diagnosis),
        outcome=outcome,
        unknown=UNKNOWN,
        width=WIDTH,
    )
