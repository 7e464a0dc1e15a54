"""PyTorch's own sample inputs for its operators, put to our layers and losses.

PyTorch tests its operators on these samples (`torch.testing._internal`); nobody here chose them. Each is run forward
and backward, in float64 and float32, by PyTorch under its automatic differentiation and by us. Weights of losses that
PyTorch draws below 0 are taken as |weight| by both.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from pellucid.scorecard.case import TOLERANCE, Case, missing, torch_version
from pellucid.scorecard.opinfo.activations import OPERATORS as ACTIVATIONS
from pellucid.scorecard.opinfo.convolutions import OPERATORS as CONVOLUTIONS
from pellucid.scorecard.opinfo.dropout import OPERATORS as DROPOUT
from pellucid.scorecard.opinfo.losses import OPERATORS as LOSSES
from pellucid.scorecard.opinfo.merges import OPERATORS as MERGES
from pellucid.scorecard.opinfo.normalizations import OPERATORS as NORMALIZATIONS
from pellucid.scorecard.opinfo.operator import Operator
from pellucid.scorecard.opinfo.padding import OPERATORS as PADDING
from pellucid.scorecard.opinfo.pooling import OPERATORS as POOLING
from pellucid.scorecard.opinfo.products import OPERATORS as PRODUCTS
from pellucid.scorecard.opinfo.resizing import OPERATORS as RESIZING
from pellucid.scorecard.opinfo.shapes import OPERATORS as SHAPES
from pellucid.scorecard.trial import run

OPERATORS: tuple[Operator, ...] = (
    *POOLING,
    *CONVOLUTIONS,
    *PRODUCTS,
    *PADDING,
    *RESIZING,
    *SHAPES,
    *NORMALIZATIONS,
    *ACTIVATIONS,
    *MERGES,
    *LOSSES,
    *DROPOUT,
)


def cases() -> Iterator[Case]:
    """Yield every sample of every operator of the table, in both dtypes.

    Raises PellucidError where the installed PyTorch has no such operator.
    """
    from torch.testing._internal.common_methods_invocations import op_db

    entries = {(entry.name, entry.variant_test_name): entry for entry in op_db}
    for operator in OPERATORS:
        entry = entries.get((operator.name, operator.variant))
        if entry is None:
            raise missing("operator", operator.title)
        for dtype in TOLERANCE:
            yield from _samples(operator, entry, dtype)


def _samples(operator: Operator, entry: Any, dtype: torch.dtype) -> Iterator[Case]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        samples = list(entry.sample_inputs("cpu", dtype))
    suite = f"torch OpInfo {operator.title} {str(dtype).removeprefix('torch.')}"
    for number, sample in enumerate(samples):
        kwargs, changed = operator.options(sample.kwargs)
        check = partial(_check, operator, entry.op, sample.input, *sample.args, **kwargs)
        yield Case(suite, torch_version(), f"sample {number}{changed}", operator.subject, check, TOLERANCE[dtype])


def _check(operator: Operator, function: Any, *args: Any, **kwargs: Any) -> float:
    return run(operator.adapt(partial(function, *args, **kwargs), *args, **kwargs))
