"""Mistakes in regression of the unopened half."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import Parts, arrays, numbers, split
from benchmarks.doctor.cases.unusual.sound import regressor
from benchmarks.doctor.fit import Case, Pair
from pellucid import Model
from pellucid.combine import Sequential
from pellucid.data.source import Arrays
from pellucid.layers import Dense, ReLU, Sigmoid


def winds(seed: int) -> Parts:
    """Return noisy readings of six vanes at fixed positions, and the direction of the wind in turns, 0 to 1."""
    rng = torch.Generator().manual_seed(7)
    turn = torch.rand(1200, 1, generator=rng)
    vane_directions = torch.linspace(0, 5 / 6, 6)
    readings = torch.cos(2 * math.pi * (turn - vane_directions)) + 0.1 * torch.randn(1200, 6, generator=rng)
    return split(arrays(readings, turn), seed, (600, 200, 400))


def pointing(test: Arrays, circular: bool) -> scores.Score:
    """Return the mean cosine of the error of the direction."""

    def score(model: Model) -> float:
        y = model.predict(test.x)
        predicted_angle = torch.atan2(y[:, 0], y[:, 1]) if circular else 2 * math.pi * y[:, 0]
        return float(torch.cos(predicted_angle - 2 * math.pi * test.y[:, 0]).mean())

    return scores.finite(score)


def on_circle(part: Arrays) -> Arrays:
    """Return the sine and the cosine of the directions."""

    def sine_and_cosine(turn: Tensor) -> Tensor:
        return torch.cat([torch.sin(2 * math.pi * turn), torch.cos(2 * math.pi * turn)], 1)

    return arrays(part.x, sine_and_cosine(part.y))


def angle(seed: int) -> Pair:
    """Learn a direction as one number."""
    parts = winds(seed)
    wrong, _ = regressor(seed, parts)
    sound, _ = regressor(seed, Parts(*map(on_circle, parts)))
    return Pair(
        wrong.but(score=pointing(parts.test, False)), sound.but(score=pointing(parts.test, True)),
        "mean cosine of the error",
    )  # fmt: skip


def sigmoid_end(seed: int) -> Pair:
    """End in a sigmoid for targets around 0."""
    parts = numbers(seed)
    hidden = {"dense": Dense(32), "relu": ReLU(), "more": Dense(32), "act": ReLU()}
    wrong, _ = regressor(seed, parts, Sequential(**hidden, out=Dense(1), last=Sigmoid()))
    sound, _ = regressor(seed, parts)
    return Pair(wrong, sound, "explained variance")


CASES: Mapping[str, Case] = {"reg-angle": angle, "reg-sigmoid-end": sigmoid_end}
