"""ONNX's backend node cases, run on our layers, losses and optimizers.

Every ONNX backend is tested by these cases: models of one node, with inputs and expected outputs. For the kind "node"
ONNX computes the outputs with NumPy; for the other kinds PyTorch computed them when it exported the model.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import onnx
import torch

from conformance.case import TOLERANCE, Case, Mismatch, SkipCase, relative_error
from conformance.onnx_nodes.backend import PellucidBackend, subject_of, tensor
from conformance.onnx_nodes.published import Published, published

# Cases that ONNX publishes with four decimals: of inputs and outputs of about 0.3, or of outputs only.
ROUNDED_TOLERANCES = {
    "test_averagepool_2d_ceil_last_window_starts_on_pad": 3e-4,
    "test_roialign_aligned_false": 1e-4,
    "test_roialign_aligned_true": 1e-4,
}


def cases() -> Iterator[Case]:
    """Yield every case of every operator in OPERATORS, grouped by suite and by our class.

    A model of several nodes is included if we have the operators of all nodes, or if it is the function body of an
    operator that we have.
    """
    cases_by_row: dict[tuple[str, Any], list[Case]] = defaultdict(list)
    all_published = list(published())
    models = {(published_case.kind, published_case.name): published_case.model for published_case in all_published}
    for published_case in all_published:
        model = (
            published_case.model
            if PellucidBackend.is_compatible(published_case.model)
            else models.get((published_case.kind, published_case.origin), published_case.model)
        )
        if PellucidBackend.is_compatible(model):
            operator, subject = subject_of(model)
            suite = f"onnx {published_case.kind} {operator}"
            case = Case(
                suite,
                onnx.__version__,
                published_case.name,
                subject,
                partial(check, published_case),
                tolerance_of(published_case),
            )
            cases_by_row[suite, subject].append(case)
    for row_cases in cases_by_row.values():
        yield from row_cases


def tolerance_of(case: Published) -> float:
    """Return the tolerance for the dtype of the case's outputs, or that of a case with rounded values."""
    is_float64 = any(output.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE for output in case.model.graph.output)
    return ROUNDED_TOLERANCES.get(case.name, TOLERANCE[torch.float64 if is_float64 else torch.float32])


def check(case: Published) -> float:
    """Run all data sets of a case and return the worst relative error.

    Raises SkipCase for what we do not have, and Mismatch for another number of outputs.
    """
    if not PellucidBackend.is_compatible(case.model):
        raise SkipCase("function body in primitive operators")
    model, errors = PellucidBackend.prepare(case.model), []
    for inputs, outputs in case.data_sets():
        answers = model.run(inputs)
        if len(answers) != len(outputs):
            raise Mismatch(f"{len(answers)} outputs instead of {len(outputs)}")
        for number, (actual, expected) in enumerate(zip(answers, outputs, strict=True)):
            errors.append(relative_error(f"output {number}", tensor(actual), tensor(expected)))
    return max(errors)
