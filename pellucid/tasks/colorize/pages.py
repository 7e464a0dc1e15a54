"""Pages of colorizers: a comparison on the same images, and a test of which of two pictures is real."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from pellucid.data.images import load_image
from pellucid.data.seeds import generator
from pellucid.data.tree import open_tree
from pellucid.errors import PellucidError
from pellucid.model import Model
from pellucid.report.embedded import Embedded, embedded
from pellucid.report.page import render
from pellucid.report.sections import Facts, Heading, ImageRow, Page, Section, TablePart
from pellucid.tasks.annotated import data_path
from pellucid.tasks.colorize.colorizer import Colorizer
from pellucid.tasks.colorize.measure import FIGURES, GREY, LOWER, MeasuredColorizers, colour_images

TRUE = "true colours"
TRUE_METRICS = ("colourfulness", "colourfulness_lab")  # metrics that the true colours have, too
EXAMPLES = 10
SHOWN = 192  # pixels, the longest side of an example
QUESTIONS = 40  # maximum number, by default
LARGE = 320  # pixels, the longest side of a picture in a question
ADVICE = (
    "PSNR, SSIM and CIEDE2000 favour grey where colours are uncertain; colourfulness alone favours any saturated "
    "colour. Judge by several figures, and by the images."
)
Z = 1.959964  # the 0.975 quantile of the normal distribution, for intervals of 95 %


def table(measured: MeasuredColorizers) -> TablePart:
    """Return a row for each metric: of grey, of each model, and of the true colours where they have it."""
    names = [GREY, *(name for name in measured.rows if name != GREY)]
    rows = [
        (figure, *(_text(measured.rows[name][figure]) for name in names),
         _text(measured.true[figure] if figure in TRUE_METRICS else None))
        for figure in FIGURES
    ]  # fmt: skip
    lower = " and ".join(name for name in FIGURES if name in LOWER)
    caption = f"Larger is better, for {lower} smaller; colourfulness should be that of the true colours."
    return TablePart(caption, ("", *names, TRUE), rows)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def comparison_page(measured: MeasuredColorizers, models: Mapping[str, Model], title: str, command: str) -> Page:
    """Return the page: the table, descriptions of its metrics, and examples spread evenly over the data."""
    judged = f"answers and frechet are measured on {measured.judged_images:,} of them"
    about = f"{measured.n:,} images of {measured.data}; {judged}."
    examples = [part for images in _examples(models, measured) for part in (Heading(images.name), images)]
    sections = [
        Section("figures", "Figures", [table(measured), Facts([*FIGURES.items()]), ADVICE], wide=True),
        Section("images", "Images", examples, wide=True),
    ]
    return Page(title, sections, about, command=command)


def _examples(models: Mapping[str, Model], measured: MeasuredColorizers) -> list[ImageRow]:
    """Return example images, each in grey, in the colours of each model, and in its true colours."""
    rows: list[ImageRow] = []
    greys = Colorizer(next(iter(models.values())), 0)
    columns: dict[str, Any] = {GREY: greys, **{name: Colorizer(model) for name, model in models.items()}}
    with open_tree(data_path(next(iter(models.values())), measured.data)) as tree:
        names = colour_images(tree)
        for k in range(min(EXAMPLES, len(names))):
            name = names[k * len(names) // min(EXAMPLES, len(names))]
            image = load_image(tree.read(name), tree.where(name))
            row = [(column, embedded(colorizer(image), SHOWN)) for column, colorizer in columns.items()]
            rows.append(ImageRow(name, [*row, (TRUE, embedded(image, SHOWN))]))
    return rows


def named(paths: list[str], models: list[Model]) -> dict[str, Model]:
    """Return models by the shortest ends of their paths that are unique; PellucidError for a path given twice."""
    if len({*paths}) < len(paths) or GREY in paths:
        raise PellucidError(f"a model is given twice, or is called {GREY}; give each once, by another name")
    parts = [path.rstrip("/").split("/") for path in paths]
    length = next(n for n in range(1, 1 + max(map(len, parts))) if len({"/".join(p[-n:]) for p in parts}) == len(parts))
    return {"/".join(part[-length:]): model for part, model in zip(parts, models, strict=True)}


class Question(NamedTuple):
    """Two pictures, left and right; real: the index of the real one, 0 or 1."""

    pictures: tuple[Embedded, Embedded]
    real: int


def wilson(count: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of the fraction `count` / `n`. Source: Wilson 1927."""
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
            real, colorized = embedded(image, LARGE), embedded(colorizer(image), LARGE)
            side = int(torch.randint(2, (), generator=rng))
            result.append(Question((colorized, real) if side else (real, colorized), side))
    return result


def real_page(questions: list[Question], title: str) -> str:
    """Return the page, which counts the answers as they are given and shows the interval for each count."""
    n = len(questions)
    shares = [(f"{k}", *(f"{100 * value:.0f} %" for value in (k / n, *wilson(k, n)))) for k in range(n + 1)]
    return render("real", title=title, questions=questions, shares=shares)
