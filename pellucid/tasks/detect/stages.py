"""How long a detector takes for features, proposals, heads, and the decision among boxes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.detectors import Detector
from pellucid.fuse.inference import inference
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.objects import Detections

FEATURES = ("backbone", "neck")  # networks of every detector; "rpn" and a search belong to the proposals


class Stages(NamedTuple):
    """Seconds for one image: maps of the image; proposals; what is computed for them or for each cell; the rest.

    A detector of one stage has no proposals. Of masks and key-points the decision among boxes belongs to the heads.
    """

    features: float
    proposals: float
    heads: float
    decision: float

    @property
    def total(self) -> float:
        """The sum."""
        return sum(self)


@dataclass(frozen=True)
class _Clocked(Layer):
    """Replace a network by its function for evaluation, and note when it began and ended."""

    name: str
    run: Callable[[Any], Any]
    log: list[tuple[str, float, float]]

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Refuse: its parameters are those that it was made with."""
        raise NotImplementedError

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the function."""
        begun = time.perf_counter()
        y = self.run(x)
        self.log.append((self.name, begun, time.perf_counter()))
        return y, ()

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Refuse: nothing was kept."""
        raise NotImplementedError


def clocked(detector: Detector, params: Params) -> Callable[[Tensor], tuple[Detections, Stages]]:
    """Return a function from one image (1, C, H, W), as the networks take it, to its detections and their time.

    The networks run in their forms for evaluation; `params` must stay meanwhile.
    """
    log: list[tuple[str, float, float]] = []
    nets = {name: _Clocked(name, inference(net, params[name]), log) for name, net in detector.nets.items()}
    timed = detector.with_nets(nets)

    def run(image: Tensor) -> tuple[Detections, Stages]:
        log.clear()
        begun = time.perf_counter()
        (found,) = timed.predict(params, image)
        ended = time.perf_counter()
        ready = max(end for name, _, end in log if name in FEATURES)
        heads = [(start, end) for name, start, end in log if name not in (*FEATURES, "rpn")]
        first, last = min(start for start, _ in heads), max(end for _, end in heads)
        return found, Stages(ready - begun, first - ready, last - first, ended - last)

    return run


def mean(stages: list[Stages]) -> Stages:
    """Return the mean of each stage."""
    return Stages(*(sum(one) / len(stages) for one in zip(*stages, strict=True)))
