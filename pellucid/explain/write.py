"""An examination as files: pictures with colour bars and their numbers, and all methods at a glance."""

import math
from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pellucid.explain.examine import Examination, Examined, grey, inputs
from pellucid.explain.methods import MAGNITUDES, METHODS
from pellucid.explain.occlusion import occlude
from pellucid.explain.pictures.files import write_picture
from pellucid.explain.verdicts import RULES
from pellucid.files import make_folder, write_atomically
from pellucid.report.figures.heat import heat
from pellucid.report.figures.overview import overview
from pellucid.report.figures.places import places
from pellucid.report.page import render
from pellucid.training.model import BaseModel

OVERVIEW, PLACES = "all", "occlusion-classes"


def write_examination(
    folder: Path, model: BaseModel, x: Tensor, examined: Examination, classes: Sequence[str]
) -> list[Path]:
    """Write METHOD.png and METHOD.npz for each method, all.png of several, what occlusion sees, and index.html.

    x: the image (C, H, W) of values 0..1 that was examined. Channels are added up in pictures, and stand as they are
    in the .npz. Returns the files in the order of writing. Raises PellucidError where they cannot be written.
    """
    make_folder(folder)
    named = classes[examined.target] if isinstance(examined.target, int) else examined.target
    written: list[Path] = []
    maps: dict[str, tuple[Figure, tuple[str, ...]]] = {}
    for one in examined.found:
        drawn = heat(x, _plane(one), one.method, notes(one, examined), one.method not in MAGNITUDES)
        maps[one.method] = heat(x, _plane(one), one.method, (), one.method not in MAGNITUDES), notes(one, examined)
        written += write_picture(folder, one.method, drawn, _numbers(one, x, examined))
        if one.method == "occlusion" and isinstance(examined.target, int):
            written += _places(folder, model, x, examined.target, classes)
    if len(examined.found) > 1:
        title = f"{named}, score {examined.score:.4g}; ± marks maps with 0 in the middle"
        planes = {one.method: _plane(one) for one in examined.found}
        numbers = {"distance": _distances(examined), **{one.method: one.map for one in examined.found}}
        written += write_picture(folder, OVERVIEW, overview(x, planes, title, MAGNITUDES), numbers)
    index = folder / "index.html"
    write_atomically(index, _page(named, examined, maps).encode("utf-8"), durable=False)
    return [*written, index]


def _page(named: str, examined: Examination, maps: Mapping[str, tuple[Figure, tuple[str, ...]]]) -> str:
    """Return the page of one image: what each test says of each method, and the maps with their checks."""
    tests = list(dict.fromkeys(test for one in examined.found for test in one.verdicts))
    rows = [
        (one.method, *(one.verdicts[test].text if test in one.verdicts else "" for test in tests))
        for one in examined.found
    ]
    head = ("method", *tests)
    return render("examination", named=named, score=examined.score, rules=RULES, head=head, rows=rows, maps=maps)


def folder_for(folder: Path, x: Tensor, examined: Examination) -> Path:
    """Return the folder, or FOLDER-2, -3 ...: the first that holds no examination of another image, target or model."""
    own = {"image": x.cpu(), "target": str(examined.target), "score": examined.score}
    places = chain([folder], (folder.with_name(f"{folder.name}-{number}") for number in count(2)))
    return next(
        place for place in places if all(_same(file, own) for file in place.glob("*.npz") if file.stem in METHODS)
    )


def _same(file: Path, own: dict[str, Any]) -> bool:
    """Whether a method's file is of this image, target and score, but for the score's rounding; False if unreadable."""
    try:
        with np.load(file) as kept:
            alike = np.array_equal(kept["image"], own["image"]) and str(kept["target"]) == own["target"]
            return alike and math.isclose(float(kept["score"]), own["score"], rel_tol=1e-4)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return False


def notes(one: Examined, examined: Examination) -> tuple[str, ...]:
    """Return the checks of one method in words, a line each."""
    likeness = ", ".join(f"{path} {_short(value)}" for path, value in one.likeness.items())
    lines = [
        f"deletion {one.deletion:.3f} (random {examined.random[0]:.3f}; lower is better), "
        f"insertion {one.insertion:.3f} (random {examined.random[1]:.3f}; higher is better)",
        f"likeness with the weights lost from the top down to: {likeness or 'none to lose'}",
    ]
    lines += [f"{test}: {verdict.text}" for test, verdict in one.verdicts.items()]
    if one.wanted is not None:
        lines.insert(0, f"adds up to {one.sum:.4g}, should be {one.wanted:.4g}: off by {100 * (one.gap or 0):.2g} %")
    return tuple(lines)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _plane(one: Examined) -> Any:
    return one.map.sum(0).cpu().numpy()


def _numbers(one: Examined, x: Tensor, examined: Examination) -> dict[str, Any]:
    return {
        "map": one.map.cpu(),
        "image": x.cpu(),
        "target": str(examined.target),
        "score": examined.score,
        "sum": one.sum,
        "wanted": math.nan if one.wanted is None else one.wanted,
        "deletion": one.deletion,
        "insertion": one.insertion,
        "lost_down_to": list(one.likeness) or [""],
        "likeness": [math.nan if value is None else value for value in one.likeness.values()] or [math.nan],
        "verdicts": [f"{test}: {verdict.text}" for test, verdict in one.verdicts.items()],
    }


def _distances(examined: Examination) -> list[list[float]]:
    return [[math.nan if value is None else value for value in row] for row in examined.distances]


def _places(folder: Path, model: BaseModel, x: Tensor, target: int, classes: Sequence[str]) -> tuple[Path, Path]:
    batch = inputs(model, x[None])
    seen = occlude(model.net, model.params, batch, target, fill=grey(model), read=model.loss.predict)
    predicted = torch.zeros_like(seen.score, dtype=torch.long) if seen.predicted is None else seen.predicted
    figure = places(seen.score[0].cpu(), predicted[0].cpu(), classes, f"p({classes[target]}) with grey there")
    numbers = {"probability": seen.score[0].cpu(), "predicted": predicted[0].cpu(), "corners": seen.corners}
    return write_picture(folder, PLACES, figure, numbers)
