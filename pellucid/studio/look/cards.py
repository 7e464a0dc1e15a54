"""The card of a model in the list of the view Look: its task, its figure, and a picture with its prediction."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from pellucid.model import Model
from pellucid.predictor import Picture, Predicted
from pellucid.recipe.model_data import run_folder_of
from pellucid.recipe.watched import read_object_or_empty
from pellucid.shipped_files import is_shipped
from pellucid.studio.pictures import family_for, sample, sample_names
from pellucid.studio.runs import recipe_value
from pellucid.studio.view import Library
from pellucid.task import task_of

MAX_WORDS = 10_000  # characters of the words that the search finds a model by
MAX_CLASSES = 1000  # that it finds a model by
SIDE = 96  # pixels of the longer side of a card's picture


def card_of(library: Library, name: str) -> tuple[dict[str, Any], Tensor | None]:
    """Return the fields of a model's card, and its picture (3, H, W) uint8; None for a model without pictures.

    words: what the search finds the model by, beside the other fields: its task's word, its description, and for a
    shipped model what it was made for and the kind of its pictures.
    Raises PellucidError for a model that cannot be opened, or that predicts nothing for a picture.
    """
    model = library.open(name)
    task = task_of(model)
    predictor = task.predictor(model)
    family = family_for(name, model.nominal_shape[0])
    raw = sample(sample_names()[family][0])
    image = predictor.frame(raw)
    (predicted,) = predictor.predict([(Picture(name, name, lambda: image), image)])
    if not isinstance(predicted, Predicted):
        raise predicted
    drawn = predicted.overlay(raw, model.classes or ())
    factor = SIDE / max(drawn.shape[1:])
    size = [max(1, round(side * factor)) for side in drawn.shape[1:]]
    picture = F.interpolate(drawn[None].float(), size, mode="bilinear", antialias=True)[0]
    of_pictures = family if model.source is not None and is_shipped(model.source) else ""  # a guess for other models
    words = " ".join([task.model, _description(model), of_pictures])[:MAX_WORDS]
    classes = (model.classes or ())[:MAX_CLASSES]
    fields = {"task": task.name, "figure": figure_of(model), "words": words, "classes": classes}
    return fields, picture.round().clamp(0, 255).byte()


def figure_of(model: Model) -> str:
    """Return a model's figure of merit with its name, "" if none is recorded."""
    source = model.source
    if source is None:
        return ""
    if is_shipped(source):
        return _shipped_figure(source.with_suffix(".md"))
    run = run_folder_of(source)
    if run is None:
        return ""
    results = read_object_or_empty(run / "results.json")
    for merit in task_of(model).merits:
        value = results.get(merit.name)
        if isinstance(value, float | int):
            return f"{merit.label} {merit.text(value)}"
    return ""


def _description(model: Model) -> str:
    """Return the description of a shipped model with what it was made for, or that of a run's recipe; "" for others."""
    source = model.source
    if source is None:
        return ""
    if is_shipped(source):
        file = source.with_suffix(".md")
        paragraphs = file.read_text(encoding="utf-8").split("\n\n") if file.is_file() else []
        # The sentences after the first say what it was not made for.
        purposes = [re.split(r"[;.](?=\s|$)|\(", one)[0] for one in paragraphs if one.startswith("Made for ")]
        return " ".join([*paragraphs[1:2], *purposes])
    run = run_folder_of(source)
    about = None if run is None else recipe_value(run, "recipe", "about")
    return about if isinstance(about, str) else ""


def _shipped_figure(file: Path) -> str:
    """Return the first figure in the table that describes a shipped model, with its data but without its interval."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 2 and cells[0] not in ("", "---", "measured on"):
            names = cells[0].partition(", ")[0].split(" / ")
            figures = re.sub(r"(?<=\d)%", " %", re.split(r" \(| on |;", cells[1])[0]).split(" / ")
            data = re.search(r" on [\d,]+ images of \S+?(?=[ ,;]|$)", cells[1])
            pairs = [(*name.partition(" in "), figure) for name, figure in zip(names, figures, strict=False)]
            texts = [f"{name} {figure} {unit}".rstrip() for name, _, unit, figure in pairs]
            return ", ".join(texts) + (data[0] if data else "")
    return ""
