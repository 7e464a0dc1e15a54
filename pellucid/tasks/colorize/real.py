"""A page that asks which of two pictures is real, and the statistics of the answers."""

import math
from typing import NamedTuple

import torch

from pellucid.data.images import load_image
from pellucid.data.seeds import generator
from pellucid.data.tree import open_tree
from pellucid.errors import PellucidError
from pellucid.model import Model
from pellucid.report.embedded import Embedded, embedded
from pellucid.report.page import render
from pellucid.tasks.annotated import data_path
from pellucid.tasks.colorize.colorizer import Colorizer
from pellucid.tasks.colorize.measure import colour_images

QUESTIONS = 40  # by default
SHOWN = 320  # pixels, the longest side of a picture
Z = 1.959964  # quantile of the normal distribution, for 95 %


class Question(NamedTuple):
    """Two pictures, left and right; real: the index of the real one, 0 or 1."""

    pictures: tuple[Embedded, Embedded]
    real: int


def wilson(count: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a fraction of `count` in n. Source: Wilson 1927."""
    fraction, weight = count / n, Z**2 / n
    centre = fraction + weight / 2
    half_width = math.sqrt(weight * (fraction * (1 - fraction) + weight / 4))
    return max(0.0, (centre - half_width) / (1 + weight)), min(1.0, (centre + half_width) / (1 + weight))


def questions(model: Model, data: str | None, n: int | None = None, seed: int = 0) -> list[Question]:
    """Return questions about n images from `colour_images`, in random order, with the real one on a random side.

    n is by default at most QUESTIONS. Raises PellucidError if there are fewer images, and for one that cannot be read.
    """
    colorizer, rng = Colorizer(model), generator(seed)
    with open_tree(data_path(model, data)) as tree:
        names = colour_images(tree)
        n = min(QUESTIONS, len(names)) if n is None else n
        if not 1 <= n <= len(names):
            raise PellucidError(f"{tree.path} has {len(names):,} images; give --n from 1 to that many, not {n}")
        result: list[Question] = []
        for index in torch.randperm(len(names), generator=rng)[:n].tolist():
            image = load_image(tree.read(names[index]), tree.where(names[index]))
            real, colorized = embedded(image, SHOWN), embedded(colorizer(image), SHOWN)
            side = int(torch.randint(2, (), generator=rng))
            result.append(Question((colorized, real) if side else (real, colorized), side))
    return result


def real_page(asked: list[Question], title: str) -> str:
    """Return the page, which counts the answers as they are given and shows the interval for each count."""
    n = len(asked)
    shares = [(f"{k}", *(f"{100 * value:.0f} %" for value in (k / n, *wilson(k, n)))) for k in range(n + 1)]
    return render("real", title=title, questions=asked, shares=shares)
