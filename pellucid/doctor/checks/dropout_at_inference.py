"""A layer that draws random numbers in evaluation, so that the same input gets other answers each time."""

from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.measure.backward import rms
from pellucid.layers.base import Cache, Layer, Mode
from pellucid.sweep import forward

INPUTS = 32
ROUNDING = 1e-4  # of the outputs' size: sums in another order differ by less


def look(case: Case) -> list[Finding]:
    """Ask twice, and find the first layer whose outputs differ though its inputs were the same."""
    with torch.random.fork_rng(devices=[]):  # whatever draws must not change what is drawn later
        return _differing(case)


def _differing(case: Case) -> list[Finding]:
    inputs = case.inputs(case.sample)[:INPUTS]
    first, second = _outputs(case, inputs), _outputs(case, inputs)
    for (path, layer, one), (_, _, other) in zip(first, second, strict=True):
        size, apart = rms(one), rms(one - other)
        if not apart > ROUNDING * size:
            continue
        said, again = case.model.predict(case.sample.x[:INPUTS]), case.model.predict(case.sample.x[:INPUTS])
        return [
            Finding(
                NAME,
                path,
                {
                    "layer": type(layer).__name__,
                    "difference_of_two_calls": apart / size,
                    "difference_of_two_answers": float((said - again).abs().max()),
                    "inputs": len(inputs),
                },
                "the layer draws at random in evaluation as it does in training",
                "let the layer hand its input on unchanged unless `mode.train`",
            )
        ]
    return []


def _outputs(case: Case, x: Tensor) -> list[tuple[str, Layer, Tensor]]:
    """Return what each layer puts out in evaluation, in order."""
    found: list[tuple[str, Layer, Tensor]] = []

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if not isinstance(layer, Combinator) and isinstance(y, Tensor):
            found.append((path, layer, y.double()))

    with torch.inference_mode():
        forward(case.model.net, case.model.params, x, Mode(keep=False), watch)
    return found


NAME = "dropout-at-inference"
CHECK = Check(
    NAME,
    "A layer draws at random in evaluation, so that the same input gets other answers each time.",
    look,
    explains=("miscalibration", "overfitting", "underfitting"),
)
