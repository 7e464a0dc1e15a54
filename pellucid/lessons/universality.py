"""Universal approximation.

A network with one hidden layer can approximate every continuous function to any error (Cybenko 1989). Nielsen 2015,
chapter 4, shows why in pictures. This lesson constructs such a network instead of training it: formulas give its
weights.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pellucid import Dense, Mode, Sequential, Sigmoid
from pellucid.layers.base import Params
from pellucid.lessons.guide import Exercise, Guess, Guide, Slider
from pellucid.lessons.lesson import Result, Setting
from pellucid.report.figures.series import colours, name_axes, plots_in_rows
from pellucid.report.figures.style import INK, SMALL

GRID = torch.linspace(0, 1, 20001, dtype=torch.float64)[:, None]  # points where functions are evaluated


def float64(*numbers: float) -> Tensor:
    """Return values as a float64 tensor."""
    return torch.tensor(numbers, dtype=torch.float64)


def network(weight: float, steps: Tensor, heights: Tensor, offset: float) -> tuple[Sequential, Params]:
    """Return a 1-N-1 network that outputs offset + Σ heights σ(weight (x - steps)), and its parameters."""
    units = len(steps)
    net = Sequential(hidden=Dense(units), sigmoid=Sigmoid(), output=Dense(1))
    hidden = {"weight": torch.full((units, 1), weight, dtype=torch.float64), "bias": -weight * steps}
    output = {"weight": heights[None], "bias": float64(offset)}
    return net, {"hidden": hidden, "sigmoid": {}, "output": output}


def outputs(net: Sequential, params: Params, x: Tensor) -> Tensor:
    """Return the network's outputs (N,) for inputs (N, 1)."""
    return net.forward(params, x, Mode())[0][:, 0]


def steps_and_bumps(setting: Setting, position: float = 0.4) -> Result:
    """A neuron is a step, and two are a bump.

    A sigmoid neuron with a large weight w outputs almost 0 left of s = -b / w and almost 1 right of it: a step. Two
    steps of opposite heights make a bump. The figure shows a step at 0.4 for three weights, and a bump from 0.4 to
    0.6. The numbers are the largest difference from an ideal step, over all x at least 0.02 from the step; it is
    σ(-0.02 w).
    """
    numbers: dict[str, Any] = {}
    figure, (left, right) = plots_in_rows(["one hidden neuron", "two hidden neurons"], 2, 2.8)
    weights = (20.0, 100.0, 500.0)
    far_points = GRID[((GRID - position).abs() >= 0.02)[:, 0]]  # points at least 0.02 from the step
    for weight, colour in zip(weights, colours(len(weights)), strict=True):
        step = network(weight, float64(position), float64(1.0), 0.0)
        bump = network(weight, float64(position, position + 0.2), float64(0.8, -0.8), 0.0)
        ideal = (far_points[:, 0] > position).double()
        numbers[f"w = {weight:g}"] = float((outputs(*step, far_points) - ideal).abs().max())
        for plot, net_and_params in ((left, step), (right, bump)):
            plot.plot(GRID, outputs(*net_and_params, GRID), color=colour, linewidth=1.5, label=f"w = {weight:g}")
            name_axes(plot, "input x", "output")
    left.legend(frameon=False, fontsize=SMALL)
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


def built(setting: Setting, largest_error: float = 0.3) -> Result:
    """A network for every error.

    Let the function have slopes of at most L. The network has N steps of height f(x_k) - f(x_{k-1}), half way between
    N + 1 equally spaced points x_k. Its output is then a weighted mean of the values f(x_k). The weight of f(x_k) is
    the probability that x plus logistic noise of scale 1 / w is rounded to x_k. The rounding moves x by at most
    1 / 2N, the noise by 2 ln 2 / w on average, so

    |output - f(x)| ≤ L (1 / 2N + 2 ln 2 / w)

    With N ≥ L / ε and w = 4 ln 2 · L / ε this bound is at most ε. The function is Nielsen's, with L = 8.1. Its measured
    error is smaller, because the bound holds for every function with such slopes.
    """
    errors = (largest_error, 0.1, 0.01)
    numbers: dict[str, Any] = {}
    figure, plots = plots_in_rows([f"error below {error:g}" for error in errors], 3, 2.8)
    for plot, error in zip(plots, errors, strict=True):
        net, params = approximate(target_function, SLOPE_BOUND, error)
        approximation, expected = outputs(net, params, GRID), target_function(GRID[:, 0])
        units = params["output"]["weight"].shape[1]
        numbers[f"error below {error:g}"] = {
            "hidden neurons": units,
            "largest error": float((approximation - expected).abs().max()),
        }
        plot.plot(GRID, expected, color=INK, linewidth=1, label="function")
        plot.plot(GRID, approximation, color=colours(2)[1], linewidth=1.3, label=f"{units} neurons")
        plot.legend(frameon=False, fontsize=SMALL)
        name_axes(plot, "x", "output")
    return Result(numbers, figure)


STEPS = (steps_and_bumps, built)
GUIDE = Guide(
    question="How can a sum of simple S-shaped curves follow any curve at all?",
    minutes=12,
    needs=("neuron",),
    guesses={
        "steps_and_bumps": Guess(
            "The weight of a sigmoid neuron grows from 20 to 500, and its step stays at 0.4. What does its curve do?",
            ("its rise gets steeper", "it moves to the right", "it gets higher"),
            0,
            "Its output is 1/2 at 0.4 and between 0 and 1 for every weight w; a larger w only makes it change faster.",
        ),
        "built": Guess(
            "The allowed error is divided by ten. How does the number of hidden neurons change?",
            ("ten times as many", "twice as many", "a hundred times as many"),
            0,
            "N ≥ L / ε: the steps must be ten times as low, so there are ten times as many.",
        ),
    },
    sliders={
        "steps_and_bumps": (Slider("position", "where the neuron steps, s", (0.1, 0.2, 0.4, 0.6, 0.7)),),
        "built": (
            Slider(
                "largest_error",
                "allowed error ε of the first plot",
                (2.0, 1.0, 0.5, 0.3, 0.2, 0.05),
                {2.0: "Five steps: the network misses every bend, and is still within its bound."},
            ),
        ),
    },
    notices={
        "steps_and_bumps": (
            "The bump is the difference of two steps: it begins where the first neuron steps and ends where the second "
            "does, and its height is the weight of the output. Side by side, bumps make any staircase.",
        ),
        "built": (
            "On the left the stairs can be seen; on the right they are too small. The measured error is below the "
            "allowed one each time, because most of the curve is flatter than the bound L = 8.1.",
        ),
    },
    exercises=(
        Exercise(
            "A sigmoid neuron has the weight 50 and the bias -15. At which x is its step?",
            0.3,
            0.001,
            "s = -b / w = 15 / 50 = 0.3.",
            {-0.3: "The sign: w x + b is 0 at x = -b / w.", 3.33: "Divide the bias by the weight."},
        ),
        Exercise(
            "The slope of a function is at most 6. How many steps are enough for an error of 0.05?",
            120,
            0.5,
            "N ≥ L / ε = 6 / 0.05 = 120.",
            {0.3: "Divide L by ε instead of multiplying."},
        ),
    ),
    later="Depth is not needed to represent a function, but to represent it with few neurons, and to learn it.",
    studio="#play",
)
