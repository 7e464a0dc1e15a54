"""Units, or feature maps, whose outputs are copies of one another over a sample."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import correlated_units, output_layers, trainable_layers
from pellucid.layers.base import Layer

MIN_CORRELATION = 0.99  # between two units; one then explains 98 % of the other's variance
MAX_COPIES = 0.25  # of a layer's units; single pairs occur by chance
MIN_UNITS = 4  # smaller layers are skipped


def find(case: Case) -> list[Finding]:
    """Compute the correlations between the units of each layer that has weights, before its activation.

    The output layers are skipped, since the outputs of similar classes are correlated.
    """
    findings: list[Finding] = []
    output_paths = output_layers(case.model, case.inputs(case.watched))
    outputs_by_path = {outputs.path: outputs for outputs in case.units_of((Layer,), MIN_UNITS)}
    for path, _ in trainable_layers(case.model):
        outputs = outputs_by_path.get(path)
        if outputs is None or path in output_paths:
            continue
        counts = case.beyond_chance(
            outputs, lambda outputs: len(correlated_units(outputs, MIN_CORRELATION)), MAX_COPIES
        )
        if counts is None:
            continue
        unit, earlier = correlated_units(outputs, MIN_CORRELATION)[0]
        evidence = {
            "copies": counts[0],
            "units": outputs.units,
            "share": counts[0] / outputs.units,
            "copies_with_newly_drawn_weights": counts[1],
            "correlation_at_least": MIN_CORRELATION,
            "first_pair": f"{earlier} and {unit}",
            "examples": len(outputs.y),
        }
        findings.append(Finding(NAME, path, evidence))
    return findings


NAME = "duplicate-maps"
CHECK = Check(NAME, find)
