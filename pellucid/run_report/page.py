"""The page of a run."""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from pellucid.metrics import METRICS
from pellucid.report.page import render
from pellucid.run_report.data import ReportData
from pellucid.run_report.scores import class_rows, confusions_text

ACCURACY = "test accuracy"
Figures = Mapping[str, Figure | None]


def page(data: ReportData, figures: Figures) -> str:
    """Return the whole HTML document."""
    counts, wrong = data.confusion, data.mistakes
    pairs = () if wrong is None else zip(wrong.true, wrong.predicted, strict=True)
    return render(
        "training",
        data=data,
        figures=figures,
        results=headline(data.metrics, data.summary.parameters if data.summary is not None else None),
        validated=any(_known(row, "val_loss") for row in data.history),
        ends={what: _ends(data, what) for what in ("loss", "accuracy")},
        confused="" if counts is None else confusions_text(counts, data.classes),
        classes=() if counts is None else class_rows(counts, data.classes),
        mistaken=", ".join(f"{true} read as {predicted}" for true, predicted in pairs),
        manifest=flat(data.manifest),
    )


def headline(found: Mapping[str, Any], parameters: int | None = None) -> list[tuple[str, str]]:
    """Return the main results of a run as names and text; what was measured but is not finite says so."""
    shown = {
        f"test {name.replace('_', ' ')}": found[name] for name in ("loss", *METRICS) if found.get(name) is not None
    }
    texts = {
        name: "not finite"
        if not _known(shown, name)
        else f"{100 * value:.2f} %"
        if name == ACCURACY
        else f"{value:.4g}"
        for name, value in sorted(shown.items(), key=lambda pair: pair[0] != ACCURACY)
        if isinstance(value, int | float)
    }
    for key, name in (("n", "test images"), ("epochs", "epochs"), ("images_per_second", "images per second")):
        if _known(found, key):
            texts[name] = f"{found[key]:,.0f}"
    if _known(found, "seconds"):
        texts["training"] = duration(found["seconds"])
    return [*texts.items()] if parameters is None else [*texts.items(), ("parameters", f"{parameters:,}")]


def duration(seconds: float) -> str:
    """Write a time as 4.2 s, 3 min 20 s or 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def flat(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested values into dotted names and text."""
    if isinstance(values, Mapping):
        pairs = [(str(key), value) for key, value in values.items()]
    elif isinstance(values, list):
        pairs = [(str(k), value) for k, value in enumerate(values, 1)]
    else:
        return [(prefix, "" if values is None else str(values))]
    return [line for key, value in pairs for line in flat(value, f"{prefix}.{key}" if prefix else key)]


def _known(values: Mapping[str, Any], key: str) -> bool:
    value = values.get(key)
    return isinstance(value, int | float) and math.isfinite(value)


def _ends(data: ReportData, what: str) -> str:
    words: list[str] = []
    for key, name in ((f"train_{what}", "training"), (f"val_{what}", data.held)):
        values = [row[key] for row in data.history if _known(row, key)]
        if values:
            words.append(f"{name} from {values[0]:.4g} to {values[-1]:.4g}")
    return f"{what.capitalize()} by epoch: {', '.join(words) or 'nothing recorded'}"
