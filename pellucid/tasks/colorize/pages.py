"""Pages about colorizers: a comparison on the same images, and a test in which people choose the real picture."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from pellucid.base.errors import PellucidError
from pellucid.data.images import load_image
from pellucid.data.seeds import generator
from pellucid.data.tree import open_tree
from pellucid.metrics.bootstrap import wilson
from pellucid.model import Model
from pellucid.report.embedded import Embedded, embedded
from pellucid.report.page import render
from pellucid.report.sections import Facts, Heading, ImageRow, Page, Section, TablePart
from pellucid.tasks.annotated import data_path
from pellucid.tasks.colorize.colorizer import Colorizer
from pellucid.tasks.colorize.measure import (
    GREY,
    LOWER_IS_BETTER,
    METRIC_DESCRIPTIONS,
    MeasuredColorizers,
    colour_images,
)

TRUE_COLOURS = "true colours"
TRUE_METRICS = ("colourfulness", "colourfulness_lab")  # metrics that are reported for the true colours too
MAX_EXAMPLES = 10
EXAMPLE_SIDE = 192  # pixels, the longest side of an example
MAX_QUESTIONS = 40  # maximum number of questions if the user gives none
QUESTION_SIDE = 320  # pixels, the longest side of a picture in a question
ADVICE = (
    "PSNR, SSIM and CIEDE2000 favour grey where colours are uncertain; colourfulness alone favours any saturated "
    "colour. Judge by several figures, and by the images."
)


def table(measurements: MeasuredColorizers) -> TablePart:
    """Return a table with a row for each metric, and columns for grey, each model, and the true colours."""
    model_names = [GREY, *(name for name in measurements.rows if name != GREY)]
    rows = [
        (metric, *(_format(measurements.rows[name][metric]) for name in model_names),
         _format(measurements.true[metric] if metric in TRUE_METRICS else None))
        for metric in METRIC_DESCRIPTIONS
    ]  # fmt: skip
    lower_names = " and ".join(name for name in METRIC_DESCRIPTIONS if name in LOWER_IS_BETTER)
    caption = f"Larger is better, for {lower_names} smaller; colourfulness should be that of the true colours."
    return TablePart(caption, ("", *model_names, TRUE_COLOURS), rows)


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def comparison_page(measurements: MeasuredColorizers, models: Mapping[str, Model], title: str, command: str) -> Page:
    """Return the page: the table, descriptions of its metrics, and evenly spaced images of the data as examples."""
    judged_text = f"answers and frechet are measured on {measurements.backbone_images:,} of them"
    about = f"{measurements.n_images:,} images of {measurements.data}; {judged_text}."
    examples = [part for images in _examples(models, measurements) for part in (Heading(images.name), images)]
    sections = [
        Section("figures", "Figures", [table(measurements), Facts([*METRIC_DESCRIPTIONS.items()]), ADVICE], wide=True),
        Section("images", "Images", examples, wide=True),
    ]
    return Page(title, sections, about, command=command)


def _examples(models: Mapping[str, Model], measurements: MeasuredColorizers) -> list[ImageRow]:
    """Return example images, each in grey, in the colours of each model, and in its true colours."""
    rows: list[ImageRow] = []
    grey_colorizer = Colorizer(next(iter(models.values())), 0)
    colorizers: dict[str, Any] = {GREY: grey_colorizer, **{file: Colorizer(model) for file, model in models.items()}}
    with open_tree(data_path(next(iter(models.values())), measurements.data)) as tree:
        files = colour_images(tree)
        for k in range(min(MAX_EXAMPLES, len(files))):
            file = files[k * len(files) // min(MAX_EXAMPLES, len(files))]
            image = load_image(tree.read(file), tree.where(file))
            row = [(heading, embedded(colorizer(image), EXAMPLE_SIDE)) for heading, colorizer in colorizers.items()]
            rows.append(ImageRow(file, [*row, (TRUE_COLOURS, embedded(image, EXAMPLE_SIDE))]))
    return rows


def name_models(paths: list[str], models: list[Model]) -> dict[str, Model]:
    """Return the models by the last parts of their paths, as few as make the names unique.

    Raises PellucidError for a path that is given twice, or that is "grey".
    """
    if len({*paths}) < len(paths) or GREY in paths:
        raise PellucidError(f"a model is given twice, or is called {GREY}; give each once, by another name")
    path_parts = [path.rstrip("/").split("/") for path in paths]
    n_parts = next(
        n_tried
        for n_tried in range(1, 1 + max(map(len, path_parts)))
        if len({"/".join(parts[-n_tried:]) for parts in path_parts}) == len(path_parts)
    )
    return {"/".join(path_words[-n_parts:]): model for path_words, model in zip(path_parts, models, strict=True)}


class Question(NamedTuple):
    """Two pictures, left and right; real: the index of the real one, 0 or 1."""

    pictures: tuple[Embedded, Embedded]
    real: int


def questions(model: Model, data: str | None, n: int | None = None, seed: int = 0) -> list[Question]:
    """Return questions about n images from `colour_images`, in random order, with the real picture on a random side.

    n: by default the number of images, at most MAX_QUESTIONS. Raises PellucidError if there are fewer than n images, or
    if one cannot be read.
    """
    colorizer, rng = Colorizer(model), generator(seed)
    with open_tree(data_path(model, data)) as tree:
        files = colour_images(tree)
        n = min(MAX_QUESTIONS, len(files)) if n is None else n
        if not 1 <= n <= len(files):
            raise PellucidError(f"{tree.path} has {len(files):,} images; give --n from 1 to that many, not {n}")
        result: list[Question] = []
        for index in torch.randperm(len(files), generator=rng)[:n].tolist():
            image = load_image(tree.read(files[index]), tree.where(files[index]))
            real, colorized = embedded(image, QUESTION_SIDE), embedded(colorizer(image), QUESTION_SIDE)
            side = int(torch.randint(2, (), generator=rng))
            result.append(Question((colorized, real) if side else (real, colorized), side))
    return result


def real_page(questions: list[Question], title: str) -> str:
    """Return the HTML of the page, which counts right answers and shows their fraction with its Wilson interval."""
    n = len(questions)
    shares = [
        (f"{n_right}", *(f"{100 * value:.0f} %" for value in (n_right / n, *wilson(n_right, n))))
        for n_right in range(n + 1)
    ]
    return render("real", title=title, questions=questions, shares=shares)
