"""Mistakes in regression."""

from collections.abc import Mapping

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import arrays, numbers
from benchmarks.doctor.cases.unusual.parts import SquaredDifference
from benchmarks.doctor.cases.unusual.sound import regressor
from benchmarks.doctor.fit import Case, Pair
from pellucid.combine import Sequential
from pellucid.layers import Dense, ReLU

MEASURE = "explained variance"


def broadcast(seed: int) -> Pair:
    """Compare each output with the targets of all examples."""
    parts = numbers(seed)
    wrong, _ = regressor(seed, parts, loss=SquaredDifference(broadcast=True), metrics=())
    sound, _ = regressor(seed, parts, loss=SquaredDifference(), metrics=())
    return Pair(wrong, sound, MEASURE)


def target_not_scaled(seed: int) -> Pair:
    """Learn numbers around 5,000."""
    sound, parts = regressor(seed, numbers(seed))
    train, validation, test = (arrays(part.x, 5000 + 1000 * part.y) for part in parts)
    return Pair(sound.but(train=train, validation=validation, score=scores.explained(test)), sound, MEASURE)


def relu_end(seed: int) -> Pair:
    """Put a ReLU behind the last layer."""
    parts = numbers(seed)
    hidden = {"dense": Dense(32), "relu": ReLU(), "more": Dense(32), "act": ReLU()}
    wrong, _ = regressor(seed, parts, Sequential(**hidden, out=Dense(1), last=ReLU()))
    sound, _ = regressor(seed, parts)
    return Pair(wrong, sound, MEASURE)


CASES: Mapping[str, Case] = {
    "reg-broadcast": broadcast,
    "reg-target-not-scaled": target_not_scaled,
    "reg-relu-end": relu_end,
}
