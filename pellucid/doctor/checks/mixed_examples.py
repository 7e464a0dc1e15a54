"""A layer that mixes the examples of a batch, so that each output depends on the other inputs."""

import torch

from pellucid.doctor.case import Case, UnansweredError
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.inputs import subsample
from pellucid.doctor.passes import layer_outputs, rms

BATCH_SIZE = 8  # examples
MAX_ROUNDING_ERROR = 1e-3  # relative to the outputs; the order of summation depends on the batch size


def find(case: Case) -> list[Finding]:
    """Run a batch and its first half in evaluation mode, and find the first layer with different outputs."""
    x = case.inputs(subsample(case.train, BATCH_SIZE, case.model.seed))
    half_size = len(x) // 2
    if not half_size:
        return []
    try:
        with torch.random.fork_rng(devices=[]):
            batch_outputs, half_outputs, repeated_outputs = (
                layer_outputs(case.model, inputs) for inputs in (x, x[:half_size], x[:half_size])
            )
    except RuntimeError as error:  # a user-defined layer that requires a certain batch size
        raise UnansweredError(f"the network does not take batches of {half_size} examples: {error}") from error
    for (path, layer, y), (_, _, half_y), (_, _, repeated_y) in zip(
        batch_outputs, half_outputs, repeated_outputs, strict=False
    ):
        if y.shape[1:] != half_y.shape[1:] or len(y) != len(x) or rms(half_y - repeated_y) > 0:
            return []  # the outputs have no batch axis, or are random
        difference, half_rms, type_name = rms(y[:half_size] - half_y), rms(half_y), type(layer).__name__
        if difference > MAX_ROUNDING_ERROR * half_rms:
            return [
                Finding(
                    NAME,
                    path,
                    evidence={"layer": type_name, "difference": difference, "size_of_the_outputs": half_rms},
                    cause=f"{type_name} mixes the examples of a batch: its outputs for one example depend on the "
                    "others",
                    fix="let the layer process each example separately: check the axis that it normalizes or sums over "
                    "(axis 0 is the batch), and exchange axes by transpose or movedim, not by view or reshape",
                )
            ]
    return []


NAME = "mixed-examples"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("batch-norm", "overfitting", "underfitting"),
)  # fmt: skip
