"""Universal approximation.

A function is continuous if its curve can be drawn in one stroke. A network with one hidden layer of sigmoid neurons,
σ(z) = 1 / (1 + exp(-z)), can approximate every continuous function on an interval to any error (Cybenko 1989). Nielsen
2015, chapter 4, shows why in pictures. This lesson constructs such a network instead of training it: formulas give its
weights.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid import Dense, Mode, Sequential, Sigmoid
from pellucid.layers.base import Params
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.report.figures.series import colours, legend_above, name_axes, plots_in_rows
from pellucid.report.figures.style import INK

GRID = torch.linspace(0, 1, 20001, dtype=torch.float64)[:, None]  # points where functions are evaluated


def float64(*numbers: float) -> Tensor:
    """Return values as a float64 tensor."""
    return torch.tensor(numbers, dtype=torch.float64)


def network(weight: float, steps: Tensor, heights: Tensor, offset: float) -> tuple[Sequential, Params]:
    """Return a 1-N-1 network that outputs offset + Σ heights σ(weight (x - steps)), and its parameters."""
    n_units = len(steps)
    net = Sequential(hidden=Dense(n_units), sigmoid=Sigmoid(), output=Dense(1))
    hidden = {"weight": torch.full((n_units, 1), weight, dtype=torch.float64), "bias": -weight * steps}
    output = {"weight": heights[None], "bias": float64(offset)}
    return net, {"hidden": hidden, "sigmoid": {}, "output": output}


def outputs(net: Sequential, params: Params, x: Tensor) -> Tensor:
    """Return the network's outputs (N,) for inputs (N, 1)."""
    return net.forward(params, x, Mode())[0][:, 0]


def steps_and_bumps(settings: LessonSettings, start: float = 0.4, width: float = 0.2) -> Result:
    """A neuron is a step, and two are a bump.

    A sigmoid neuron with a large weight w and the bias b outputs almost 0 left of s = -b / w and almost 1 right of it:
    a step. Two steps of opposite heights make a bump. The figure shows a step at 0.4 for three weights, and a bump
    between 0.4 and 0.6. The numbers are the largest difference from an ideal step, over all x at least 0.02 from the
    step; it is σ(-0.02 w).
    """
    numbers: dict[str, Any] = {}
    figure, (left, right) = plots_in_rows(["one hidden neuron", "two hidden neurons"], 2, 2.8)
    weights = (20.0, 100.0, 500.0)
    far_points = GRID[((GRID - start).abs() >= 0.02)[:, 0]]  # points at least 0.02 from the step
    for weight, colour in zip(weights, colours(len(weights)), strict=True):
        step = network(weight, float64(start), float64(1.0), 0.0)
        bump = network(weight, float64(start, start + width), float64(0.8, -0.8), 0.0)
        ideal = (far_points[:, 0] > start).double()
        numbers[f"w = {weight:g}"] = float((outputs(*step, far_points) - ideal).abs().max())
        for plot, net_and_params in ((left, step), (right, bump)):
            plot.plot(GRID, outputs(*net_and_params, GRID), color=colour, linewidth=1.5, label=f"w = {weight:g}")
            name_axes(plot, "input x", "output")
    legend_above(left)
    return Result(numbers, figure)


def target_function(x: Tensor) -> Tensor:
    """Return 0.2 + 0.4 x² + 0.3 x sin 15x + 0.05 cos 50x, the function of Nielsen 2015, chapter 4."""
    return 0.2 + 0.4 * x**2 + 0.3 * x * (15 * x).sin() + 0.05 * (50 * x).cos()


SLOPE_BOUND = 0.8 + 0.3 + 4.5 + 2.5  # a bound of |f'| on [0, 1]: the sum of the bounds of the terms of f'


def approximate(function: Callable[[Tensor], Tensor], slope_bound: float, error: float) -> tuple[Sequential, Params]:
    """Return a network of one hidden layer within `error` of a function on [0, 1], given a bound of its slope."""
    count = math.ceil(slope_bound / error)
    weight = 4 * math.log(2) * slope_bound / error
    points = torch.linspace(0, 1, count + 1, dtype=torch.float64)  # where the network has the function's value
    values = function(points)
    return network(weight, (points[1:] + points[:-1]) / 2, values[1:] - values[:-1], float(values[0]))


def built(settings: LessonSettings, error: float = 0.3) -> Result:
    """A network for every error.

    Let the function have slopes of at most L. The network has N steps of height f(x_k) - f(x_{k-1}), half way between
    N + 1 equally spaced points x_k. Its output is then a weighted mean of the values f(x_k). The weight of f(x_k) is
    the probability that x plus logistic noise of scale 1 / w is rounded to x_k. The rounding moves x by at most
    1 / 2N, the noise by 2 ln 2 / w on average, so

    |output - f(x)| ≤ L (1 / 2N + 2 ln 2 / w)

    With N ≥ L / ε and w = 4 ln 2 · L / ε this bound is at most ε. The function is Nielsen's, with L = 8.1. Its measured
    error is smaller, because the bound holds for every function with such slopes.
    """
    errors = (error, 0.1, 0.01)
    numbers: dict[str, Any] = {}
    figure, plots = plots_in_rows([f"error below {max_error:g}" for max_error in errors], 3, 2.8)
    for plot, max_error in zip(plots, errors, strict=True):
        net, params = approximate(target_function, SLOPE_BOUND, max_error)
        approximation, target_values = outputs(net, params, GRID), target_function(GRID[:, 0])
        units = params["output"]["weight"].shape[1]
        numbers[f"error below {max_error:g}"] = {
            "hidden neurons": units,
            "largest error": float((approximation - target_values).abs().max()),
        }
        plot.plot(GRID, target_values, color=INK, linewidth=1, label="function")
        plot.plot(GRID, approximation, color=colours(2)[1], linewidth=1.3, label="network")
        plot.title.set_text(f"{plot.get_title()}\n{units} neurons")
        name_axes(plot, "x", "output")
    legend_above(plots[0])
    return Result(numbers, figure)


STEPS = (steps_and_bumps, built)
GUIDE = Guide(
    question="Is there anything that a network with a single hidden layer cannot compute?",
    minutes=12,
    needs=("perceptron", "neuron"),
    guesses={
        "steps_and_bumps": Guess(
            "The bias of a neuron is always -0.4 times its weight. What changes when the weight grows?",
            ("the step moves to the right", "the step gets steeper at the same place", "the step gets higher"),
            1,
            "The step is at s = -b / w = 0.4 in any case. The height of a step is set by the weight behind the neuron.",
        ),
        "built": Guess(
            "The error shall be ten times smaller. How many more hidden neurons does this construction need?",
            ("ten times as many", "two or three more", "a hundred times as many"),
            0,
            "Each step must be ten times as low, so ten times as many steps are needed: N = L / ε.",
        ),
    },
    sliders={
        "steps_and_bumps": (
            Slider("start", "position s of the step", (0.1, 0.2, 0.4, 0.6)),
            Slider(
                "width",
                "width of the bump",
                (0.01, 0.05, 0.2, 0.35),
                {0.01: "Steps that are less steep than the bump is wide cancel: only w = 500 still draws it."},
            ),
        ),
        "built": (
            Slider(
                "error",
                "largest error of the first network",
                (0.3, 0.5, 1.0, 2.0),
                {
                    1.0: "9 neurons follow the rough shape.",
                    2.0: "5 neurons are too few for the waves, and yet within the bound.",
                },
            ),
        ),
    },
    notices={
        "steps_and_bumps": (
            "On the left all three curves cross at s, at the height 1/2. The larger the weight, the more the curve "
            "looks like a step.",
            "On the right the second neuron takes back what the first one has added. With w = 20 it begins before the "
            "first is done, so the bump does not reach its height of 0.8.",
        ),
        "built": (
            "From left to right the orange curve covers the dark one better and better. On the left, it misses most at "
            "the peaks and valleys of the small waves.",
            "In the numbers, each largest error is far below its bound: the bound must hold for the worst function of "
            "this steepness, and this one is steep only in places.",
        ),
    },
    notice_plots={"steps_and_bumps": ((0,), (1,)), "built": ((0,), ())},
    exercises=(
        Exercise(
            "A hidden neuron has the weight 100 and the bias -40. At which x is its step?",
            0.4,
            0.001,
            "s = -b / w = 40 / 100.",
            {-0.4: "Mind the sign: the step is where w x + b is 0.", 2.5: "That is w / -b; solve w x + b = 0 for x."},
        ),
        Exercise(
            "A function has slopes of at most 5. How many hidden neurons does the construction use for errors below "
            "0.02?",
            250,
            0.5,
            "N = L / ε = 5 / 0.02 = 250.",
        ),
    ),
    functions={
        "bump": FunctionExercise(
            "bump(x, start, end, height, w): the values (N,) at x (N,) of two sigmoid neurons with the weight w, "
            "steps at start and end, and weights height and -height behind them.",
            lambda x, start, end, height, w: height / 2 * (np.tanh(w * (x - start) / 2) - np.tanh(w * (x - end) / 2)),
            lambda random: (random.random(6), 0.4, 0.6, float(random.normal()), 20.0),
            "def bump(x, start, end, height, w):\n"
            "    up = 1 / (1 + np.exp(-w * (x - start)))\n"
            "    down = 1 / (1 + np.exp(-w * (x - end)))\n"
            "    return height * up - height * down",
        )
    },
    later="That suitable weights exist does not mean that training finds them; deep networks need fewer neurons.",
    studio="#play?problem=hills&hidden=8",
)
