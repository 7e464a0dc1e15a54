"""Explanations of the scores of classes, and of units inside a network: files, tables and JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.text import table
from pellucid.explain.examine import (
    examine,
    folder_for,
    interval_text,
    sensitivity_text,
    trusted_text,
    write_examination,
)
from pellucid.explain.ledger import absorbed_text
from pellucid.explain.methods import METHODS
from pellucid.explain.names import target_text
from pellucid.explain.verdicts import MEANINGS, RULES
from pellucid.task import Explained
from pellucid.trace import default_classes

if TYPE_CHECKING:
    from pellucid.explain.examine import Examination
    from pellucid.explain.target import Target
    from pellucid.model import Model
    from pellucid.task import Request

UNIT_HINT = ", and a unit is written 'layer[3]'"


def class_index(target: str, classes: Sequence[str], extra_hint: str = "") -> int:
    """Return the index of the class with this name or index; see `index_of_name`."""
    return index_of_name(target, classes, ("class", "classes"), extra_hint)


def index_of_name(target: str, names: Sequence[str], nouns: tuple[str, str], extra_hint: str = "") -> int:
    """Return the index of a name, or of a number among them; raises PellucidError if there is none.

    nouns: what has these names, in singular and plural. extra_hint: text appended to the error message.
    """
    if target in names:
        return names.index(target)
    if target.isdecimal() and int(target) < len(names):
        return int(target)
    noun, plural_noun = nouns
    hint = ("" if target.isdecimal() else nearest(target, names)) or f"; its {plural_noun} are {', '.join(names):.80}"
    raise PellucidError(f"--target: the model has no {noun} {target!r}{hint}{extra_hint}")


def default_class(model: Model, x: Tensor, image: str, classes: Sequence[str]) -> tuple[int, str]:
    """Return the default target class of an image x (C, H, W), and how it was chosen.

    It is the class named by the file's folder, otherwise the class that `default_classes` returns.
    """
    if (label := folder_class(image, classes)) is not None:
        return classes.index(label), "the name of its folder"
    index, chosen_by = default_classes(model, x[None], classes)
    return int(index), chosen_by


def folder_class(image: str, classes: Sequence[str]) -> str | None:
    """Return the class with the name of an image file's folder, None if there is none."""
    folder = Path(image).resolve().parent.name
    return folder if folder in classes else None


def explain_scores(model: Model, request: Request, x: Tensor, target: Target, classes: Sequence[str]) -> Explained:
    """Explain a target of x (C, H, W) by the requested method, by default by all methods.

    target: a class, or for a segmenter the score of a class summed over pixels, see `pellucid.explain.aim`.
    """
    methods = list(METHODS) if request.method is None else [request.method]
    examination = examine(model, x, methods, target)
    folder = folder_for(request.default_folder, x, examination) if request.out is None else request.folder()
    files = write_examination(folder, model, x, examination, classes)
    label = target_text(examination.target, classes)
    chosen_by = "predicted" if isinstance(examination.target, int) else "the class with the most pixels"
    folder_label = folder_class(request.image, classes) if isinstance(examination.target, int) else None
    if folder_label is not None:
        chosen_by += ", as its folder says" if folder_label == label else f"; its folder says {folder_label}"
    suffix = "" if request.target or len(classes) == 1 else f" ({chosen_by})"
    lines = [
        f"{request.model} on {request.image}: {label}{suffix}, score {examination.score:.4g}",
        "",
        *_result_lines(examination),
    ]
    lines += [f"skipped {method}: {reason}" for method, reason in examination.skipped.items()]
    return Explained(
        {**_to_json(label, examination), "chosen": None if request.target else chosen_by}, lines, folder, files
    )


def _result_lines(examination: Examination) -> list[str]:
    header = (
        "method",
        "adds up to",
        "should be",
        "deletion",
        "insertion",
        "ROAD",
        "infidelity",
        "sensitivity",
        "likeness",
    )
    rows = [
        (
            result.label,
            f"{result.sum:.4g}" if result.expected_sum is not None else "",
            f"{result.expected_sum:.4g}" if result.expected_sum is not None else "",
            f"{result.deletion:.3f}",
            f"{result.insertion:.3f}",
            f"{result.road:.3f}",
            interval_text(result.infidelity),
            sensitivity_text(result.sensitivity),
            ", ".join("-" if value is None else f"{value:.2f}" for value in result.randomization_correlations.values()),
        )
        for result in examination.results
    ]
    random_row = ("random order", "", "", *(f"{area:.3f}" for area in examination.random.values()), "", "", "")
    layer_names = ", ".join(examination.results[0].randomization_correlations) if examination.results else ""
    notes = [f"{name}: {text}" for name, text in MEANINGS.items()]
    notes += [f"layers of likeness: {layer_names}", *RULES.split("\n")]
    verdict_rows = [
        (result.method, test, verdict.text)
        for result in examination.results
        for test, verdict in result.verdicts.items()
    ]
    absorbed_lines = [
        f"{result.method}: of its score, {absorbed_text(result.absorbed)} did not reach the input"
        for result in examination.results
        if result.absorbed
    ]
    result_table = table([header, *rows, random_row], right=range(1, 8))
    verdicts = table([("method", "test", "verdict"), *verdict_rows])
    return [*result_table, *absorbed_lines, *notes, "", *verdicts, "", trusted_text(examination)]


def _to_json(label: str, examination: Examination) -> dict[str, Any]:
    methods = {
        result.method: {
            "sum": result.sum,
            "wanted": result.expected_sum,
            "gap": result.gap,
            "mark": result.caveat,
            "likeness": result.randomization_correlations,
            "deletion": result.deletion,
            "insertion": result.insertion,
            "road": result.road,
            "infidelity": result.infidelity,
            "sensitivity": result.sensitivity,
            "absorbed": result.absorbed,
            "verdicts": {test: verdict.to_json() for test, verdict in result.verdicts.items()},
        }
        for result in examination.results
    }
    return {
        "target": label,
        "score": examination.score,
        "methods": methods,
        "random": examination.random,
        "distances": {
            result.method: dict(zip(methods, row, strict=True))
            for result, row in zip(examination.results, examination.distances, strict=True)
        },
        "skipped": examination.skipped,
    }
