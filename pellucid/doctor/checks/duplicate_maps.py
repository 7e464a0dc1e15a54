"""Units, or feature maps, that are copies of one another over a sample."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.measure.alike import alike
from pellucid.doctor.measure.learners import finals, learners

LIKE = 0.99  # correlation: one unit then tells 98 % of how the other varies
MANY = 0.25  # of a layer's units that could go; single pairs occur by chance
LEAST = 4  # units of a layer that can be too many


def look(case: Case) -> list[Finding]:
    """Correlate the outputs of each layer with weights, before its activation, unit by unit.

    Where a layer reads few numbers, or such that go together, even random weights give copies; so only those count that
    are there beyond what weights drawn anew give. Answers may be alike: classes may be.
    """
    found: list[Finding] = []
    answers = finals(case.model, case.inputs(case.watched))
    for path, _ in learners(case.model):
        seen = case.activity.get(path)
        if seen is None or path in answers or seen.units < LEAST or not seen.finite:
            continue
        pairs = alike(seen, LIKE)
        if len(pairs) <= MANY * seen.units:
            continue
        chance = case.by_chance(path, lambda seen: len(alike(seen, LIKE)))
        if len(pairs) - chance <= MANY * seen.units:
            continue
        evidence = {
            "copies": len(pairs),
            "units": seen.units,
            "share": len(pairs) / seen.units,
            "copies_with_newly_drawn_weights": chance,
            "correlation_at_least": LIKE,
            "first_pair": f"{pairs[0][1]} and {pairs[0][0]}",
            "examples": len(seen.y),
        }
        found.append(Finding(NAME, path, evidence))
    return found


NAME = "duplicate-maps"
CHECK = Check(
    NAME,
    "Units or feature maps of a layer are copies of one another.",
    look,
)
