"""A layer that draws random numbers in evaluation mode, so its outputs for the same input vary."""

import torch

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import layer_outputs, max_batch, rms

MAX_INPUTS = 32
MAX_ROUNDING_ERROR = 1e-4  # relative to the outputs; a different order of summation changes less


@torch.random.fork_rng(devices=[])  # these draws must not change later ones
def find(case: Case) -> list[Finding]:
    """Run a batch twice, and find the first layer whose outputs differ although its inputs are equal."""
    images = case.sample.x[:MAX_INPUTS]
    inputs = case.model.scaled(images)
    inputs = inputs[: max_batch(case.model, inputs)]
    outputs, repeated_outputs = (layer_outputs(case.model, inputs) for _ in range(2))
    for (path, layer, y), (_, _, repeated_y) in zip(outputs, repeated_outputs, strict=True):
        if not y.is_floating_point():
            continue  # such as a mask
        y_rms, difference = rms(y), rms(y - repeated_y)
        if difference > MAX_ROUNDING_ERROR * y_rms:
            predicted, predicted_again = case.model.predict(images), case.model.predict(images)
            return [
                Finding(
                    NAME,
                    path,
                    evidence={
                        "layer": type(layer).__name__,
                        "difference_of_two_calls_of_the_layer": difference / y_rms,
                        "difference_of_two_answers": float((predicted - predicted_again).abs().max()),
                        "inputs": len(inputs),
                    },
                    cause="the layer draws random numbers in evaluation mode as in training mode",
                    fix="let the layer return its input unchanged unless `mode.train`",
                )
            ]
    return []


NAME = "dropout-at-inference"
CHECK = Check(NAME, find, explains=("overfitting", "underfitting"), finds_faults=True)
