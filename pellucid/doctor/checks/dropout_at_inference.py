"""A layer that draws random numbers in evaluation mode, so its outputs for the same input vary."""

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.passes import max_batch, rms, watch_leaves
from pellucid.layers.base import Layer, Mode
from pellucid.sweep import forward

MAX_INPUTS = 32
MAX_ROUNDING_ERROR = 1e-4  # relative to the outputs; a different order of summation changes less


@torch.random.fork_rng(devices=[])  # these draws must not change later ones
def find(case: Case) -> list[Finding]:
    """Run a batch twice, and find the first layer whose outputs differ although its inputs are equal."""
    images = case.sample.x[:MAX_INPUTS]
    inputs = case.model.scaled(images)
    inputs = inputs[: max_batch(case.model, inputs)]
    first_outputs: list[Tensor] = []
    findings: list[Finding] = []

    def compare(path: str, layer: Layer, y: Tensor) -> None:
        if findings:
            return
        first_y = first_outputs.pop(0)
        y_rms, difference = rms(first_y), rms(first_y - y)
        if not difference > MAX_ROUNDING_ERROR * y_rms:
            return
        predicted, predicted_again = case.model.predict(images), case.model.predict(images)
        evidence: Evidence = {
            "layer": type(layer).__name__,
            "difference_of_two_calls_of_the_layer": difference / y_rms,
            "difference_of_two_answers": float((predicted - predicted_again).abs().max()),
            "inputs": len(inputs),
        }
        cause = "the layer draws random numbers in evaluation mode as in training mode"
        fix = "let the layer return its input unchanged unless `mode.train`"
        findings.append(Finding(NAME, path, evidence, cause, fix))

    with torch.inference_mode():
        for watch in (lambda path, layer, y: first_outputs.append(y.clone()), compare):
            forward(case.model.net, case.model.params, inputs, Mode(keep=False), watch_leaves(watch))
    return findings


NAME = "dropout-at-inference"
CHECK = Check(NAME, find, explains=("miscalibration", "overfitting", "underfitting"), finds_faults=True)
