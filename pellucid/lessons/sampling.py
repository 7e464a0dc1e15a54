"""Inverse transform sampling.

A computer draws numbers u that are uniform between 0 and 1. A function of u can have any distribution: if F is the
cumulative distribution function of a density, then x = F⁻¹(u) has that density (Devroye 1986, chapter 2). A generative
network is also a function of random numbers, but it is learned from examples.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid import Adam, Dense, Model, ReLU, Sequential
from pellucid.data import load
from pellucid.generators import GMMN
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import Result, Setting
from pellucid.report.figures.series import colours, name_axes, plots_in_rows
from pellucid.report.figures.style import SMALL, show_image

RATE = 1.5  # rate λ of the exponential distribution
GAUSSIANS = ((0.35, -1.2, 0.4), (0.65, 0.9, 0.6))  # weight, mean and standard deviation of each Gaussian of a density
LOW, HIGH = -3.5, 3.5  # outside this interval, the density is treated as 0
CURVE_COLOUR, SAMPLE_COLOUR = colours(2)


def kolmogorov_distance(x: Tensor, cumulative: Any) -> float:
    """Return Kolmogorov's distance: the largest difference of the sample's cumulative distribution from F.

    x: the sample (n,). cumulative: the function F of values (n,).
    """
    sorted_x = x.sort().values
    steps = torch.arange(len(x) + 1) / len(x)
    expected = cumulative(sorted_x)
    return float(torch.maximum((expected - steps[:-1]).abs(), (expected - steps[1:]).abs()).max())


def exponential(setting: Setting, rate: float = RATE) -> Result:
    """A distribution whose inverse has a formula.

    The exponential distribution with rate λ has

    F(x) = 1 - exp(-λ x),  so that  F⁻¹(u) = -ln(1 - u) / λ

    Its mean is 1 / λ and its variance 1 / λ². The curve on the left maps each u to an x. Where F is steep, it maps many
    values of u to a short interval of x, so the density is high there. Kolmogorov's distance between the sample and F
    falls in proportion to one over the square root of the number of draws.
    """
    u = torch.rand(10_000, generator=torch.Generator().manual_seed(setting.seed), dtype=torch.float64)
    x = -torch.log1p(-u) / rate
    distances = {
        f"{count:,} draws": kolmogorov_distance(x[:count], lambda x: -torch.expm1(-rate * x))
        for count in (100, 1_000, 10_000)
    }
    numbers = {
        "mean": float(x.mean()),
        "1 / λ": 1 / rate,
        "variance": float(x.var()),
        "1 / λ²": 1 / rate**2,
        "Kolmogorov's distance": distances,
    }
    figure, (curve, histogram) = plots_in_rows(["u = F(x), and 12 draws", "10,000 draws"], 2, 3.0)
    longest = 6 / rate  # exceeded by 0.25 % of the draws
    grid = np.linspace(0, longest, 200)
    curve.plot(grid, 1 - np.exp(-rate * grid), color=CURVE_COLOUR, linewidth=1.7)
    for height, position in zip(u[:12].tolist(), x[:12].tolist(), strict=True):
        curve.plot([0, position, position], [height, height, 0], color=SAMPLE_COLOUR, linewidth=0.8)
    curve.set_ylim(0, 1)
    name_axes(curve, "x", "u")
    histogram.hist(x.numpy(), bins=60, range=(0, longest), density=True, color=SAMPLE_COLOUR, alpha=0.5)
    histogram.plot(grid, rate * np.exp(-rate * grid), color=CURVE_COLOUR, linewidth=1.7, label="λ exp(-λ x)")
    histogram.legend(frameon=False, fontsize=SMALL)
    name_axes(histogram, "x", "density")
    return Result(numbers, figure)


def bumps_cdf(x: Tensor) -> Tensor:
    """Return F(x), the cumulative distribution function of a mixture of two Gaussians, its bumps."""
    parts = (
        weight / 2 * (1 + torch.erf((x - mean) / (deviation * math.sqrt(2)))) for weight, mean, deviation in GAUSSIANS
    )
    return torch.stack(list(parts)).sum(0)


def inverse_bumps_cdf(u: Tensor, points: int = 2_001) -> Tensor:
    """Return F⁻¹(u) for the two bumps, by linear interpolation in a table of F with `points` entries."""
    grid = torch.linspace(LOW, HIGH, points, dtype=torch.float64)
    cdf = bumps_cdf(grid)
    upper = torch.searchsorted(cdf, u).clamp(1, points - 1)
    cdf_below, cdf_above = cdf[upper - 1], cdf[upper]
    fraction = ((u - cdf_below) / (cdf_above - cdf_below)).clamp(0, 1)
    return grid[upper - 1] + fraction * (grid[upper] - grid[upper - 1])


def table(setting: Setting, points: int = 2_001) -> Result:
    """A distribution whose inverse has no formula.

    For a mixture of two Gaussians, F⁻¹ has no formula. A table of F suffices: the x with F(x) = u is found by bisection
    and linear interpolation between two points of the table.
    """
    u = torch.rand(10_000, generator=torch.Generator().manual_seed(setting.seed), dtype=torch.float64)
    x = inverse_bumps_cdf(u, points)
    mean = sum(weight * mean for weight, mean, _ in GAUSSIANS)
    numbers = {
        "mean": float(x.mean()),
        "mean of the bumps": mean,
        "largest |F(F⁻¹(u)) - u|": float((bumps_cdf(x) - u).abs().max()),
        "Kolmogorov's distance": kolmogorov_distance(x, bumps_cdf),
    }
    figure, (curve, histogram) = plots_in_rows(["u = F(x)", "10,000 draws"], 2, 3.0)
    grid = torch.linspace(LOW, HIGH, 300, dtype=torch.float64)
    curve.plot(grid, bumps_cdf(grid), color=CURVE_COLOUR, linewidth=1.7)
    name_axes(curve, "x", "u")
    histogram.hist(x.numpy(), bins=70, density=True, color=SAMPLE_COLOUR, alpha=0.5)
    histogram.plot(grid[1:], bumps_cdf(grid).diff() / grid.diff(), color=CURVE_COLOUR, linewidth=1.7)
    name_axes(histogram, "x", "density")
    return Result(numbers, figure)


def brightness(setting: Setting) -> Result:
    """Two dimensions, one after the other: an image as a density.

    Let the mean of all images of a digit be a density, in which the brightness of a pixel is proportional to its
    probability. Two uniform numbers determine a pixel: the first its row, by the cumulative sum of the rows'
    brightness; the second its column, by the cumulative sum of the brightness within this row. Every distribution of
    several variables can be sampled in this way: each variable is drawn given the previous ones. But the size of the
    tables grows exponentially with the number of variables, so tables are impossible for images of 784 pixels. This is
    why networks are trained to draw images.
    """
    digits = load("digits").train
    density = digits.x[digits.y == 3].double().mean(0)[0]  # (8, 8)
    density = density / density.sum()
    count = 20_000
    u = torch.rand(2, count, generator=torch.Generator().manual_seed(setting.seed), dtype=torch.float64)
    last_index = len(density) - 1
    row = torch.searchsorted(density.sum(1).cumsum(0), u[0]).clamp(max=last_index)
    row_cdf = (density / density.sum(1, keepdim=True)).cumsum(1)[row]  # (count, 8), cumulative, given the row
    column = torch.searchsorted(row_cdf, u[1][:, None])[:, 0].clamp(max=last_index)
    counts = torch.zeros_like(density).index_put((row, column), torch.ones(count, dtype=torch.float64), accumulate=True)
    numbers = {
        "rows' probabilities": density.sum(1).tolist(),
        "rows' shares of the draws": (counts.sum(1) / count).tolist(),
        "largest difference of a pixel": float((counts / count - density).abs().max()),
    }
    figure, plots = plots_in_rows(["mean image of a 3", f"{count:,} draws"], 2, 3.0)
    for plot, image in zip(plots, (density, counts / count), strict=True):
        show_image(plot, (image / density.max()).clamp(max=1).numpy())
        plot.set_axis_off()
    return Result(numbers, figure)


def learned(setting: Setting) -> Result:
    """A network that learns to draw.

    A network with one input u and one output x learns from examples to draw from the mixture of two Gaussians. Its loss
    is the maximum mean discrepancy between a batch of examples and an equal number of the network's draws, as in a
    generative moment matching network (Li, Swersky and Zemel 2015). Its curve becomes F⁻¹, or a mirrored or folded
    curve: many functions of u have the same distribution, and the loss compares only distributions.
    """
    count, epochs = (1_000, 50) if setting.small else (4_000, 80)
    rng = torch.Generator().manual_seed(setting.seed)
    examples = inverse_bumps_cdf(torch.rand(count, generator=rng, dtype=torch.float64)).float()[:, None]
    net = Sequential(Dense(32), ReLU(), Dense(32), ReLU(), Dense(1))
    objective = GMMN(net, 1, bandwidths=(0.02, 0.1, 0.5, 2.0), scale=1.0)
    model = Model(objective, optimizer=Adam(0.005), input_shape=(1,), seed=setting.seed)
    u = torch.rand(10_000, generator=rng)
    x_before = objective.generate(model.params, 2 * u[:, None] - 1)[:, 0]  # its latent inputs are from -1 to 1
    history = model.fit(examples, torch.zeros(count), epochs=epochs, batch_size=250, verbose=False)
    x = objective.generate(model.params, 2 * u[:, None] - 1)[:, 0]
    numbers = {
        "discrepancy, first epoch": history["train_loss"][0],
        "discrepancy, last epoch": history["train_loss"][-1],
        "Kolmogorov's distance before": kolmogorov_distance(x_before.double(), bumps_cdf),
        "Kolmogorov's distance after": kolmogorov_distance(x.double(), bumps_cdf),
    }
    figure, (curve, histogram) = plots_in_rows(["x as a function of u", "10,000 draws of the network"], 2, 3.0)
    order = u.argsort()
    curve.plot(u[order], inverse_bumps_cdf(u[order].double()), color=CURVE_COLOUR, linewidth=1.7, label="F⁻¹")
    curve.plot(u[order], x[order], color=SAMPLE_COLOUR, linewidth=1.7, label="network")
    curve.legend(frameon=False, fontsize=SMALL)
    name_axes(curve, "u", "x")
    grid = torch.linspace(LOW, HIGH, 300, dtype=torch.float64)
    histogram.hist(x.numpy(), bins=70, range=(LOW, HIGH), density=True, color=SAMPLE_COLOUR, alpha=0.5)
    histogram.plot(grid[1:], bumps_cdf(grid).diff() / grid.diff(), color=CURVE_COLOUR, linewidth=1.7)
    name_axes(histogram, "x", "density")
    return Result(numbers, figure)


STEPS = (exponential, table, brightness, learned)
GUIDE = Guide(
    question="A computer draws only numbers between 0 and 1. How does it draw waiting times, or pictures?",
    minutes=15,
    needs=("neuron",),
    guesses={
        "exponential": Guess(
            "x = F⁻¹(u) for uniform u. Where do most x fall?",
            ("where the curve F is steep", "where the curve F is flat", "everywhere equally"),
            0,
            "A steep part of F takes up much of the height, from which u is drawn, over a short interval of x.",
        ),
        "learned": Guess(
            "The network's curve of x over u will be F⁻¹?",
            ("yes, the loss compares it with F⁻¹", "not necessarily: another curve may have the same distribution"),
            1,
            "The loss sees only the drawn x, not which u gave which x; a mirrored curve is as good.",
        ),
    },
    sliders={
        "exponential": (
            Slider(
                "rate",
                "rate λ",
                (0.5, 1.0, 1.5, 3.0),
                {
                    0.5: "The mean is 2. The axis of x is longer, and the curve has the same form.",
                    3.0: "The mean is 1/3.",
                },
            ),
        ),
        "table": (
            Slider(
                "points",
                "entries of the table",
                (3, 5, 9, 33, 2001),
                {
                    3: "Three entries, two straight pieces: the sample has two flat blocks.",
                    2001: "The error of the table is far below the chance of the draws.",
                },
            ),
        ),
    },
    notices={
        "exponential": (
            "Each line goes from a height u, which is equally likely anywhere, to the curve and down to an x. Near 0 "
            "the curve is steep, so many lines come down there.",
            "The bars follow the density λ exp(-λ x), up to the chance of 10,000 draws.",
        ),
        "table": (
            "Where the curve on the left is steep there is a bump on the right, and where it is nearly flat there are "
            "few draws. With few entries the bars form flat blocks, one for each straight piece.",
        ),
        "brightness": (
            "The second picture is made of counted draws alone. It differs from the first by a little noise, which "
            "falls with the number of draws.",
        ),
        "learned": (
            "The network's curve is made of straight pieces, one for each bend of a ReLU. The sharp parts of the "
            "distribution are where the pieces fit worst.",
        ),
    },
    exercises=(
        Exercise(
            "λ = 2 and u = 0.5. What is x = F⁻¹(u)?",
            0.3466,
            0.002,
            "-ln(1 - 0.5) / 2 = 0.6931 / 2 = 0.3466.",
            {0.6931: "Divide by λ = 2.", 1.386: "Divide by λ instead of multiplying."},
        ),
        Exercise(
            "An image is 28 x 28 pixels, each black or white. A table with one entry for every possible image has 2 to "
            "the power of how many entries?",
            784,
            0.5,
            "Each of 28 · 28 = 784 pixels doubles the number of images.",
            {56: "Multiply the sides; do not add them.", 28: "This counts one row of the image."},
        ),
    ),
    functions={
        "draw": FunctionExercise(
            "draw(u, rate): exponential draws for uniform numbers u (N,).",
            lambda u, rate: np.array([-math.log(1 - value) / rate for value in u]),
            lambda random: (random.random(6), 1.5),
            "def draw(u, rate):\n    return -np.log1p(-u) / rate",
        )
    },
    later="Generative networks are such functions, learned from pictures.",
)
