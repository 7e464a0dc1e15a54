"""The page: its sections, in reading order."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.figure import Figure

from pellucid.metrics import METRICS
from pellucid.train.figures.style import svg
from pellucid.train.report.data import ReportData
from pellucid.train.report.html import element, figure, missing, section, table
from pellucid.train.report.scores import class_rows, common_confusions
from pellucid.train.report.style import CSS

Figures = Mapping[str, Figure | None]


def page(data: ReportData, figures: Figures) -> str:
    """Return the whole HTML document."""
    sections = [(name, heading, build(data, figures)) for name, heading, build in SECTIONS]
    links = "".join(f'<a href="#{name}">{heading}</a>' for name, heading, _ in sections)
    title = f"{data.recipe} · Pellucid"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"{element('title', title)}<style>{CSS}</style></head>",
            "<body>",
            f"<header>{element('h1', data.recipe)}",
            element("p", data.about, class_="about") if data.about else "",
            _headline(data),
            f'<nav aria-label="Sections">{links}</nav></header>',
            "<main>",
            *(section(name, heading, body) for name, heading, body in sections),
            "</main>",
            "</body></html>",
            "",
        ]
    )


def _headline(data: ReportData) -> str:
    found = data.metrics
    tiles: list[tuple[str, str]] = []
    if found.get("accuracy") is not None:
        images = f", {found['n']:,} images" if _known(found, "n") else ""
        known = _known(found, "accuracy")
        tiles.append((f"test accuracy{images}", f"{100 * found['accuracy']:.2f} %" if known else "not finite"))
    if found.get("loss") is not None:
        tiles.append(("test loss", f"{found['loss']:.4g}" if _known(found, "loss") else "not finite"))
    for name in METRICS:
        if name != "accuracy" and _known(found, name):
            tiles.append((f"test {name.replace('_', ' ')}", f"{found[name]:.4g}"))
    if _known(found, "seconds"):
        epochs = f", {found['epochs']:,} epochs" if _known(found, "epochs") else ""
        tiles.append((f"training{epochs}", duration(found["seconds"])))
    if _known(found, "images_per_second"):
        tiles.append(("images per second", f"{found['images_per_second']:,.0f}"))
    if data.summary is not None:
        tiles.append(("parameters", f"{data.summary.parameters:,}"))
    if not tiles:
        return missing("No final results were recorded.")
    pairs = (element("dt", name) + element("dd", value) for name, value in tiles)
    return f'<dl class="big">{"".join(f"<div>{pair}</div>" for pair in pairs)}</dl>'


def duration(seconds: float) -> str:
    """Write a time as 4.2 s, 3 min 20 s or 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _known(values: Mapping[str, Any], key: str) -> bool:
    value = values.get(key)
    return isinstance(value, int | float) and math.isfinite(value)


def _picture(figures: Figures, name: str, alt: str, caption: str = "", otherwise: str = "") -> str:
    drawn = figures.get(name)
    return missing(otherwise) if drawn is None else figure(svg(drawn, name), alt, caption)


def _reproduce(data: ReportData, figures: Figures) -> str:
    words = (
        "The same recipe, seed and versions (below) on the same kind of machine give the same weights, bit by bit; "
        "recipe.toml stands beside this report."
    )
    return element("p", words) + f"<pre>{element('code', data.command)}</pre>"


def _curves(data: ReportData, figures: Figures) -> str:
    validated = any(_known(row, "val_loss") for row in data.history)
    note, ring = "", "The ring marks the best validation value."
    if not validated:
        note, ring = missing("No images were held out while it trained, so there is no second curve."), ""
    elif data.held == "test":
        words = (
            "The recipe sets no validation images aside: the second curve is of the test images, which chose nothing."
        )
        note, ring = missing(words), ""
    loss = _picture(figures, "loss", _ends(data, "loss"), ring, "No finite loss was recorded.")
    return note + loss + _picture(figures, "accuracy", _ends(data, "accuracy"), "", "No accuracy was recorded.")


def _ends(data: ReportData, what: str) -> str:
    words: list[str] = []
    for key, name in ((f"train_{what}", "training"), (f"val_{what}", data.held)):
        values = [row[key] for row in data.history if _known(row, key)]
        if values:
            words.append(f"{name} from {values[0]:.4g} to {values[-1]:.4g}")
    return f"{what.capitalize()} by epoch: {', '.join(words) or 'nothing recorded'}"


def _rate(data: ReportData, figures: Figures) -> str:
    return _picture(figures, "learning_rate", "Learning rate by epoch", "", "No learning rate was recorded.")


def _gradients(data: ReportData, figures: Figures) -> str:
    caption = (
        "Each layer's gradient (root of the sum of squares) at the last step of each epoch, from the first layer "
        "(blue) to the last (orange). Lines that fall towards the first layers show a gradient that vanishes."
    )
    return _picture(
        figures, "gradients", "Gradient norm of each layer by epoch", caption, "No finite gradient was recorded."
    )


def _updates(data: ReportData, figures: Figures) -> str:
    caption = (
        "How much one step changed each layer's weights, relative to their size. Far above the guide training tends to "
        "be unstable; far below, slow."
    )
    alt = "Update to weight ratio of each layer by epoch"
    return _picture(figures, "updates", alt, caption, "No finite update was recorded.")


def _confusion(data: ReportData, figures: Figures) -> str:
    if data.confusion is None:
        return missing("This job has no classes to confuse.")
    often = common_confusions(data.confusion, data.classes)
    words = f"Most often: {', '.join(often)}." if often else "Nothing was taken for anything else."
    caption = "Counts; the deeper the colour (by square root), the larger the share of the true class."
    return element("p", words) + _picture(
        figures, "confusion", f"Confusion matrix. {words}", caption, "No images were tried."
    )


def _classes(data: ReportData, figures: Figures) -> str:
    if data.confusion is None:
        return missing("This job has no classes.")
    words = (
        "Precision: the share of those called so that are. Recall: the share of those that are that were called so. "
    )
    words += "F1: the harmonic mean of both. n: how many there are."
    head = ("class", "precision", "recall", "F1", "n")
    rows = class_rows(data.confusion, data.classes)
    return element("p", words) + table("Test images by class", head, rows, numbers=range(1, 5), foot=True)


def _mistakes(data: ReportData, figures: Figures) -> str:
    wrong = data.mistakes
    if wrong is None:
        return missing("These data are no pictures that can be shown.")
    if wrong.total == 0:
        return missing("No test image was misread.")
    listed = ", ".join(f"{a} read as {b}" for a, b in zip(wrong.true, wrong.predicted, strict=True))
    caption = (
        f"{len(wrong.true)} of {wrong.total:,} misread test images, those that the network was surest of first: "
        "true → predicted class, and the probability (or score) that it gave the predicted one."
    )
    return _picture(figures, "mistakes", f"Misread images: {listed}", caption, "There is nothing to show.")


def _weights(data: ReportData, figures: Figures) -> str:
    if data.first_weights is None:
        return missing("The first layer's weights make no pictures.")
    count, channels = data.first_weights.shape[:2]
    colours = "colours relative to grey, which is zero" if channels == 3 else "blue negative, orange positive"
    some = f"The first 64 of {count}" if count > 64 else f"All {count}"
    only = f", of the first of {channels} channels" if channels not in (1, 3) else ""
    caption = f"{some} filters of {data.first_path}{only}; {colours}."
    alt = f"Weights of the first layer as {min(count, 64)} pictures"
    return _picture(
        figures, "first_weights", alt, caption, "The first layer's weights are not finite, or too few to see."
    )


def _network(data: ReportData, figures: Figures) -> str:
    if data.summary is None:
        return missing("The network was not recorded.")
    head, *rows = data.summary.cells()
    words = "Multiply-adds and memory (outputs and what the backward pass keeps) are for one image."
    return element("p", words) + table("Layers in forward order", head, rows, numbers=(3, 4, 5), foot=True)


def _recipe(data: ReportData, figures: Figures) -> str:
    if not data.recipe_text:
        return missing("The recipe was not recorded.")
    return f"<pre>{element('code', data.recipe_text.strip())}</pre>"


def _manifest(data: ReportData, figures: Figures) -> str:
    rows = list(_lines(data.manifest))
    if not rows:
        return missing("No manifest was recorded.")
    return table("What the result depends on beside the recipe.", ("what", "value"), rows)


def _lines(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested values into dotted names and text."""
    if isinstance(values, Mapping):
        pairs = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list):
        pairs = [(str(k), value) for k, value in enumerate(values, 1)]
    else:
        return [(prefix, "" if values is None else str(values))]
    return [line for key, value in pairs for line in _lines(value, f"{prefix}.{key}" if prefix else key)]


SECTIONS: tuple[tuple[str, str, Callable[[ReportData, Figures], str]], ...] = (
    ("curves", "Loss and accuracy", _curves),
    ("confusion", "Confusion matrix", _confusion),
    ("classes", "Class by class", _classes),
    ("mistakes", "Worst mistakes", _mistakes),
    ("weights", "First layer's weights", _weights),
    ("learning-rate", "Learning rate", _rate),
    ("gradients", "Gradients, layer by layer", _gradients),
    ("updates", "Updates against weights", _updates),
    ("network", "Network", _network),
    ("reproduce", "How to reproduce", _reproduce),
    ("recipe", "Recipe", _recipe),
    ("manifest", "Manifest", _manifest),
)
