"""Gradient descent.

The gradient of a cost points in the direction in which the cost rises fastest. Gradient descent repeatedly takes a step
in the opposite direction. Two choices decide how well this works: the length of a step, and the number of examples from
which it is computed. A rule that turns gradients into steps is called an optimizer. Others than this one do more: with
momentum, for example, each step keeps a part of the previous one. The last step compares three of them.
"""

from typing import Any

import torch
from torch import Tensor

from pellucid import SGD, Adam, Callback, Dense, Model, Momentum, Quadratic
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.report.figures.plane import contours, paths
from pellucid.report.figures.series import colours, legend_above, name_axes, plots_in_rows
from pellucid.report.figures.style import INK, set_log_scale
from pellucid.training.callbacks import Training

CURVATURES = torch.tensor([3.0, 1.0], dtype=torch.float64)
STEPS_TAKEN = 20
OPTIMIZER_STEPS = 60


def quadratic_cost(points: Tensor) -> Tensor:
    """Return C = 3/2 x² + 1/2 y² at points (N, 2)."""
    return points.square() @ CURVATURES / 2


def gradient(point: Tensor) -> Tensor:
    """Return the gradient of C at a point, (3 x, y)."""
    return CURVATURES * point


def rates(settings: LessonSettings, rate: float = 0.5, start_x: float = 1.0) -> Result:
    """The learning rate.

    On C = 3/2 x² + 1/2 y² the gradient at (1, 1) is (3, 1). A step of rate η multiplies x by 1 - 3η and y by 1 - η:

    - too small: both factors are just below 1, and the descent takes long;
    - right: η = 2 / (3 + 1) = 0.5 makes the larger of the two factors as small as possible, 1/2;
    - too large: beyond η = 2/3 the factor of x is below -1, and each step leads further away from the minimum.

    The figure compares the rate that is chosen with one that is too small and one that is too large. The loop is
    written out because it is the subject of this step; otherwise `Model.fit` runs it.
    """
    start = torch.tensor([start_x, 1.0], dtype=torch.float64)
    numbers: dict[str, Any] = {
        "gradient at the start": gradient(start).tolist(),
        "largest rate": 2 / float(CURVATURES.max()),
    }
    figure, (path_plot, cost_plot) = plots_in_rows(["paths on the surface", "cost"], 2, 3.4)
    paths_by_name = {}
    rates_by_name = {"too small, 0.02": 0.02, f"chosen, {rate:g}": rate, "too large, 0.7": 0.7}
    for (name, learning_rate), colour in zip(rates_by_name.items(), colours(len(rates_by_name)), strict=True):
        path = [start]
        for _ in range(STEPS_TAKEN):
            path.append(path[-1] - learning_rate * gradient(path[-1]))
        paths_by_name[name] = torch.stack(path)
        numbers[name] = {"end": path[-1].tolist(), "cost": float(quadratic_cost(paths_by_name[name])[-1])}
        cost_plot.plot(quadratic_cost(paths_by_name[name]), color=colour, linewidth=1.7)
    limits = (-1.6, 1.6, -1.3, 1.3)
    contours(path_plot, lambda points: quadratic_cost(torch.from_numpy(points)), limits, [0.1, 0.3, 0.7, 1.2, 2.0, 3.0])
    paths(path_plot, paths_by_name)
    legend_above(path_plot)
    name_axes(path_plot, "x", "y")
    set_log_scale(cost_plot)
    name_axes(cost_plot, "step", "C")
    return Result(numbers, figure)


class ParameterPath(Callback):
    """Record the weight and the bias of a fitted line after each step."""

    def __init__(self) -> None:
        self.params_by_step: list[list[float]] = []

    def on_start(self, training: Training) -> None:
        """Record the initial parameters."""
        self.on_step(training)

    def on_step(self, training: Training) -> None:
        """Record the parameters after a step."""
        params = training.model.params
        self.params_by_step.append([float(params["bias"]), float(params["weight"])])


def line_data(seed: int) -> tuple[Tensor, Tensor]:
    """Return 100 points of y = 5 + 7 x + noise, x in [0, 2], noise drawn from N(0, 1): (100, 1) and (100, 1)."""
    rng = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(100, 1, generator=rng)
    return x, 5 + 7 * x + torch.randn(100, 1, generator=rng)


def fit_line(x: Tensor, y: Tensor, batch_size: int, epochs: int, seed: int, rate: float = 0.1) -> Tensor:
    """Return the path of (bias, weight) from (0, 0): (steps + 1, 2)."""
    model = Model(Dense(1), Quadratic(), SGD(rate), metrics=(), input_shape=(1,), seed=seed)
    model.params["weight"].zero_()
    path = ParameterPath()
    model.fit(x, y, epochs=epochs, batch_size=batch_size, callbacks=[path], verbose=False)
    return torch.tensor(path.params_by_step, dtype=torch.float64)


def batches(settings: LessonSettings, rate: float = 0.1, batch_size: int = 10) -> Result:
    """Batch, mini-batch and stochastic descent.

    A line is fitted to 100 points of y = 5 + 7 x + noise three times, each time for ten epochs with the same rate. A
    step computed from all 100 points follows the exact gradient: the path is smooth, but ten epochs are only ten steps.
    With mini-batches of 10 there are 100 steps, and with single examples 1,000. These steps are noisy: the stochastic
    path soon comes close to the minimum but does not converge; it moves around the minimum as long as the rate is
    constant.
    """
    x, y = line_data(settings.seed)
    columns = torch.cat([torch.ones_like(x), x], 1)
    minimum = torch.linalg.lstsq(columns, y).solution[:, 0].double()
    numbers: dict[str, Any] = {"minimum": minimum.tolist()}
    paths_by_name = {}
    for name, size in (("stochastic", 1), (f"mini-batch of {batch_size}", batch_size), ("batch", len(x))):
        paths_by_name[name] = path = fit_line(x, y, size, 10, settings.seed, rate)
        distance = torch.linalg.vector_norm(path - minimum, dim=1)
        step_lengths = torch.linalg.vector_norm(path[1:] - path[:-1], dim=1)
        last_epoch = slice(-max(len(step_lengths) // 10, 1), None)
        numbers[name] = {
            "steps": len(step_lengths), "end": path[-1].tolist(), "distance": float(distance[-1]),
            "mean step of the last epoch": float(step_lengths[last_epoch].mean()),
        }  # fmt: skip

    def cost(points: Any) -> Tensor:
        return ((columns.double() @ torch.from_numpy(points).T - y) ** 2).mean(0) / 2

    lowest_cost = float(cost(minimum[None].numpy()))
    limits = (-0.5, 9.5, -0.5, 9.5)
    figure, plots = plots_in_rows(["ten epochs", "near the minimum"], 2, 3.6)
    near_limits = (float(minimum[0]) - 1.2, float(minimum[0]) + 1.2, float(minimum[1]) - 1.2, float(minimum[1]) + 1.2)
    for plot, plot_limits in zip(plots, (limits, near_limits), strict=True):
        contours(
            plot, cost, plot_limits, [lowest_cost + height for height in (0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 80.0)]
        )
        paths(plot, paths_by_name, markers=False)
        plot.plot(*minimum[:, None], marker="*", color=INK, markersize=9, markeredgecolor="white")
        name_axes(plot, "bias", "weight")
    legend_above(plots[0])
    return Result(numbers, figure)


def optimizers(settings: LessonSettings, rate: float = 0.05, steepness: float = 3.0) -> Result:
    """Three optimizers on one surface.

    On C = s/2 x² + 1/2 y², with the steepness s in x, three optimizers start at (1, 1) with the same rate η and take 60
    steps. g is the gradient at the point w:

    - SGD takes w - η g, the step from above.
    - Momentum keeps a velocity, v ← 0.9 v + g, and takes w - η v. Steps in the same direction add up, to at most ten
      times η g, and those that change their sign cancel.
    - Adam keeps averages of g and of g², and takes the step η · average of g / √(average of g²) in each coordinate:
      about η, whether its gradient is large or small.

    The best rate of each is another one, so equal rates show what the optimizers do, not which one is better.
    """
    curvatures = torch.tensor([steepness, 1.0], dtype=torch.float64)
    figure, (path_plot, cost_plot) = plots_in_rows(["paths on the surface", "cost"], 2, 3.4)
    numbers: dict[str, Any] = {"largest rate of SGD": 2 / steepness}
    paths_by_name: dict[str, Tensor] = {}
    rules = {"SGD": SGD(rate), "momentum": Momentum(rate, momentum=0.9), "Adam": Adam(rate)}
    for (name, rule), colour in zip(rules.items(), colours(len(rules)), strict=True):
        point = torch.ones(2, dtype=torch.float64)
        state = rule.init([point])
        path = [point.clone()]
        for _ in range(OPTIMIZER_STEPS):
            rule.update([point], [curvatures * point], state, rate)  # changes the point
            path.append(point.clone())
        paths_by_name[name] = torch.stack(path)
        costs = paths_by_name[name].square() @ curvatures / 2
        numbers[name] = {
            "first step": (path[1] - path[0]).tolist(), "end": path[-1].tolist(), "cost": float(costs[-1]),
        }  # fmt: skip
        cost_plot.plot(costs, color=colour, linewidth=1.7)
    heights = [fraction * (steepness + 1) / 2 for fraction in (0.02, 0.1, 0.25, 0.5, 0.8, 1.2)]
    limits = (-1.6, 1.6, -1.3, 1.3)
    contours(path_plot, lambda points: torch.from_numpy(points).square() @ curvatures / 2, limits, heights)
    paths(path_plot, paths_by_name)
    legend_above(path_plot)
    name_axes(path_plot, "x", "y")
    set_log_scale(cost_plot)
    name_axes(cost_plot, "step", "C")
    return Result(numbers, figure)


STEPS = (rates, batches, optimizers)
GUIDE = Guide(
    question="Downhill is clear, but how far should one step go, and how much data does it need?",
    minutes=20,
    needs=("neuron",),
    guesses={
        "rates": Guess(
            "The ball is at x = 1, where the slope in x is 3, and the rate is 0.5. Where is x after one step?",
            ("at -0.5, on the other side", "at 0.5, half way", "at 0, in the minimum"),
            0,
            "x - η · slope = 1 - 0.5 · 3 = -0.5: the step goes beyond the minimum, and yet ends nearer to it.",
        ),
        "batches": Guess(
            "All three paths see the data ten times. Which one takes the most steps?",
            ("the one of single examples", "the one of all 100 points", "all take the same number"),
            0,
            "One step for each example makes 1,000 steps; one step for all 100 points together makes 10.",
        ),
        "optimizers": Guess(
            "At the start, x is three times as steep as y. Whose first step is equally long in x and in y?",
            ("that of SGD", "that of momentum", "that of Adam"),
            2,
            "Adam divides each coordinate by the size of its own gradient, so both move by the rate. The first steps "
            "of SGD and of momentum are the same, three times as long in x as in y.",
        ),
    },
    sliders={
        "rates": (
            Slider(
                "rate",
                "learning rate η",
                (0.1, 0.2, 0.33, 0.5, 0.6, 0.66, 0.68),
                {
                    0.5: "Both factors are 1/2 in size: no rate is faster here.",
                    0.66: "Just below the limit 2/3: x jumps from side to side and hardly gets smaller.",
                    0.68: "Above the limit 2/3: every step leads further away. The slider ends here, since larger "
                    "rates only leave the figure faster.",
                },
            ),
            Slider(
                "start_x",
                "start: x (y is 1)",
                (0.0, 0.5, 1.0),
                {0.0: "Without x the limit of the rate is that of y: 2."},
            ),
        ),
        "batches": (
            Slider("rate", "learning rate η", (0.02, 0.05, 0.1, 0.2)),
            Slider("batch_size", "examples in a mini-batch", (5, 10, 25, 50)),
        ),
        "optimizers": (
            Slider(
                "rate",
                "learning rate η of all three",
                (0.01, 0.03, 0.05, 0.1, 0.3),
                {0.3: "With a steepness of 3, SGD is the fastest here, and momentum swings widely."},
            ),
            Slider(
                "steepness",
                "steepness in x",
                (1.0, 3.0, 10.0, 30.0),
                {
                    1.0: "A round valley: all three go straight towards the minimum.",
                    30.0: "SGD diverges above the rate 2/30 = 0.067, momentum only above 3.8/30 = 0.127.",
                },
            ),
        ),
    },
    notices={
        "rates": (
            "The path does not point at the minimum: it crosses the lines of equal cost at right angles, and the "
            "valley is three times as steep in x as in y. Where the surface is a long valley, the steep direction sets "
            "the largest rate and the flat one needs the time.",
            "The cost is drawn on a logarithmic scale, where a straight line means that every step multiplies the cost "
            "by the same factor. Move the rate across 2/3 and see the line turn from falling to rising.",
        ),
        "batches": (
            "The smooth path is computed from all points, and ends far from the star because ten steps are few. The "
            "ragged path of single examples is near the star early, and then wanders around it.",
            "Take a smaller rate: the ragged path becomes calmer near the star, but all paths need more steps. This is "
            "why rates are often lowered towards the end of a training. Adam gives each weight a step length of its "
            "own.",
        ),
        "optimizers": (
            "SGD turns into the valley and slows down with the slope. Momentum gathers speed and runs past the "
            "minimum in curves. Adam goes along the diagonal, because both coordinates start at 1 and move alike.",
            "In the cost, momentum and Adam fall in waves: each wave is one run past the minimum and back.",
            "Make the valley steeper: the path of Adam stays where it is, since a gradient ten times as large is also "
            "divided by ten times as much. That is so because x and y are the weights themselves; a valley along a "
            "diagonal would not be the same for it.",
        ),
    },
    notice_plots={"rates": ((0,), (1,)), "batches": ((0,), (1,)), "optimizers": ((0,), (1,), (0,))},
    exercises=(
        Exercise(
            "On C = 5/2 x², from which learning rate on does gradient descent no longer converge?",
            0.4,
            0.005,
            "The slope is 5x, so a step multiplies x by 1 - 5η. This factor is -1 at η = 2/5 = 0.4.",
            {
                0.2: "At 0.2 the factor 1 - 5η is 0: a single step ends in the minimum. Ask where it reaches -1.",
                0.667: "2/3 is the limit of the surface in the figure, whose curvature is 3. Here it is 5.",
            },
        ),
        Exercise(
            "1,200 examples are seen 5 times in mini-batches of 40. How many steps are taken?",
            150,
            0.5,
            "One epoch has 1,200 / 40 = 30 steps, and five epochs have 150.",
            {30: "That is one epoch; the examples are seen 5 times.", 6000: "That would be one step for each example."},
        ),
    ),
    functions={
        "step": FunctionExercise(
            "step(w, x, y, rate): the weights w (D,) after one step on the mean of (x · w - y)² / 2 over the rows of x "
            "(N, D), with targets y (N,).",
            lambda w, x, y, rate: w - rate * x.T @ (x @ w - y) / len(x),
            lambda random: (random.normal(size=3), random.normal(size=(8, 3)), random.normal(size=8), 0.1),
            "def step(w, x, y, rate):\n    return w - rate * x.T @ (x @ w - y) / len(x)",
        )
    },
    later="Every training in this library takes such steps; optimizers differ in what they do with the gradient.",
    studio="#play?problem=moons&batch=1&rate=0.03",
)
