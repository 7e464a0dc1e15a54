"""Generative adversarial networks.

A generator turns random numbers into points or images that shall look like those of a data set. In a generative
adversarial network (GAN), a second network, the discriminator, judges them: it learns to give real points high scores
and generated ones low scores, while the generator learns to get high scores (Goodfellow et al. 2014). Moment matching
needs no second network: it compares two samples by a formula (Li, Swersky and Zemel 2015).
"""

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from pellucid import Adam, Dense, Model, ReLU, Sequential
from pellucid.generators import GAN, GMMN
from pellucid.layers.base import Mode
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.losses.adversarial import GANLoss, NonSaturating
from pellucid.losses.mmd import mmd
from pellucid.report.figures.series import colours, legend_above, name_axes, plots_in_rows

REAL_COLOUR, FAKE_COLOUR, SCORE_COLOUR = colours(3)
MODES = 8  # groups of the real points, on a circle of radius 1
DEVIATION = 0.05  # standard deviation of a group
REACH = 0.2  # a point within this distance of a group's middle belongs to the group
SHOWN = 1_000  # generated points


def gaussian(x: Tensor, mean: float, deviation: float) -> Tensor:
    """Return the normal distribution's density at x."""
    return torch.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))


def judged(settings: LessonSettings, mean: float = 1.5, deviation: float = 0.5) -> Result:
    """What the best discriminator says.

    Real numbers have the density p, a Gaussian with the mean 0 and the standard deviation 1; generated ones have the
    density q, another Gaussian. No discriminator can do better than to give x the probability of being real

    D(x) = p(x) / (p(x) + q(x))

    that is the score ln(p / q). Its loss is at most 2 ln 2 = 1.386, which it has where p and q are equal: it can only
    guess. The generator moves its numbers to where D is higher: the slope is the mean derivative of its loss -ln D
    when all generated numbers are moved to the right.
    """
    x = torch.linspace(-20, 20, 8001, dtype=torch.float64)
    step = float(x[1] - x[0])
    p = gaussian(x, 0.0, 1.0)
    q = gaussian(x, mean, deviation)
    log_ratio = 0.5 * ((x - mean) / deviation) ** 2 - 0.5 * x**2 + math.log(deviation)
    loss = NonSaturating()
    real_loss, _ = loss.real(log_ratio)
    fake_loss, _ = loss.fake(log_ratio)
    _, dscore = loss.generator_loss(log_ratio)
    slope_of_score = (x - mean) / deviation**2 - x
    numbers = {
        "discriminator's loss": float((p * real_loss + q * fake_loss).sum()) * step,
        "2 ln 2": 2 * math.log(2),
        "slope of the generator's loss": float((q * dscore * slope_of_score).sum()) * step,
    }
    figure, (left, right) = plots_in_rows(["densities", "best discriminator"], 2, 2.6)
    left.plot(x, p, color=REAL_COLOUR, label="real, p")
    left.plot(x, q, color=FAKE_COLOUR, label="generated, q")
    right.plot(x, log_ratio.sigmoid(), color=SCORE_COLOUR)
    legend_above(left)
    right.set_ylim(-0.03, 1.03)
    for plot, name in ((left, "density"), (right, "probability of being real")):
        plot.set_xlim(-4, 4)
        name_axes(plot, "x", name)
    return Result(numbers, figure)


def circle() -> Tensor:
    """Return the middles (8, 2) of the groups."""
    angles = torch.arange(MODES) * (2 * math.pi / MODES)
    return torch.stack([angles.cos(), angles.sin()], 1)


def real_points(count: int, seed: int) -> Tensor:
    """Return points (count, 2) of the eight groups."""
    rng = torch.Generator().manual_seed(seed)
    groups = torch.randint(MODES, (count,), generator=rng)
    return circle()[groups] + DEVIATION * torch.randn(count, 2, generator=rng)


def summary(points: Tensor) -> dict[str, object]:
    """Return how many generated points (N, 2) belong to each group, and how many groups have at least 1/4 of theirs."""
    distances, groups = torch.cdist(points, circle()).min(1)
    counts = groups[distances < REACH].bincount(minlength=MODES)
    n_found = int((counts >= len(points) / MODES / 4).sum())
    return {"groups found": n_found, "points in each": counts.tolist(), "outside": len(points) - int(counts.sum())}


def network(outputs: int) -> Sequential:
    """Return a network with two hidden layers of 32 neurons."""
    return Sequential(Dense(32), ReLU(), Dense(32), ReLU(), Dense(outputs))


def draw_points(plot: Axes, points: Tensor, colour: str) -> None:
    """Draw points (N, 2) between -1.5 and 1.5."""
    plot.scatter(*points.T, s=3, color=colour, linewidths=0)
    plot.set_xlim(-1.5, 1.5)
    plot.set_ylim(-1.5, 1.5)


def generated_by(model: Model, z: Tensor) -> Tensor:
    """Return the generator's points (N, 2) for random numbers z (N, 2)."""
    points, _ = model.objective.nets["generator"].forward(model.params["generator"], z, Mode(keep=False))
    return points


def adversarial(rate: float, loss: GANLoss, seed: int) -> Model:
    """Return a GAN with random weights; rate: the learning rate of the discriminator."""
    optimizers = {"generator": Adam(0.002, beta1=0.5), "discriminator": Adam(rate, beta1=0.5)}
    return Model(GAN(network(2), 2, network(1), loss=loss), optimizer=optimizers, input_shape=(2,), seed=seed)


def trained(settings: LessonSettings, rate: float = 0.002, loss: GANLoss = "non_saturating") -> Result:
    """A generator against a discriminator.

    The real points are eight groups on a circle. The generator turns two random numbers into a point; it learns with a
    learning rate of 0.002. The networks take a step in turns, the discriminator first, on 128 real and 128 generated
    points. Both have two hidden layers of 32 neurons. The figure shows 1,000 generated points after each quarter of the
    training. A generator that serves only some of the groups has mode collapse: nothing in its loss asks for the others
    as long as its points look real.
    """
    points = real_points(4_096, settings.seed)
    model = adversarial(rate, loss, settings.seed)
    z = torch.randn(SHOWN, 2, generator=torch.Generator().manual_seed(settings.seed))
    epochs = 8  # between two of the figure's plots
    numbers = {}
    figure, plots = plots_in_rows(["real", *(f"epoch {k * epochs}" for k in range(1, 5))], 5, 1.5, square=True)
    draw_points(plots[0], points[:SHOWN], REAL_COLOUR)
    for k in range(1, 5):
        # A GAN takes values from 0 to 1, and maps them to -1 to 1 for its networks.
        model.fit((points + 1) / 2, torch.zeros(len(points)), epochs=epochs, batch_size=128, verbose=False)
        generated = generated_by(model, z)
        numbers[f"epoch {k * epochs}"] = summary(generated)
        draw_points(plots[k], generated, FAKE_COLOUR)
    return Result(numbers, figure)


def moment_matching(width: float, seed: int) -> Model:
    """Return a generator with random weights that learns by the MMD; width: of the kernel."""
    objective = GMMN(network(2), 2, bandwidths=(width**2,), scale=1.0)
    return Model(objective, optimizer=Adam(0.005), input_shape=(2,), seed=seed)


def matched(settings: LessonSettings, width: float = 0.2) -> Result:
    """Moment matching.

    The maximum mean discrepancy (MMD) compares two samples by a kernel, here k(a, b) = exp(-d² / 2 s²) for points a and
    b at the distance d:

    MMD² = mean k(x, x') - 2 mean k(x, y) + mean k(y, y')

    It is small if generated points x are as near to real points y as these are to each other. The width s says what
    near means. A generator like the one before minimizes the MMD of 128 generated and 128 real points by gradient
    descent. There is no discriminator, and so no contest that could go wrong.
    """
    points = real_points(4_096, settings.seed)
    model = moment_matching(width, settings.seed)
    z = 2 * torch.rand(SHOWN, 2, generator=torch.Generator().manual_seed(settings.seed)) - 1
    samples_before = generated_by(model, z)
    model.fit(points, torch.zeros(len(points)), epochs=32, batch_size=128, verbose=False)
    samples_after = generated_by(model, z)
    points_by_name = {"real": points[:SHOWN], "before": samples_before, "after": samples_after}
    numbers = {}
    figure, plots = plots_in_rows([*points_by_name], 3, 2.3, square=True)
    for plot, (name, sample) in zip(plots, points_by_name.items(), strict=True):
        draw_points(plot, sample, REAL_COLOUR if name == "real" else FAKE_COLOUR)
        value, _ = mmd(sample, points[SHOWN : 2 * SHOWN], (width**2,))
        statistics = {"mean": sample.mean(0).tolist(), "standard deviations": sample.std(0).tolist()}
        numbers[name] = {"MMD": float(value), **statistics, **summary(sample)}
    return Result(numbers, figure)


STEPS = (judged, trained, matched)
GUIDE = Guide(
    question="How can a network learn to make new things, if nobody says which of its attempts are good?",
    minutes=15,
    needs=("cost", "sampling"),
    guesses={
        "judged": Guess(
            "Real and generated numbers have the same distribution. What does the best discriminator say of each?",
            ("1: real", "1/2", "0: generated"),
            1,
            "Both are equally likely everywhere, so p / (p + q) = 1/2. It can only guess.",
        ),
        "trained": Guess(
            "A discriminator learns too slowly. What does the generator do?",
            ("it learns slowly too", "it chases what last got high scores, and settles nowhere", "it finds all groups"),
            1,
            "It moves all its points to where the score is high. When the discriminator has noticed, they move on.",
        ),
        "matched": Guess(
            "The kernel is much wider than the whole circle. What will the generated points have in common with the "
            "real ones?",
            ("everything", "mean and spread, but not the groups", "nothing"),
            1,
            "All points are near each other for such a kernel. It feels only the mean and the spread of a sample.",
        ),
    },
    sliders={
        "judged": (
            Slider(
                "mean",
                "mean of the generated numbers",
                (-3.0, -1.5, 0.0, 1.5, 3.0),
                {0.0: "Nothing is gained by moving: only the spread is wrong."},
            ),
            Slider(
                "deviation",
                "their standard deviation",
                (0.25, 0.5, 1.0, 2.0),
                {1.0: "The best score, ln(p / q), is now a straight line."},
            ),
        ),
        "trained": (
            Slider(
                "rate",
                "learning rate of the discriminator",
                (0.0005, 0.002, 0.008),
                {
                    0.0005: "Too slow: the points wander about.",
                    0.008: "Fast: points get near the circle early, but groups are left out.",
                },
            ),
            Slider("loss", "loss of both networks", ("non_saturating", "least_squares", "hinge")),
        ),
        "matched": (
            Slider(
                "width",
                "width s of the kernel",
                (0.03, 0.1, 0.2, 0.5, 1.0, 2.0),
                {
                    0.03: "Hardly any generated point is near a real one: no slope says where to go.",
                    0.1: "The real points' groups have a standard deviation of 0.05.",
                    2.0: "Mean and spread are right, the groups are not.",
                },
            ),
        ),
    },
    notices={
        "judged": (
            "On the right, D is lowest where generated numbers are much more frequent than real ones.",
            "D rises again beyond x = 3, where the real density on the left has more left than the narrow one.",
            "Choose the mean 0 and the standard deviation 1: D is 1/2 everywhere, and the loss is 2 ln 2.",
        ),
        "trained": (
            "From left to right, the points gather in rays, on the circle, and at last in its groups. All eight are "
            "found, but some points lie between them: the generator is continuous and cannot jump.",
            "With the rate 0.008 whole groups are missing at the end: this is mode collapse. It depends on chance: "
            "it came in two of three trainings that differed only in their random numbers.",
        ),
        "matched": (
            "With s = 0.2 all groups are found, each by about as many points as it should have.",
            "Raise s to 2. In the numbers the MMD is small, and mean and standard deviations are right, though on the "
            "right no group is to be seen. Make s as small as 0.03, and the points get lost.",
        ),
    },
    notice_plots={"judged": ((1,), (0, 1), (1,)), "trained": ((1, 2, 3, 4), (4,)), "matched": ((2,), (2,))},
    exercises=(
        Exercise(
            "At some x, the density of real numbers is 0.3, and that of generated ones 0.1. What is D(x) of the best "
            "discriminator?",
            0.75,
            0.001,
            "0.3 / (0.3 + 0.1).",
            {3: "That is p / q.", 0.25: "That is the probability of being generated."},
        ),
        Exercise(
            "One sample is the point 0, the other one the point 1. What is MMD² for a kernel of the width 1?",
            0.787,
            0.002,
            "1 - 2 exp(-1/2) + 1 = 0.787.",
            {0.887: "That is the MMD, its square root.", 0.607: "That is the kernel of both points."},
        ),
    ),
    functions={
        "squared_mmd": FunctionExercise(
            "squared_mmd(x, y, width): MMD² of two samples of numbers x (N,) and y (M,).",
            lambda x, y, width: (
                np.exp(-((x[:, None] - x) ** 2) / (2 * width**2)).mean()
                - 2 * np.exp(-((x[:, None] - y) ** 2) / (2 * width**2)).mean()
                + np.exp(-((y[:, None] - y) ** 2) / (2 * width**2)).mean()
            ),
            lambda random: (random.normal(size=5), random.normal(size=7), 0.8),
            "def squared_mmd(x, y, width):\n"
            "    def mean_kernel(a, b):\n"
            "        return np.exp(-np.subtract.outer(a, b) ** 2 / (2 * width**2)).mean()\n"
            "    return mean_kernel(x, x) - 2 * mean_kernel(x, y) + mean_kernel(y, y)",
        )
    },
    later="`pellucid generate` draws digits and faces with such networks; `pellucid.generators` has six kinds.",
)
