"""Units, or feature maps, whose outputs are copies of one another over a sample."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import Activity, correlated_units, output_layers, trainable_layers
from pellucid.layers.base import Layer

MIN_CORRELATION = 0.99  # between two units; one then explains 98 % of the other's variance
MAX_COPIES = 0.25  # of a layer's units; single pairs occur by chance
MIN_UNITS = 4  # smaller layers are skipped


def find(case: Case) -> list[Finding]:
    """Compute the correlations between the units of each layer that has weights, before its activation.

    The output layers are skipped, since the outputs of similar classes are correlated.
    """
    paths = {path for path, _ in trainable_layers(case.model)} - output_layers(case.model, case.inputs(case.watched))

    def count_copies(outputs: Activity) -> int:
        return len(correlated_units(outputs, MIN_CORRELATION)) if outputs.path in paths else 0

    findings: list[Finding] = []
    for outputs, n_copies, n_redrawn in case.faulty_layers((Layer,), MIN_UNITS, count_copies, MAX_COPIES):
        unit, earlier = correlated_units(outputs, MIN_CORRELATION)[0]
        evidence = {
            "copies": n_copies,
            "units": outputs.units,
            "share": n_copies / outputs.units,
            "copies_with_newly_drawn_weights": n_redrawn,
            "correlation_at_least": MIN_CORRELATION,
            "first_pair": f"{earlier} and {unit}",
            "examples": len(outputs.y),
        }
        findings.append(Finding(NAME, outputs.path, evidence))
    return findings


NAME = "duplicate-maps"
CHECK = Check(NAME, find)
