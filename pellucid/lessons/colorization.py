"""Colorization.

A grey photo says how light each pixel is, not which colour it has. In Lab, a colour is its lightness L and two numbers:
a, from green to red, and b, from blue to yellow; both are 0 for grey. A colorizer reads L and predicts a and b. Grass
is green, but a ball may have any colour: the question is what a network should predict when it cannot know.
"""

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pellucid import Adam, Model
from pellucid.combine import Sequential
from pellucid.generators import Regression, Zhang
from pellucid.generators.zhang import annealed_mean, colour_table, encode
from pellucid.layers import AvgPool2d, Conv2d, ReLU
from pellucid.layers.base import Mode
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Handles, Slider
from pellucid.lessons.lesson import LessonSettings, NumberRows, Result
from pellucid.losses import Quadratic
from pellucid.ops.colour import recolour, rgb_to_lab
from pellucid.report.figures.series import name_axes, plots_in_rows
from pellucid.report.figures.style import INK, PALE, SMALL, show_image

COLOURS = ((60.0, 40.0), (0.0, -50.0))  # a and b of red and of blue balls
GRASS = (-35.0, 40.0)
SIDE = 24  # pixels of the pictures of balls
BALL_LIGHTNESS, GRASS_LIGHTNESS = 50.0, 70.0


def chroma(ab: Tensor) -> Tensor:
    """Return the distance from grey of colours (2, ...)."""
    return ab.square().sum(0).sqrt()


def painted(ab: Tensor, lightness: float = BALL_LIGHTNESS) -> Tensor:
    """Return the sRGB colours (N, 3), 0 to 1, of one lightness and a and b (N, 2)."""
    image = ab.T[:, None]  # (2, 1, N)
    return recolour(torch.full_like(image[:1], lightness), image)[:, 0].T


def one_pixel(
    settings: LessonSettings, share: float = 0.6, temperature: float = 0.38, colours: NumberRows = COLOURS
) -> Result:
    """One answer for two colours.

    A pixel has the first colour in a share of all pictures, and the second colour in the others. The quadratic cost is
    smallest at the mean; the absolute cost is smallest at the median of a and of b. A classifier of colours answers
    with a probability for each of 260 bins, which are points of a grid in a and b. To paint the pixel, the
    probabilities p are replaced by p^(1/T), divided by their sum, and the bins averaged with them: this is the annealed
    mean with the temperature T (Zhang, Isola and Efros 2016).
    """
    ab = torch.tensor(colours)
    shares = torch.tensor([share, 1 - share])
    encoded = encode(ab.T[None, :, None])  # bins and probabilities (1, 5, 1, 2)
    weights = encoded.probabilities[0, :, 0] * shares  # (5, 2)
    table = colour_table()
    probabilities = torch.zeros(len(table.centres)).scatter_add(0, encoded.bins[0, :, 0].flatten(), weights.flatten())
    ab_by_decoding = {
        "mean": shares @ ab,
        "median": ab[shares.argmax()],
        f"T = {temperature:g}": annealed_mean(probabilities.log()[None, :, None, None], temperature)[0, :, 0, 0],
    }
    numbers = {name: {"a, b": value.tolist(), "chroma": float(chroma(value))} for name, value in ab_by_decoding.items()}
    figure, (plane, swatches) = plots_in_rows(["a and b", "what is painted"], 2, 2.9)
    plane.scatter(*table.centres.T, s=6, color=PALE, alpha=0.4)
    is_used = probabilities > 0.002
    centres = table.centres[is_used]
    sizes = (600 * probabilities[is_used]).tolist()
    plane.scatter(*centres.T, s=sizes, c=painted(centres).numpy(), edgecolors=INK, linewidths=0.4)
    for name, value in ab_by_decoding.items():
        a, b = value.tolist()
        offset = (-34, -14) if name == "mean" else (-44, 4)  # in points, so that the names do not cover each other
        plane.plot([a], [b], marker="x", color=INK)
        plane.annotate(name, (a, b), offset, textcoords="offset points", fontsize=SMALL, color=INK)
    name_axes(plane, "a", "b")
    shown_ab = {"first": ab[0], "second": ab[1], **ab_by_decoding}
    show_image(swatches, painted(torch.stack([*shown_ab.values()]))[:, None].numpy())
    swatches.set_aspect("auto")
    swatches.set_xticks([])
    swatches.set_yticks(range(len(shown_ab)), [*shown_ab])
    return Result(numbers, figure)


def rare(settings: LessonSettings, uniform: float = 0.5) -> Result:
    """Rare colours.

    Most pixels of photos are nearly grey, so a classifier does well by saying grey. Class rebalancing multiplies the
    gradient of a cell of 2 x 2 pixels by a weight that is large for rare colours:

    w = 1 / ((1 - g) p + g / Q),

    scaled to a mean of 1, where p is the frequency of the cell's bin, and Q = 260 the number of bins. With g = 1 all
    weights are equal. The photo is one of scikit-learn's; weights are drawn from dark, 0, to bright, the largest.
    """
    pixels = torch.from_numpy(load_sample_image("china.jpg")[:426].copy()).float() / 255
    photo = avg_pool2d(pixels.permute(2, 0, 1)[None], 3)  # (1, 3, 142, 213)
    encoded = encode(avg_pool2d(rgb_to_lab(photo)[:, 1:], 2))
    objective = Zhang(Conv2d(1, 1), uniform=uniform)  # only its weights are used, not its network
    balance, _ = objective.frequencies().init((), torch.Generator())
    weights = objective.cell_weights({"balance": balance}, encoded, Mode(train=True))[0]
    nearest = encoded.bins[0, 0]
    chromas = chroma(colour_table().centres.T)
    is_grey = chromas[nearest] < 15
    numbers = {
        "share of cells near grey": float(is_grey.float().mean()),
        "their share of the weights": float(weights[is_grey].sum() / weights.sum()),
        "largest weight": float(weights.max()),
    }
    figure, (left, right) = plots_in_rows(["photo", f"weights, g = {uniform:g}"], 2, 2.3)
    show_image(left, photo[0].permute(1, 2, 0).numpy())
    show_image(right, (weights / weights.max()).numpy())
    for plot in (left, right):
        plot.set_axis_off()
    return Result(numbers, figure)


def balls(count: int, share: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return pictures (count, 3, 24, 24) of a ball in the grass, and masks (count, 24, 24) of the balls.

    Of every ten balls, 10 `share` are red, the rest is blue; both are equally light.
    """
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    lab = torch.empty(count, 3, SIDE, SIDE)
    lab[:, 0] = GRASS_LIGHTNESS + 4 * torch.randn(count, SIDE, SIDE, generator=rng)
    lab[:, 1:] = torch.tensor(GRASS)[:, None, None]
    masks = torch.empty(count, SIDE, SIDE, dtype=torch.bool)
    for k in range(count):
        row, column = (8 + 8 * torch.rand(2, generator=rng)).tolist()
        masks[k] = (rows - row) ** 2 + (columns - column) ** 2 <= 6**2
        is_red = k % 10 < round(10 * share)
        ab = torch.tensor(COLOURS[0] if is_red else COLOURS[1])
        lab[k, :, masks[k]] = torch.cat([torch.tensor([BALL_LIGHTNESS]), ab])[:, None]
    return recolour(lab[:, :1], lab[:, 1:]), masks


@cache
def trained(share: float, seed: int) -> tuple[Model, Model]:
    """Return a regression with the quadratic cost, and a classifier of colours, trained on pictures of balls."""
    pictures, _ = balls(60, share, torch.Generator().manual_seed(seed))
    regression = Sequential(Conv2d(16, 3, padding=1), ReLU(), Conv2d(2, 3, padding=1))
    n_classes = len(colour_table().centres)
    classifier = Sequential(AvgPool2d(2), Conv2d(16, 3, padding=1), ReLU(), Conv2d(n_classes, 1))
    models = []
    for objective in (Regression(regression, Quadratic()), Zhang(classifier, uniform=1.0)):
        model = Model(objective, optimizer=Adam(0.03), metrics=(), input_shape=(3, SIDE, SIDE), seed=seed)
        model.fit(pictures, torch.zeros(len(pictures)), epochs=25, batch_size=16, verbose=False)
        models.append(model)
    return models[0], models[1]


def learned(settings: LessonSettings, share: float = 0.6, temperature: float = 0.38) -> Result:
    """Two networks for balls in the grass.

    Two small networks learn from 60 pictures. Grass is always green; a ball is red in a share of the pictures, else
    blue, and nothing in the grey picture says which. One network predicts a and b with the quadratic cost. The other
    predicts a probability for each bin, here without rebalancing, and paints the annealed mean. The chroma is the
    distance from grey.
    """
    regression, classifier = trained(share, settings.seed)
    pictures, masks = balls(10, share, torch.Generator().manual_seed(settings.seed + 1))
    lab = rgb_to_lab(pictures)
    logits, _ = classifier.objective.nets["generator"].forward(
        classifier.params["generator"], lab[:, :1] / 50 - 1, Mode(keep=False)
    )
    ab_by_name = {
        "true": lab[:, 1:],
        "quadratic": regression.predict(pictures),
        f"T = {temperature:g}": annealed_mean(logits, temperature).repeat_interleave(2, 2).repeat_interleave(2, 3),
    }
    numbers = {}
    for name, ab in ab_by_name.items():
        chromas = chroma(ab.transpose(0, 1))
        numbers[name] = {"chroma of balls": float(chromas[masks].mean()), "of grass": float(chromas[~masks].mean())}
    figure, plots = plots_in_rows(["read: L", *ab_by_name], 4, 1.8)
    shown_images = [lab[:, :1].expand(-1, 3, -1, -1) / 100, *(recolour(lab[:, :1], ab) for ab in ab_by_name.values())]
    for plot, images in zip(plots, shown_images, strict=True):
        show_image(plot, torch.cat([images[0], images[1], images[-1]], 1).permute(1, 2, 0).numpy())
        plot.set_axis_off()
    return Result(numbers, figure)


STEPS = (one_pixel, rare, learned)
GUIDE = Guide(
    question="A ball in a grey photo may have been red or blue. What should a network paint?",
    minutes=15,
    needs=("softmax", "segmentation"),
    guesses={
        "one_pixel": Guess(
            "A ball is red in 60 % of the pictures, else blue. Which answer has the smallest mean squared error?",
            ("red", "a greyish purple between them", "red and blue in turn"),
            1,
            "The mean of the colours has the smallest squared error. It lies between them, nearer to grey. No "
            "ball has it.",
        ),
        "rare": Guess(
            "Three quarters of a photo are nearly grey. What does a classifier learn that counts all pixels equally?",
            ("mostly the greys", "mostly the rare colours", "all colours equally well"),
            0,
            "The sum of the cost is mainly that of grey pixels, so saying grey is cheap. Weights change this.",
        ),
        "learned": Guess(
            "The temperature is lowered from 1 to 0.1. What happens to the balls that were blue?",
            ("they become blue", "they become red, like all the others", "they become grey"),
            1,
            "The grey picture does not say which balls were blue. The network paints the likelier colour, clearly.",
        ),
    },
    sliders={
        "one_pixel": (
            Slider("share", "share of the first colour", (0.55, 0.6, 0.7, 0.9)),
            Slider(
                "temperature",
                "temperature T of the annealed mean",
                (0.1, 0.2, 0.38, 0.6, 1.0),
                {0.1: "Almost the likeliest colour.", 0.38: "The value of the paper.", 1.0: "The mean itself."},
            ),
        ),
        "rare": (
            Slider(
                "uniform",
                "share g of equal weights",
                (0.1, 0.5, 0.9, 1.0),
                {0.1: "A few cells outweigh all others.", 1.0: "No rebalancing: all weights are 1."},
            ),
        ),
        "learned": (
            Slider("share", "share of red balls", (0.6, 0.7, 0.9), {0.9: "Here the mean is nearly red, too."}),
            Slider("temperature", "temperature T of the annealed mean", (0.1, 0.38, 1.0)),
        ),
    },
    notices={
        "one_pixel": (
            "On the left, each colour is spread over the five nearest bins. The mean lies on the line between both "
            "colours, and with it the annealed mean: only its place on the line depends on T.",
            "On the right, lower T to 0.1. The painted colour goes from the mean to the likelier colour.",
            "Drag the two colours to opposite sides of 0: their mean becomes grey, although neither of them is.",
        ),
        "rare": (
            "On the left, sky and water are nearly grey; the red and orange of the pavilion are rare.",
            "On the right, the rare colours are bright. In the numbers, the grey cells are 77 % of all, but have only "
            "34 % of the weight.",
        ),
        "learned": (
            "The grass is right in all pictures: its colour is certain, so its mean is its colour.",
            "The quadratic cost paints the balls in one greyish purple. The annealed mean is nearer to red, and with "
            "T = 0.1 it is red: a clear colour, and still wrong for every blue ball.",
        ),
    },
    notice_plots={"one_pixel": ((0,), (1,), (0,)), "rare": ((0,), (1,)), "learned": ((1, 2, 3), (2, 3))},
    exercises=(
        Exercise(
            "Two bins have a = 60 with the probability 0.8, and a = -40 with 0.2. What is a of the annealed mean with "
            "T = 0.5?",
            54.1,
            0.2,
            "The probabilities are squared: 0.64 and 0.04, which divided by 0.68 are 16/17 and 1/17. "
            "60 · 16/17 - 40/17 = 54.1.",
            {40: "That is the mean, with T = 1.", 36.8: "Divide by the sum of the squared probabilities."},
        ),
        Exercise(
            "There are two bins, with the frequencies 0.9 and 0.1, and g = 0.5. How many times the weight of the "
            "frequent bin is that of the rare one?",
            7 / 3,
            0.02,
            "1 / (0.05 + 0.25) divided by 1 / (0.45 + 0.25): 0.70 / 0.30 = 2.33.",
            {9: "That is g = 0."},
        ),
    ),
    handles={"one_pixel": Handles("colours", "the two colours", "points", COLOURS, -90, 90, 5)},
    functions={
        "annealed": FunctionExercise(
            "annealed(p, centres, t): the annealed mean (2,) of bins with the probabilities p (Q,) and the colours "
            "centres (Q, 2), for the temperature t.",
            lambda p, centres, t: (p ** (1 / t) / (p ** (1 / t)).sum()) @ centres,
            lambda random: (random.dirichlet(np.ones(6)), random.normal(size=(6, 2)), 0.38),
            "def annealed(p, centres, t):\n"
            "    sharpened = np.exp(np.log(p) / t)\n"
            "    return (sharpened[:, None] * centres).sum(0) / sharpened.sum()",
        )
    },
    later="`pellucid colorize` paints photos; its models are regressions, classifiers of colours, and GANs.",
)
