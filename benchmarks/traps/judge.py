"""Judge how Pellucid reads all cases: `python -m benchmarks.traps.judge OUT [--sealed]`.

Each folder is read as `pellucid train` reads it, and by `pellucid data lint`. One line states for each trap and twin
what became of it; exit code 1 if one of them is not as expected.
"""

import io
import unicodedata
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.text import collected_notes
from pellucid.cli.main import main as run_command
from pellucid.data.source import Subset
from pellucid.recipe.material import load_arrays, load_material
from pellucid.recipe.tables import Data
from pellucid.task.registered import tasks

from .cases import Expected, chosen_cases

TOLERANCE = 1.0  # pixels, of corners and points
CLASSIFIED_SIZE = 64  # pixels; images with one class are resized


def examples(source: Any) -> list[tuple[str, torch.Tensor, Any]]:
    """Return the name, the image and the target of each example of a source."""
    files = source
    indices = list(range(len(source)))
    while isinstance(files, Subset):
        indices = [int(files.indices[k]) for k in indices]
        files = files.source
    return [(str(files.names[k]), *files.example(k)) for k in indices]


def read(folder: Path, task: str) -> tuple[list[list[tuple[str, torch.Tensor, Any]]], tuple[str, ...]]:
    """Return the examples of both parts, and the names of the classes."""
    (own,) = (one for one in tasks() if one.verb == task)
    settings = own.recipe_for(str(folder), None).settings
    ignored = settings.get("loss.ignore")
    if task == "classify":
        load_arrays(Data(str(folder), size=CLASSIFIED_SIZE), 0)  # as by default, without data.stream
    table = Data(str(folder), stream=True, size=CLASSIFIED_SIZE if task == "classify" else 0)
    material = load_material(table, 0, None, ignored)
    parts = [examples(source) for source in (material.train, material.test)]
    return parts, tuple(material.train.classes or ())


def normal(value: Any) -> str:
    """Return a fact as text that does not depend on the form of characters, nor on the order of a dict."""
    return unicodedata.normalize("NFC", str(sorted(value.items()) if isinstance(value, dict) else value))


def same(first: str, second: str) -> bool:
    """Return whether two names are the same text."""
    return unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", second)


def holds(check: tuple[Any, ...], image: torch.Tensor, target: Any, classes: tuple[str, ...]) -> bool:
    """Return whether a fact of a single picture is read."""
    kind, _, *values = check
    if kind == "objects":
        return len(target) == values[0]
    if kind == "brightness":
        return abs(float(image.float().mean()) / 255 - values[0]) < 0.02
    if kind == "pixels":
        index = next(k for k, name in enumerate(classes) if same(name, values[0]))
        return abs(float((target == index).float().mean()) - values[1]) < 0.02
    if kind == "point":
        return bool((target.keypoints[0, values[0], :2] - torch.tensor(values[1:])).abs().max() <= TOLERANCE)
    corners = torch.tensor(values[1:])
    return any(
        same(classes[int(label)], values[0]) and float((box - corners).abs().max()) <= TOLERANCE
        for box, label in zip(target.boxes, target.labels, strict=True)
    )


def faults(folder: Path, task: str, expected: Expected) -> list[str]:
    """Return what of the facts is read otherwise."""
    parts, classes = read(folder, task)
    everything = [example for part in parts for example in part]
    if task == "classify":
        counts = Counter(classes[int(target)] for _, _, target in everything)
    elif task == "segment":
        counts = Counter[str]()
    else:
        counts = Counter(classes[int(label)] for _, _, target in everything for label in target.labels)
    facts = {
        "total": len(everything), "train": len(parts[0]), "held_out": len(parts[1]), "classes": classes,
        "class_counts": dict(counts),
    }  # fmt: skip
    found = []
    for name, value in facts.items():
        meant = getattr(expected, name)
        if not meant or (name == "class_counts" and task == "segment"):
            continue
        if normal(value) != normal(meant):
            found.append(f"{name}: {value}, not {meant}")
    for check in expected.checks:
        chosen = [each for each in everything if each[0].endswith(check[1])]
        if len(chosen) != 1 or not holds(check, *chosen[0][1:], classes):
            found.append(f"{check} of {len(chosen)} pictures")
    return found


def lacks(text: str, words: tuple[str, ...]) -> list[str]:
    """Return the words of which no alternative is in a text."""
    return [word for word in words if not any(other.strip() in text.lower() for other in word.split("|"))]


def judged(folder: Path, task: str, expected: Expected) -> tuple[str, str]:
    """Return "ok", "refused" with the cure in place of read, or "BAD", and a description."""
    try:
        with collected_notes() as notes:
            wrong = faults(folder, task, expected)
        outcome = "; ".join(["MISREAD", *wrong]) if wrong else "read"
        mark = "ok" if not wrong and expected.outcome in ("read", "read_or_refuse") else "BAD"
        if notes:
            outcome += f" (notes: {' / '.join(notes)})"
    except PellucidError as error:
        message = str(error)
        missing = lacks(message, expected.words)
        mark = "refused" if expected.outcome == "read" else "ok"
        if missing or "\n" in message:
            mark = "BAD"
        outcome = f"refused: {message}" + (f" LACKS {missing}" if missing else "")
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        run_command(["data", "lint", str(folder)])
    missing = lacks(printed.getvalue(), expected.lint)
    if missing:
        outcome += f" LINT LACKS {missing}: {printed.getvalue()}"
    return "BAD" if missing else mark, outcome


def main() -> None:
    """Judge all cases of a list."""
    out, cases = chosen_cases(__doc__)
    marks = Counter[str]()
    for case in cases:
        for role, expected in (("trap", case.trap), ("twin", case.twin)):
            mark, outcome = judged(out / case.name / role, case.task, expected)
            marks[f"{role} {mark}"] += 1
            marks[f"{role} read"] += outcome.startswith("read")
            print(f"{mark} {case.name} {role} [{expected.outcome}]: {outcome}")
    print(", ".join(f"{kind}: {count}" for kind, count in sorted(marks.items())))
    raise SystemExit(any(kind.endswith("BAD") for kind in marks))


if __name__ == "__main__":
    main()
