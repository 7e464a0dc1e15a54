"""Inverse transform sampling.

A computer draws numbers u that are uniform between 0 and 1: all of them are equally likely. A function of u can have
any distribution. A density says how likely the values near x are, and its cumulative distribution function F(x) is the
probability of a value of at most x. Then x = F⁻¹(u) has that density (Devroye 1986, chapter 2). A generative network is
also a function of random numbers, but it is learned from examples.
"""

import math
from typing import Any

import numpy as np
import torch
from scipy.stats import expon
from torch import Tensor

from pellucid import Adam, Dense, Model, ReLU, Sequential
from pellucid.data import load
from pellucid.generators import GMMN
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
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


def exponential(settings: LessonSettings, rate: float = RATE, draws: int = 10_000) -> Result:
    """A distribution whose inverse has a formula.

    The exponential distribution with rate λ has

    F(x) = 1 - exp(-λ x),  so that  F⁻¹(u) = -ln(1 - u) / λ

    Its mean is 1 / λ and its variance, the mean squared distance from the mean, 1 / λ². The curve on the left maps each
    u to an x. Where F is steep, it maps many values of u to a short interval of x, so the density is high there.
    Kolmogorov's distance between the sample and F falls in proportion to one over the square root of the number of
    draws.
    """
    u = torch.rand(10_000, generator=torch.Generator().manual_seed(settings.seed), dtype=torch.float64)
    x = -torch.log1p(-u) / rate
    distances = {
        f"{count:,} draws": kolmogorov_distance(x[:count], lambda x: -torch.expm1(-rate * x))
        for count in (100, 1_000, 10_000)
    }
    numbers = {
        "mean": float(x[:draws].mean()),
        "1 / λ": 1 / rate,
        "variance": float(x[:draws].var()),
        "1 / λ²": 1 / rate**2,
        "Kolmogorov's distance": distances,
    }
    figure, (curve, histogram) = plots_in_rows(["u = F(x), and 12 draws", f"{draws:,} draws"], 2, 3.0)
    x_end = 6 / rate  # F is 0.998 there
    grid = np.linspace(0, x_end, 200)
    curve.plot(grid, 1 - np.exp(-rate * grid), color=CURVE_COLOUR, linewidth=1.7)
    for height, position in zip(u[:12].tolist(), x[:12].tolist(), strict=True):
        curve.plot([0, position, position], [height, height, 0], color=SAMPLE_COLOUR, linewidth=0.8)
    curve.set_ylim(0, 1)
    name_axes(curve, "x", "u")
    histogram.hist(x[:draws].numpy(), bins=60, range=(0, x_end), density=True, color=SAMPLE_COLOUR, alpha=0.5)
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
    upper_index = torch.searchsorted(cdf, u).clamp(1, points - 1)
    cdf_below, cdf_above = cdf[upper_index - 1], cdf[upper_index]
    fraction = ((u - cdf_below) / (cdf_above - cdf_below)).clamp(0, 1)
    return grid[upper_index - 1] + fraction * (grid[upper_index] - grid[upper_index - 1])


def table(settings: LessonSettings, points: int = 2_001) -> Result:
    """A distribution whose inverse has no formula.

    For a mixture of two Gaussians, F⁻¹ has no formula. A table of F suffices: the x with F(x) = u is found by bisection
    and linear interpolation between two points of the table, that is on the straight line between them.
    """
    u = torch.rand(10_000, generator=torch.Generator().manual_seed(settings.seed), dtype=torch.float64)
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
    table_x = torch.linspace(LOW, HIGH, points, dtype=torch.float64)
    curve.plot(grid, bumps_cdf(grid), color=CURVE_COLOUR, linewidth=1.7, label="F")
    curve.plot(table_x, bumps_cdf(table_x), color=SAMPLE_COLOUR, linewidth=1.0, label="table")
    curve.legend(frameon=False, fontsize=SMALL)
    name_axes(curve, "x", "u")
    histogram.hist(x.numpy(), bins=70, density=True, color=SAMPLE_COLOUR, alpha=0.5)
    histogram.plot(grid[1:], bumps_cdf(grid).diff() / grid.diff(), color=CURVE_COLOUR, linewidth=1.7)
    name_axes(histogram, "x", "density")
    return Result(numbers, figure)


def brightness(settings: LessonSettings, digit: int = 3, draws: int = 20_000) -> Result:
    """Two dimensions, one after the other: an image as a density.

    Let the mean of all images of a digit be a density, in which the brightness of a pixel is proportional to its
    probability. Two uniform numbers determine a pixel: the first its row, by the cumulative sum of the rows'
    brightness; the second its column, by the cumulative sum of the brightness within this row. Every distribution of
    several variables can be sampled in this way: each variable is drawn given the previous ones. But the size of the
    tables grows exponentially with the number of variables, so tables are impossible for images of 784 pixels. This is
    why networks are trained to draw images.
    """
    digits = load("digits").train
    density = digits.x[digits.y == digit].double().mean(0)[0]  # (8, 8)
    density = density / density.sum()
    u = torch.rand(2, draws, generator=torch.Generator().manual_seed(settings.seed), dtype=torch.float64)
    last_index = len(density) - 1
    row = torch.searchsorted(density.sum(1).cumsum(0), u[0]).clamp(max=last_index)
    row_cdf = (density / density.sum(1, keepdim=True)).cumsum(1)[row]  # (draws, 8), cumulative, given the row
    column = torch.searchsorted(row_cdf, u[1][:, None])[:, 0].clamp(max=last_index)
    counts = torch.zeros_like(density).index_put((row, column), torch.ones(draws, dtype=torch.float64), accumulate=True)
    numbers = {
        "rows' probabilities": density.sum(1).tolist(),
        "rows' shares of the draws": (counts.sum(1) / draws).tolist(),
        "largest difference of a pixel": float((counts / draws - density).abs().max()),
    }
    figure, plots = plots_in_rows([f"mean image of a {digit}", f"{draws:,} draws"], 2, 3.0)
    for plot, image in zip(plots, (density, counts / draws), strict=True):
        show_image(plot, (image / density.max()).clamp(max=1).numpy())
        plot.set_axis_off()
    return Result(numbers, figure)


def learned(settings: LessonSettings) -> Result:
    """A network that learns to draw.

    A network with one input u and one output x learns from examples to draw from the mixture of two Gaussians. Its loss
    is the maximum mean discrepancy between a batch of examples and an equal number of the network's draws, as in a
    generative moment matching network (Li, Swersky and Zemel 2015). Its curve becomes F⁻¹, or a mirrored or folded
    curve: many functions of u have the same distribution, and the loss compares only distributions.
    """
    count, epochs = (1_000, 50) if settings.small else (4_000, 80)
    rng = torch.Generator().manual_seed(settings.seed)
    examples = inverse_bumps_cdf(torch.rand(count, generator=rng, dtype=torch.float64)).float()[:, None]
    net = Sequential(Dense(32), ReLU(), Dense(32), ReLU(), Dense(1))
    objective = GMMN(net, 1, bandwidths=(0.02, 0.1, 0.5, 2.0), scale=1.0)
    model = Model(objective, optimizer=Adam(0.005), input_shape=(1,), seed=settings.seed)
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
    question="A computer draws only numbers between 0 and 1. How can it draw waiting times, heights, or images?",
    minutes=20,
    needs=("neuron",),
    guesses={
        "exponential": Guess(
            "Go from u on the vertical axis to the curve F, and down to x. Most of the x land where",
            ("the curve is steep", "the curve is flat", "the curve is highest"),
            0,
            "Where the curve is steep, a wide range of u leads to a narrow range of x. There the draws are dense.",
        ),
        "table": Guess(
            "F is known at 5 points only, with straight lines between them. What does the histogram of the draws look "
            "like?",
            ("like two bumps", "like four flat steps", "like one bump"),
            1,
            "On a straight line all x are equally likely, so each of the four pieces has one height. Move the slider "
            "to 5.",
        ),
        "learned": Guess(
            "A network turns u into x, and only the distribution of its draws is compared with the examples. Must its "
            "curve become F⁻¹?",
            ("yes, only F⁻¹ has this distribution", "no, other curves have it too"),
            1,
            "1 - u is as uniform as u, so the mirrored curve has the same distribution. The loss cannot tell them "
            "apart.",
        ),
    },
    sliders={
        "exponential": (
            Slider(
                "rate",
                "rate λ",
                (0.5, 1.0, 1.5, 3.0),
                {0.5: "A mean of 2: read the x axis, which is longer now.", 3.0: "Short times: the axis ends at 2."},
            ),
            Slider(
                "draws",
                "draws",
                (100, 1_000, 10_000),
                {100: "Few draws: the bars are ragged, and the mean is a rough one."},
            ),
        ),
        "table": (
            Slider(
                "points",
                "points of the table",
                (5, 9, 21, 101, 2_001),
                {5: "Four pieces, four heights.", 9: "The bumps appear."},
            ),
        ),
        "brightness": (
            Slider("digit", "digit", (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)),
            Slider(
                "draws",
                "draws",
                (100, 2_000, 20_000),
                {100: "About as many draws as there are pixels: one sees them singly."},
            ),
        ),
    },
    notices={
        "exponential": (
            "Follow one orange line: from a height u to the curve, and down to x. The heights are spread evenly, but "
            "the feet of the lines crowd near 0, where the curve is steep.",
            "The bars on the right are the draws, and the blue curve is the density that they should have. Change the "
            "number of draws and compare the mean with 1 / λ in the numbers.",
        ),
        "table": (
            "The two steep parts of the curve on the left are at the same x as the two bumps on the right. Take fewer "
            "points: the orange lines leave the blue curve, and the bumps become steps.",
        ),
        "brightness": (
            "Bright pixels are drawn often. With 20,000 draws the right image is hardly different from the left one; "
            "with 100 draws it is only a rough likeness.",
        ),
        "learned": (
            "On the left compare the two curves: the network's may run the other way. On the right its bars follow "
            "the two bumps, but end too early on both sides: rare values are the hardest to learn.",
        ),
    },
    notice_plots={"exponential": ((0,), (1,)), "brightness": ((1,),)},
    exercises=(
        Exercise(
            "The rate is λ = 2 and u = 0.5. Which x is drawn from the exponential distribution?",
            math.log(2) / 2,
            0.002,
            "x = -ln(1 - 0.5) / 2 = 0.693 / 2 = 0.347.",
            {0.693: "Divide by the rate.", 0.632: "That is F(0.5). x = F⁻¹(u) is asked."},
        ),
        Exercise(
            "F(x) = x² between 0 and 1. Which x is drawn for u = 0.36?",
            0.6,
            0.002,
            "x² = 0.36 gives x = 0.6.",
            {0.13: "That is F(0.36). Find the x whose F is 0.36.", 0.72: "That is the density 2 x at 0.36."},
        ),
        Exercise(
            "An image has the brightness 1, 3 in its first row and 2, 2 in its second. With u = 0.3 for the row and u "
            "= 0.3 for the column, what is the brightness of the pixel that is drawn?",
            3,
            0.1,
            "Each row has half of the brightness, so 0.3 means the first row. In it the first pixel ends at 1/4: the "
            "second.",
            {
                1: "The first pixel of the row has the numbers from 0 to 1/4 only.",
                2: "The first row has the u up to 4/8.",
            },
        ),
    ),
    functions={
        "exponential": FunctionExercise(
            "exponential(u, rate): the draws (n,) of an exponential distribution from uniform numbers u (n,).",
            lambda u, rate: expon(scale=1 / rate).ppf(u),
            lambda random: (random.random(6), float(random.uniform(0.5, 3))),
            "def exponential(u, rate):\n    return -np.log(1 - u) / rate",
        )
    },
    later="Generative networks draw images in this way: from random numbers, by a function that is learned.",
)
