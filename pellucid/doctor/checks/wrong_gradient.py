"""User-defined layers or losses whose backward pass does not return the gradient of their forward pass."""

import torch

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.inputs import subsample
from pellucid.doctor.passes import is_user_defined, leaves
from pellucid.doctor.predictions import UnansweredError
from pellucid.errors import PellucidError
from pellucid.verify import verify

BATCH_SIZE = 8  # examples


def find(case: Case) -> list[Finding]:
    """Verify the gradients of user-defined layers and losses on a small batch, before the first step."""
    parts = [*(layer for _, layer in leaves(case.model.net)), case.model.loss]
    type_names = {type(part).__name__ for part in parts if is_user_defined(part)}
    if not type_names:
        return []
    part = subsample(case.train, BATCH_SIZE, case.model.seed)
    model = case.initial
    try:
        if not torch.equal(*(model.predict(part.x).nan_to_num() for _ in range(2))):
            return []  # the outputs are random in evaluation mode, so no two passes have the same gradient
        verification = verify(model.net, model.params, case.inputs(part), part.y, model.loss, seed=model.seed)
    except (PellucidError, RuntimeError) as error:  # user-defined code may not support float64
        raise UnansweredError(f"the gradients cannot be verified: {error}") from error
    wrong_rows = [row for row in verification.rows if not row.ok and row.layer in type_names]
    if not wrong_rows:
        return []
    row = wrong_rows[-1]
    evidence: Evidence = {"layer": row.layer, "gradient_of": row.what, "largest_entry": row.largest}
    evidence |= {f"off_from_{name}": error for name, error in row.errors.items()}
    cause = f"the backward pass of {row.layer} does not return the gradient of its forward pass"
    fix = "derive the gradient again, and check it by `model.verify(x, y)` until all rows are ok"
    return [Finding(NAME, row.path or "loss", evidence, cause, fix)]


NAME = "wrong-gradient"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("cut-gradient", "exploding-gradients", "learning-rate-too-high", "learning-rate-too-low", "nan-origin",
              "saturated-units", "dead-units", "vanishing-gradients", "update-ratio", "collapsed-predictions",
              "useless-maps", "underfitting", "miscalibration"),
)  # fmt: skip
