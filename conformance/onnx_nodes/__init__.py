"""ONNX's backend node cases, put to our layers, losses and optimizers.

Every ONNX backend is tested by them: models of one node, with inputs and expected outputs; those of kind "node" ONNX
computes by NumPy, the others PyTorch computed when it exported the model.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import onnx
import torch

from conformance.case import TOLERANCE, Case, Mismatch, SkipCase, gap
from conformance.onnx_nodes.backend import PellucidBackend, subject_of, tensor
from conformance.onnx_nodes.published import Published, published

# Published with four decimals: inputs and outputs of about 0.3, and outputs alone.
ROUNDED = {
    "test_averagepool_2d_ceil_last_window_starts_on_pad": 3e-4,
    "test_roialign_aligned_false": 1e-4,
    "test_roialign_aligned_true": 1e-4,
}


def cases() -> Iterator[Case]:
    """Yield every case of every operator of the table, those of one suite and one class of ours together.

    A model of several nodes belongs here if all of them do, or if it writes out an operator that does.
    """
    groups: dict[tuple[str, Any], list[Case]] = defaultdict(list)
    everything = list(published())
    origins = {(one.kind, one.name): one.model for one in everything}
    for one in everything:
        model = (
            one.model if PellucidBackend.is_compatible(one.model) else origins.get((one.kind, one.origin), one.model)
        )
        if PellucidBackend.is_compatible(model):
            operator, subject = subject_of(model)
            suite = f"onnx {one.kind} {operator}"
            case = Case(suite, onnx.__version__, one.name, subject, partial(check, one), tolerance_of(one))
            groups[suite, subject].append(case)
    for group in groups.values():
        yield from group


def tolerance_of(one: Published) -> float:
    """Return the tolerance for the case's type of numbers."""
    doubles = any(out.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE for out in one.model.graph.output)
    return ROUNDED.get(one.name, TOLERANCE[torch.float64 if doubles else torch.float32])


def check(one: Published) -> float:
    """Run all data sets of one of ONNX's cases and return the worst relative error."""
    if not PellucidBackend.is_compatible(one.model):
        raise SkipCase("function body in primitive operators")
    model, errors = PellucidBackend.prepare(one.model), []
    for inputs, outputs in one.data():
        answers = model.run(inputs)
        if len(answers) != len(outputs):
            raise Mismatch(f"{len(answers)} outputs instead of {len(outputs)}")
        for number, (ours, theirs) in enumerate(zip(answers, outputs, strict=True)):
            errors.append(gap(f"output {number}", tensor(ours), tensor(theirs)))
    return max(errors)
