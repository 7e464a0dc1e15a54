"""A page that asks people which of two pictures is real, and its statistics."""

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

ASKED = 40  # questions, where nothing else is said
SHOWN = 320  # pixels, the longest side of a picture
Z = 1.959964  # of a normal distribution, for 95 %


class Question(NamedTuple):
    """Two pictures, from left to right; real: which of them is, 0 or 1."""

    pictures: tuple[Embedded, Embedded]
    real: int


def wilson(count: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `count` of n. Source: Wilson 1927."""
    share, weight = count / n, Z**2 / n
    middle = share + weight / 2
    reach = math.sqrt(weight * (share * (1 - share) + weight / 4))
    return max(0.0, (middle - reach) / (1 + weight)), min(1.0, (middle + reach) / (1 + weight))


def questions(model: Model, data: str | None, n: int | None = None, seed: int = 0) -> list[Question]:
    """Return questions about n images, by default at most ASKED, drawn from `colour_images`, in random order and sides.

    Raises PellucidError for fewer images, and for one that cannot be read.
    """
    colorizer, rng = Colorizer(model), generator(seed)
    with open_tree(data_path(model, data)) as tree:
        names = colour_images(tree)
        n = min(ASKED, len(names)) if n is None else n
        if not 1 <= n <= len(names):
            raise PellucidError(f"{tree.path} holds {len(names):,} images; give --n from 1 to that many, not {n}")
        asked: list[Question] = []
        for place in torch.randperm(len(names), generator=rng)[:n].tolist():
            image = load_image(tree.read(names[place]), tree.where(names[place]))
            real, made = embedded(image, SHOWN), embedded(colorizer(image), SHOWN)
            side = int(torch.randint(2, (), generator=rng))
            asked.append(Question((made, real) if side else (real, made), side))
    return asked


def real_page(asked: list[Question], title: str) -> str:
    """Return the page, which counts the answers as they are given, with the interval for each count."""
    n = len(asked)
    shares = [(f"{k}", *(f"{100 * value:.0f} %" for value in (k / n, *wilson(k, n)))) for k in range(n + 1)]
    return render("real", title=title, questions=asked, shares=shares)
