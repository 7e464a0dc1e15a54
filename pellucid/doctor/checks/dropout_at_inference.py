"""A layer that draws random numbers in evaluation mode, so its outputs for the same input vary."""

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.passes import max_batch, rms, watch_leaves
from pellucid.layers.base import Layer, Mode
from pellucid.sweep import forward

MAX_INPUTS = 32
ROUNDING = 1e-4  # relative to the outputs; a different order of summation changes less


@torch.random.fork_rng(devices=[])  # these draws must not change later ones
def look(case: Case) -> list[Finding]:
    """Run a batch twice, and find the first layer with different outputs, whose inputs are therefore still equal."""
    images = case.sample.x[:MAX_INPUTS]
    inputs = case.model.scaled(images)
    inputs = inputs[: max_batch(case.model, inputs)]
    first: list[Tensor] = []
    found: list[Finding] = []

    def compare(path: str, layer: Layer, y: Tensor) -> None:
        if found:
            return
        before = first.pop(0)
        size, difference = rms(before), rms(before - y)
        if not difference > ROUNDING * size:
            return
        predicted, again = case.model.predict(images), case.model.predict(images)
        evidence: Evidence = {
            "layer": type(layer).__name__,
            "difference_of_two_calls_of_the_layer": difference / size,
            "difference_of_two_answers": float((predicted - again).abs().max()),
            "inputs": len(inputs),
        }
        cause = "the layer draws random numbers in evaluation mode as in training mode"
        fix = "let the layer return its input unchanged unless `mode.train`"
        found.append(Finding(NAME, path, evidence, cause, fix))

    with torch.inference_mode():
        for watch in (lambda path, layer, y: first.append(y.clone()), compare):
            forward(case.model.net, case.model.params, inputs, Mode(keep=False), watch_leaves(watch))
    return found


NAME = "dropout-at-inference"
CHECK = Check(NAME, look, explains=("miscalibration", "overfitting", "underfitting"), direct=True)
