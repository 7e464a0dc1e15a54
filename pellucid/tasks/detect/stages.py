"""The times of a detector's stages: features, proposals, heads, and decision (score threshold and suppression)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from pellucid.fuse.inference import inference
from pellucid.objective import InferenceNetwork

if TYPE_CHECKING:
    from pellucid.detectors import Detector
    from pellucid.layers.base import Cache, Mode, Params
    from pellucid.ops.image_objects import Detections

FEATURE_NETS = ("backbone", "neck")  # the networks that compute features; "rpn", or a search, computes the proposals


class StageTimes(NamedTuple):
    """The seconds per image for the feature maps, the proposals, the heads, and the decision.

    The decision is the score threshold and non-maximum suppression. A single-stage detector has no proposals. For masks
    or key-points, the time of the heads includes the decision, since their heads run after it.
    """

    features: float
    proposals: float
    heads: float
    decision: float

    @property
    def total(self) -> float:
        """The sum of the stages."""
        return sum(self)


@dataclass(frozen=True, eq=False)
class _TimedNet(InferenceNetwork):
    """A network in its inference form, which appends its name, start and end time to `log` in each call."""

    name: str
    log: list[tuple[str, float, float]]

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the network."""
        start_time = time.perf_counter()
        result = super().forward(params, x, mode)
        self.log.append((self.name, start_time, time.perf_counter()))
        return result


def timed_predictor(detector: Detector, params: Params) -> Callable[[Tensor], tuple[Detections, StageTimes]]:
    """Return a function that maps a scaled image (1, C, H, W) to its detections and the time of each stage.

    The networks run in their inference form; `params` must not change while the function is used.
    """
    log: list[tuple[str, float, float]] = []
    nets = {name: _TimedNet(net, inference(net, params[name]), name, log) for name, net in detector.nets.items()}
    timed_detector = detector.with_nets(nets)

    def predict(image: Tensor) -> tuple[Detections, StageTimes]:
        log.clear()
        start_time = time.perf_counter()
        (detections,) = timed_detector.predict(params, image)
        end_time = time.perf_counter()
        features_end = max(end for name, _, end in log if name in FEATURE_NETS)
        heads = [(start, end) for name, start, end in log if name not in (*FEATURE_NETS, "rpn")]
        heads_start, heads_end = min(start for start, _ in heads), max(end for _, end in heads)
        return detections, StageTimes(
            features=features_end - start_time,
            proposals=heads_start - features_end,
            heads=heads_end - heads_start,
            decision=end_time - heads_end,
        )

    return predict


def mean_stages(stages: list[StageTimes]) -> StageTimes:
    """Return the mean of each stage."""
    return StageTimes(*(sum(times) / len(stages) for times in zip(*stages, strict=True)))
