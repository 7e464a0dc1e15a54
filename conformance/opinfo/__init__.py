"""PyTorch's sample inputs for its operators, run on our layers and losses.

PyTorch tests its operators on these samples (`torch.testing._internal`). Each is run forward and backward, in float64
and float32, by PyTorch with automatic differentiation and by us. Where PyTorch draws weights of losses below 0, both
receive |weight|.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from conformance.case import TOLERANCE, Case, missing_samples_error, torch_version
from conformance.opinfo.activations import OPERATORS as ACTIVATIONS
from conformance.opinfo.convolutions import OPERATORS as CONVOLUTIONS
from conformance.opinfo.dropout import OPERATORS as DROPOUT
from conformance.opinfo.losses import OPERATORS as LOSSES
from conformance.opinfo.merges import OPERATORS as MERGES
from conformance.opinfo.moves import OPERATORS as MOVES
from conformance.opinfo.normalizations import OPERATORS as NORMALIZATIONS
from conformance.opinfo.operator import Operator
from conformance.opinfo.padding import OPERATORS as PADDING
from conformance.opinfo.pooling import OPERATORS as POOLING
from conformance.opinfo.products import OPERATORS as PRODUCTS
from conformance.opinfo.resizing import OPERATORS as RESIZING
from conformance.opinfo.shapes import OPERATORS as SHAPES
from conformance.opinfo.tensors import OPERATORS as TENSORS
from conformance.opinfo.weighted import OPERATORS as WEIGHTED
from conformance.trial import run

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
    *TENSORS,
    *MOVES,
    *WEIGHTED,
)


def cases() -> Iterator[Case]:
    """Yield every sample of every operator in OPERATORS, in both dtypes.

    Raises PellucidError if the installed PyTorch has no samples of an operator.
    """
    from torch.testing._internal.common_methods_invocations import op_db

    entries = {(entry.name, entry.variant_test_name): entry for entry in op_db}
    for operator in OPERATORS:
        entry = entries.get((operator.name, operator.variant))
        if entry is None:
            raise missing_samples_error("operator", operator.title)
        for dtype in TOLERANCE:
            yield from _samples(operator, entry, dtype)


def _samples(operator: Operator, entry: Any, dtype: torch.dtype) -> Iterator[Case]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        samples = list(entry.sample_inputs("cpu", dtype))
    suite = f"torch OpInfo {operator.title} {str(dtype).removeprefix('torch.')}"
    for number, sample in enumerate(samples):
        kwargs, name_suffix = operator.options(sample.kwargs)
        check = partial(_check, operator, entry.op, sample.input, *sample.args, **kwargs)
        yield Case(suite, torch_version(), f"sample {number}{name_suffix}", operator.subject, check, TOLERANCE[dtype])


def _check(operator: Operator, function: Any, *args: Any, **kwargs: Any) -> float:
    return run(operator.adapt(partial(function, *args, **kwargs), *args, **kwargs))
