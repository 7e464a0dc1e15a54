"""What a case is, and what is expected of a library that reads it."""

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class Expected:
    """The facts of the right reading, and the words of the right refusal."""

    outcome: str
    """`read`: one reading is right, and it gives the facts below. `refuse`: one line that holds `words`, exit code 2.
    `read_or_refuse`: either of the two."""
    total: int | None = None
    """Pictures of all parts together. Given alone where the data have no parts, as the library then draws a part."""
    train: int | None = None
    """Pictures for training, where the data say so; None: not checked."""
    held_out: int | None = None
    """Pictures of the part that is not trained on, where the data say so; None: not checked."""
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their indices; (): not checked. Compare after Unicode's NFC."""
    class_counts: dict[str, int] = field(default_factory=dict)
    """Pictures (classify) or objects (other tasks) of each class over all parts; {}: not checked."""
    checks: tuple[tuple, ...] = ()
    """Facts of single pictures. A picture is named by its path's end, of one or more parts; pixel i covers i to i + 1.
    ("box", picture, class, x0, y0, x1, y1): it has an object of this class, corners in pixels of the file, within 1.
    ("objects", picture, n): it has exactly n objects.
    ("pixels", picture, class, share): share of this class in its mask, of all pixels (void ones too), within 0.02.
    ("brightness", picture, mean): mean over its pixels and channels, 0 to 1, as the model gets it without its
    standardization, within 0.02.
    ("point", picture, index, x, y): key-point of the picture's one object, in pixels of the file, within 1."""
    words: tuple[str, ...] = ()
    """Each is in the line of the refusal, in lower case; `|` divides alternatives."""
    lint: tuple[str, ...] = ()
    """Each is in what `pellucid data lint` prints, in lower case, for every outcome; `|` divides alternatives."""


@dataclass(frozen=True)
class Case:
    """One trap and its twin: the same data without the trap, in a form that the documentation supports."""

    name: str
    """Also the name of its folder."""
    kind: str
    """masks, pixels, parts, lines, groups, text, which file, unrecognized or broken: as in section 3 of issue 56."""
    task: str
    """classify, detect, segment or keypoints."""
    named: bool
    """Whether the issue names this very example; the others are of the same kinds, but not named there."""
    story: str
    """Who has such data, and why."""
    write: Callable[[Path, bool], None]
    """Writes the data into a folder: with the trap, or (True) the twin."""
    trap: Expected
    """Expected of the data with the trap."""
    twin: Expected
    """Expected of the twin, always `read`."""


def both(facts: Expected, outcome: str, words: tuple[str, ...] = (), lint: tuple[str, ...] = ()) -> dict:
    """Trap and twin of a case in which the right reading of the trap gives the same facts as the twin."""
    return {"trap": replace(facts, outcome=outcome, words=words, lint=lint), "twin": replace(facts, outcome="read")}


def chosen_cases(description: str | None) -> tuple[Path, Sequence[Case]]:
    """The folder and the cases that a command's arguments name: OUT, and --sealed for the sealed cases."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sealed", action="store_true", help="the sealed cases in place of the open ones")
    chosen = parser.parse_args()
    # Imported by name, so that a command for the open cases does not even load the sealed ones.
    return chosen.out, importlib.import_module(".sealed_part" if chosen.sealed else ".open_part", __package__).CASES
