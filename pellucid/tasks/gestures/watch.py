"""A model's answer to frames, one after the other, smoothed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pellucid.calibration.familiarity import FamiliarityScore, familiarity_scores
from pellucid.model import Model
from pellucid.tasks.classes import believed, class_names
from pellucid.tasks.gestures.frame import Frame, as_file
from pellucid.tasks.gestures.smooth import Smoothed, Smoothing
from pellucid.tasks.pictures import read_picture


@dataclass(frozen=True)
class Seen:
    """What a model says at one frame, by all frames so far.

    answer: a class, None while unsure; probability: the smoothed one of the answer, or of the likeliest class while
    unsure, which is `label`. changed: whether the answer is another one than at the frame before. number, seconds,
    dropped: see `Frame`. probabilities: of each class, smoothed. familiarity: of this frame by itself.
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


def watch(model: Model, frames: Iterable[Frame], smoothing: Smoothing) -> Iterator[Seen]:
    """Yield what a model says at each frame; see `Smoothing` for how the answer comes about.

    A frame takes the same way into the network as a picture file. Raises PellucidError for a model that is no
    classifier, and what the frames raise.
    """
    classes, predict = class_names(model), model.predictor()
    state: Smoothed | None = None
    for frame in frames:
        x = read_picture(model, as_file(frame.picture), f"frame {frame.number}")
        before, state = state, smoothing.step(state, believed(model, predict(x[None]))[0])
        values = state.probabilities.tolist()
        best = max(range(len(values)), key=values.__getitem__)
        yield Seen(
            number=frame.number,
            seconds=frame.seconds,
            dropped=frame.dropped,
            answer=None if state.held is None else classes[state.held],
            label=classes[best],
            probability=values[best if state.held is None else state.held],
            changed=before is None or before.held != state.held,
            probabilities=dict(zip(classes, values, strict=True)),
            familiarity=familiarity_scores(model, x[None])[0],
        )
