"""Gradient descent.

The gradient of a cost points in the direction in which the cost rises fastest. Gradient descent repeatedly takes a step
in the opposite direction. Two choices decide how well this works: the length of a step, and the number of examples from
which it is computed.
"""

from typing import Any

import torch
from torch import Tensor

from pellucid import SGD, Callback, Dense, Model, Quadratic
from pellucid.lessons.lesson import Result, Setting
from pellucid.report.figures.plane import contours, paths
from pellucid.report.figures.series import colours, name_axes, plots_in_rows
from pellucid.report.figures.style import INK, set_log_scale
from pellucid.training.callbacks import Training

CURVATURES = torch.tensor([3.0, 1.0], dtype=torch.float64)
RATES = {"too small, 0.02": 0.02, "right, 0.5": 0.5, "too large, 0.7": 0.7}
STEPS_TAKEN = 20


def quadratic_cost(points: Tensor) -> Tensor:
    """Return C = 3/2 x² + 1/2 y² at points (N, 2)."""
    return points.square() @ CURVATURES / 2


def gradient(point: Tensor) -> Tensor:
    """Return the gradient of C at a point, (3 x, y)."""
    return CURVATURES * point


def rates(setting: Setting) -> Result:
    """The learning rate.

    On C = 3/2 x² + 1/2 y² the gradient at (1, 1) is (3, 1). A step of rate η multiplies x by 1 - 3η and y by 1 - η:

    - too small: both factors are just below 1, and the descent takes long;
    - right: η = 2 / (3 + 1) = 0.5 makes the larger of the two factors as small as possible, 1/2;
    - too large: beyond η = 2/3 the factor of x is below -1, and each step leads further away from the minimum.

    The loop is written out because it is the subject of this step; otherwise `Model.fit` runs it.
    """
    start = torch.ones(2, dtype=torch.float64)
    numbers: dict[str, Any] = {
        "gradient at (1, 1)": gradient(start).tolist(),
        "largest rate": 2 / float(CURVATURES.max()),
    }
    figure, (path_plot, cost_plot) = plots_in_rows(["paths on the surface", "cost"], 2, 3.4)
    paths_by_name = {}
    for (name, rate), colour in zip(RATES.items(), colours(len(RATES)), strict=True):
        path = [start]
        for _ in range(STEPS_TAKEN):
            path.append(path[-1] - rate * gradient(path[-1]))
        paths_by_name[name] = torch.stack(path)
        numbers[name] = {"end": path[-1].tolist(), "cost": float(quadratic_cost(paths_by_name[name])[-1])}
        cost_plot.plot(quadratic_cost(paths_by_name[name]), color=colour, linewidth=1.7)
    limits = (-1.6, 1.6, -1.3, 1.3)
    contours(path_plot, lambda points: quadratic_cost(torch.from_numpy(points)), limits, [0.1, 0.3, 0.7, 1.2, 2.0, 3.0])
    paths(path_plot, paths_by_name)
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


def fit_line(x: Tensor, y: Tensor, batch_size: int, epochs: int, seed: int) -> Tensor:
    """Return the path of (bias, weight) from (0, 0) with a learning rate of 0.1: (steps + 1, 2)."""
    model = Model(Dense(1), Quadratic(), SGD(0.1), metrics=(), input_shape=(1,), seed=seed)
    model.params["weight"].zero_()
    path = ParameterPath()
    model.fit(x, y, epochs=epochs, batch_size=batch_size, callbacks=[path], verbose=False)
    return torch.tensor(path.params_by_step, dtype=torch.float64)


def batches(setting: Setting) -> Result:
    """Batch, mini-batch and stochastic descent.

    A line is fitted to 100 points of y = 5 + 7 x + noise three times, each time for ten epochs with a rate of 0.1. A
    step computed from all 100 points follows the exact gradient: the path is smooth, but ten epochs are only ten steps.
    With mini-batches of 10 there are 100 steps, and with single examples 1,000. These steps are noisy: the stochastic
    path soon comes close to the minimum but does not converge; it moves around the minimum as long as the rate is
    constant.
    """
    x, y = line_data(setting.seed)
    columns = torch.cat([torch.ones_like(x), x], 1)
    minimum = torch.linalg.lstsq(columns, y).solution[:, 0].double()
    numbers: dict[str, Any] = {"minimum": minimum.tolist()}
    paths_by_name = {}
    for name, size in (("stochastic", 1), ("mini-batch of 10", 10), ("batch", len(x))):
        paths_by_name[name] = path = fit_line(x, y, size, 10, setting.seed)
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
    return Result(numbers, figure)


STEPS = (rates, batches)
