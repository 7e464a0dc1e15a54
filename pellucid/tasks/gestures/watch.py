"""Predictions for the frames of a video, smoothed over time and counted."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.base.settings.checks import check
from pellucid.calibration.familiarity import FamiliarityScore, familiarity_scores
from pellucid.data.video import VideoFrame, ppm_bytes
from pellucid.model import Model
from pellucid.tasks.pictures import calibrated_probabilities, class_names, read_picture

UNCALIBRATED_NOTE = "the model has no fitted confidence, so no answer is unsure"
MIN_RATIO = 2.0  # a class with this many times the probability of the answer replaces it, regardless of the margin


@dataclass(frozen=True, eq=False)
class SmoothingState:
    """The state of the smoothing after some frames.

    total: the weighted sum of the frames' probabilities (C,), float64. weight: the sum of the weights. current_class:
    the index of the answer's class, None while unsure.
    """

    total: Tensor
    weight: float
    current_class: int | None

    @property
    def probabilities(self) -> Tensor:
        """The weighted mean of the probabilities (C,)."""
        return self.total / self.weight


@dataclass(frozen=True)
class AnswerSmoothing:
    """An exponential moving average of probabilities, with hysteresis for the answer.

    memory: the factor by which the weight of a frame decreases with each later frame, from 0 (no smoothing) to less
    than 1; the mean is over about 1 / (1 - memory) frames. The weights are divided by their sum, so that the mean is
    unbiased from the first frame. threshold: the minimum mean probability at which a class becomes the answer. margin:
    the answer is kept while its mean probability is at least threshold - margin. Another class replaces it if its mean
    probability is higher by `margin`, or MIN_RATIO times as high, since among fifty classes a lead of `margin` is rare.
    With margin 0 there is no hysteresis. With the defaults, a single contrary frame does not change the answer, up to a
    threshold of 0.9. Raises PellucidError for values outside these ranges.
    """

    memory: float = 0.8
    threshold: float = 0.0
    margin: float = 0.2

    def __post_init__(self) -> None:
        """Raise PellucidError for invalid values."""
        check(0 <= self.memory < 1, "smoothing", "from 0 (none) to less than 1", self.memory)
        check(0 <= self.threshold <= 1, "smoothing: threshold", "from 0 to 1", self.threshold)
        check(0 <= self.margin <= 1, "smoothing: margin", "from 0 to 1", self.margin)

    def step(self, previous: SmoothingState | None, probabilities: Tensor) -> SmoothingState:
        """Return the state after one more frame with probabilities (C,); `previous` is None at the start."""
        frame_probabilities = probabilities.double()
        if previous is None:
            total, weight, current_class = frame_probabilities, 1.0, None
        else:
            total, weight, current_class = (
                self.memory * previous.total + frame_probabilities,
                self.memory * previous.weight + 1,
                previous.current_class,
            )
        return SmoothingState(total, weight, self._answer(total / weight, current_class))

    def _answer(self, mean: Tensor, current_class: int | None) -> int | None:
        """Return the index of the answer's class, None if unsure; current_class: the previous answer."""
        top_index = int(torch.argmax(mean))
        if current_class is None:
            return top_index if float(mean[top_index]) >= self.threshold else None
        is_ahead = float(mean[top_index]) >= min(
            float(mean[current_class]) + self.margin, MIN_RATIO * float(mean[current_class])
        )
        if is_ahead and float(mean[top_index]) >= self.threshold:
            return top_index
        return current_class if float(mean[current_class]) >= self.threshold - self.margin else None


@dataclass(frozen=True)
class SmoothedPrediction:
    """A model's prediction at one frame, from all frames so far.

    answer: a class, None while unsure. label: the class with the highest mean probability. probability: the mean
    probability of the answer, or of `label` while unsure. changed: whether the answer differs from the answer at the
    previous frame. number, seconds, dropped: see `VideoFrame`. probabilities: of each class, smoothed. familiarity: of
    this frame only. engine: the engine that computed the network for this frame.
    """

    number: int
    seconds: float | None
    dropped: int
    answer: str | None
    label: str
    probability: float
    changed: bool
    probabilities: dict[str, float]
    familiarity: FamiliarityScore | None = None
    engine: str = ""


def watch(model: Model, frames: Iterable[VideoFrame], smoothing: AnswerSmoothing) -> Iterator[SmoothedPrediction]:
    """Yield a model's prediction at each frame, smoothed; see `AnswerSmoothing`.

    Frames are preprocessed like picture files. Raises PellucidError for a model that is not a classifier, and for
    frames that cannot be read.
    """
    classes, predict = class_names(model), model.predictor(engine="auto")
    state: SmoothingState | None = None
    for frame in frames:
        x = read_picture(model, ppm_bytes(frame.picture), f"frame {frame.number}")
        previous, state = state, smoothing.step(state, calibrated_probabilities(model, predict(x[None]))[0])
        values = state.probabilities.tolist()
        top_index = max(range(len(values)), key=values.__getitem__)
        yield SmoothedPrediction(
            number=frame.number,
            seconds=frame.seconds,
            dropped=frame.dropped,
            answer=None if state.current_class is None else classes[state.current_class],
            label=classes[top_index],
            probability=values[top_index if state.current_class is None else state.current_class],
            changed=previous is None or previous.current_class != state.current_class,
            probabilities=dict(zip(classes, values, strict=True)),
            familiarity=familiarity_scores(model, x[None])[0],
            engine=predict.engine,
        )


@dataclass
class FrameCounts:
    """Counts of predictions over frames; `clock` returns the time in seconds.

    dropped: the number of frames without a prediction. engine: the engine of the last prediction, "" before the first.
    unsure: the number of frames without an answer. answers: the
    number of frames with each class as the answer. changes: a row for each change of the answer.
    """

    clock: Callable[[], float] = time.monotonic
    frames: int = 0
    dropped: int = 0
    engine: str = ""
    unsure: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    changes: list[dict[str, Any]] = field(default_factory=list)
    first_time: float = 0.0
    last_time: float = 0.0

    def add(self, prediction: SmoothedPrediction) -> None:
        """Add the prediction for one frame."""
        self.last_time = self.clock()
        if not self.frames:
            self.first_time = self.last_time
        self.frames += 1
        self.dropped += prediction.dropped
        self.engine = prediction.engine
        if prediction.answer is None:
            self.unsure += 1
        else:
            self.answers[prediction.answer] += 1
        if prediction.changed:
            self.changes.append(
                {
                    "frame": prediction.number,
                    "seconds": prediction.seconds,
                    "answer": prediction.answer,
                    "probability": prediction.probability,
                }
            )

    @property
    def seconds(self) -> float:
        """Seconds from the first prediction to the last."""
        return self.last_time - self.first_time

    @property
    def fps(self) -> float | None:
        """Frames per second, including the time of the network; None for fewer than two frames."""
        return (self.frames - 1) / self.seconds if self.seconds > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values, the most frequent answer first."""
        return {
            "frames": self.frames,
            "dropped": self.dropped,
            "seconds": self.seconds,
            "fps": self.fps,
            "answers": dict(self.answers.most_common()),
            "unsure": self.unsure,
            "changes": self.changes,
        }
