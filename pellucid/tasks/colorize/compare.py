"""Several colorizers on the same images: a table of metrics, and examples colorized by each."""

from collections.abc import Mapping
from typing import Any

from pellucid.data.images import load_image
from pellucid.data.tree import open_tree
from pellucid.errors import PellucidError
from pellucid.model import Model
from pellucid.report.embedded import Embedded, embedded
from pellucid.report.page import render
from pellucid.tasks.annotated import data_path
from pellucid.tasks.colorize.colorizer import Colorizer
from pellucid.tasks.colorize.measure import FIGURES, GREY, LOWER, Measured, colour_images

TRUE = "true colours"
OF_TRUE = ("colourfulness", "colourfulness_lab")  # metrics that the true colours have, too
EXAMPLES = 10
SHOWN = 192  # pixels, the longest side of an example


def table(found: Measured) -> list[tuple[str, ...]]:
    """Return a header and a row for each metric: grey, each model, and the true colours where they have it."""
    names = [GREY, *(name for name in found.rows if name != GREY)]
    rows = [("", *names, TRUE)]
    for figure in FIGURES:
        values = [found.rows[name][figure] for name in names]
        rows.append((figure, *map(_text, values), _text(found.true[figure] if figure in OF_TRUE else None)))
    return rows


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def comparison_page(found: Measured, models: Mapping[str, Model], title: str, command: str) -> str:
    """Return the page: the table, descriptions of its metrics, and examples spread evenly over the data."""
    about = f"{found.n:,} images of {found.data}; answers and frechet are measured on {found.judged:,} of them."
    lower = [name for name in FIGURES if name in LOWER]
    values = {"title": title, "about": about, "rows": table(found), "words": FIGURES, "lower": lower}
    return render("colours", **values, examples=_examples(models, found), command=command)


def _examples(models: Mapping[str, Model], found: Measured) -> list[tuple[str, list[tuple[str, Embedded]]]]:
    """Return example images by name, each with the captions and images of its row."""
    shown: list[tuple[str, list[tuple[str, Embedded]]]] = []
    greys = Colorizer(next(iter(models.values())), 0)
    columns: dict[str, Any] = {GREY: greys, **{name: Colorizer(model) for name, model in models.items()}}
    with open_tree(data_path(next(iter(models.values())), found.data)) as tree:
        names = [name for name in colour_images(tree) if tree.where(name) not in found.skipped]
        for k in range(min(EXAMPLES, len(names))):
            name = names[k * len(names) // min(EXAMPLES, len(names))]
            image = load_image(tree.read(name), tree.where(name))
            row = [(column, embedded(colorizer(image), SHOWN)) for column, colorizer in columns.items()]
            shown.append((name, [*row, (TRUE, embedded(image, SHOWN))]))
    return shown


def named(paths: list[str], models: list[Model]) -> dict[str, Model]:
    """Return models by the shortest ends of their paths that are unique; PellucidError for a path given twice."""
    if len({*paths}) < len(paths) or GREY in paths:
        raise PellucidError(f"a model is given twice, or is called {GREY}; give each once, by another name")
    parts = [path.rstrip("/").split("/") for path in paths]
    length = next(n for n in range(1, 1 + max(map(len, parts))) if len({"/".join(p[-n:]) for p in parts}) == len(parts))
    return {"/".join(part[-length:]): model for part, model in zip(parts, models, strict=True)}
