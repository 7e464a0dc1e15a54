"""Layers or losses of the user's own whose backward pass does not belong to their forward pass."""

from collections.abc import Iterator

import torch

from pellucid.combine.base import Combinator, walk
from pellucid.doctor.case import Case, some
from pellucid.doctor.finding import Check, Finding, Number, UnansweredError
from pellucid.doctor.measure.own import own
from pellucid.errors import PellucidError
from pellucid.verify import verify
from pellucid.verify_table import Row

BATCH = 8  # examples


def look(case: Case) -> list[Finding]:
    """Verify the gradients of the first batch before the first step; the library's own parts are not asked about."""
    kinds = set(_own(case))
    if not kinds:
        return []
    part = some(case.train, BATCH, case.model.seed)
    model = case.first
    try:
        if not torch.equal(*(model.predict(part.x).nan_to_num() for _ in range(2))):
            return []  # it draws numbers in evaluation: no two passes have the same gradient
        table = verify(model.net, model.params, case.inputs(part), part.y, model.loss, seed=model.seed)
    except (PellucidError, RuntimeError) as error:  # code of the user's own runs there, in float64
        raise UnansweredError(f"the gradients cannot be verified: {error}") from error
    wrong = [row for row in table.rows if not row.ok and row.layer in kinds]
    return [_finding(wrong[-1])] if wrong else []


def _own(case: Case) -> Iterator[str]:
    """Yield the names of the types that are none of the library's."""
    parts = [layer for _, layer in walk(case.model.net) if not isinstance(layer, Combinator)]
    for part in (*parts, case.model.loss):
        if own(part):
            yield type(part).__name__


def _finding(row: Row) -> Finding:
    evidence: dict[str, Number] = {"layer": row.layer, "gradient_of": row.what, "largest_entry": row.largest}
    evidence |= {f"off_from_{name}": error for name, error in row.errors.items()}
    return Finding(
        NAME,
        row.path or "loss",
        evidence,
        f"the backward pass of {row.layer} does not return the gradient of its forward pass",
        "derive it anew, and compare with `model.verify(x, y)` until all rows are ok",
    )


NAME = "wrong-gradient"
CHECK = Check(
    NAME,
    "A layer or loss that is none of the library's returns a wrong gradient.",
    look,
    explains=(
        "cut-gradient", "exploding-gradients", "learning-rate-too-high", "learning-rate-too-low", "nan-origin",
        "saturated-units", "dead-units", "vanishing-gradients", "update-ratio", "collapsed-predictions", "useless-maps",
        "underfitting",
        "miscalibration",
    ),
    proven=True,
)  # fmt: skip
