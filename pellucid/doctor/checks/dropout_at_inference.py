"""A layer that draws random numbers in evaluation, so that the same input gets other answers each time."""

from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator
from pellucid.data.augment.standardise import scaled
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Number
from pellucid.doctor.measure.backward import rms
from pellucid.doctor.measure.room import room
from pellucid.layers.base import Cache, Layer, Mode
from pellucid.sweep import forward

INPUTS = 32
ROUNDING = 1e-4  # of the outputs' size: sums in another order differ by less


def look(case: Case) -> list[Finding]:
    """Ask twice, and find the first layer whose outputs differ though its inputs were the same."""
    with torch.random.fork_rng(devices=[]):  # whatever draws must not change what is drawn later
        return _differing(case)


def _differing(case: Case) -> list[Finding]:
    pictures = case.sample.x[:INPUTS]
    inputs = scaled(pictures, case.model.stats)
    inputs = inputs[: room(case.model, inputs)]
    first: list[Tensor] = []
    found: list[Finding] = []

    def keep(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if not isinstance(layer, Combinator) and isinstance(y, Tensor):
            first.append(y.clone())

    def compare(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if found or isinstance(layer, Combinator) or not isinstance(y, Tensor):
            return
        one = first.pop(0)
        size, apart = rms(one), rms(one - y)
        if not apart > ROUNDING * size:
            return
        said, again = case.model.predict(pictures), case.model.predict(pictures)
        evidence: dict[str, Number] = {
            "layer": type(layer).__name__,
            "difference_of_two_calls_of_the_layer": apart / size,
            "difference_of_two_answers": float((said - again).abs().max()),
            "inputs": len(inputs),
        }
        cause = "the layer draws at random in evaluation as it does in training"
        fix = "let the layer hand its input on unchanged unless `mode.train`"
        found.append(Finding(NAME, path, evidence, cause, fix))

    with torch.inference_mode():
        for watch in (keep, compare):
            forward(case.model.net, case.model.params, inputs, Mode(keep=False), watch)
    return found


NAME = "dropout-at-inference"
CHECK = Check(
    NAME,
    "A layer draws at random in evaluation, so that the same input gets other answers each time.",
    look,
    explains=("miscalibration", "overfitting", "underfitting"),
    proven=True,
)
