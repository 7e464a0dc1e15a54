"""Units, or feature maps, that are copies of one another over a sample."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import correlated_units, output_layers, trainable_layers
from pellucid.layers.base import Layer

LIKE = 0.99  # correlation: one unit then explains 98 % of how the other varies
SHARE = 0.25  # of a layer's units that could be removed; single pairs occur by chance
MIN_UNITS = 4  # of a layer that can have too many


def look(case: Case) -> list[Finding]:
    """Correlate the outputs of each layer with weights, before its activation, unit by unit.

    Outputs of the network may be alike: classes may be.
    """
    found: list[Finding] = []
    outputs = output_layers(case.model, case.inputs(case.watched))
    layers = {seen.path: seen for seen in case.units_of((Layer,), MIN_UNITS)}
    for path, _ in trainable_layers(case.model):
        seen = layers.get(path)
        if seen is None or path in outputs:
            continue
        counts = case.beyond_chance(seen, lambda seen: len(correlated_units(seen, LIKE)), SHARE)
        if counts is None:
            continue
        unit, earlier = correlated_units(seen, LIKE)[0]
        evidence = {
            "copies": counts[0],
            "units": seen.units,
            "share": counts[0] / seen.units,
            "copies_with_newly_drawn_weights": counts[1],
            "correlation_at_least": LIKE,
            "first_pair": f"{earlier} and {unit}",
            "examples": len(seen.y),
        }
        found.append(Finding(NAME, path, evidence))
    return found


NAME = "duplicate-maps"
CHECK = Check(NAME, look)
