"""Learning rates that an optimizer usually has."""

from dataclasses import MISSING, fields

from pellucid.doctor.case import SHORT, Case
from pellucid.doctor.measure.rehearsal import Settings
from pellucid.optim import Optimizer


def usual(optimizer: Optimizer) -> float:
    """Return the optimizer's default rate, the one its source gives; infinite where there is none."""
    default = next(field.default for field in fields(optimizer) if field.name == "lr")
    return float("inf") if default is MISSING else float(default)


def lower_ends(case: Case) -> dict[float, float]:
    """Return the loss at the end of the range test by factor; of the usual rate too where the test ends above it."""
    ends, optimizer = dict(case.ends), case.model.optimizer
    rate = usual(optimizer)
    if 0 < rate < optimizer.lr * min(ends):
        ends[rate / optimizer.lr] = case.rehearse(Settings(SHORT, rate / optimizer.lr)).end
    return ends
