"""Damaged tables of labels: each is refused in one line that names it, or read with a target for each row."""

import random
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.fuzz.mutations import damage
from pellucid.base.errors import PellucidError
from pellucid.data.labelled_images import load_table, parts_of
from pellucid.data.table_targets import TableFormat

TABLES = ("csv", "tsv", "jsonl")
N_PICTURES = 12
# What is inserted into a table: delimiters, quotes, marks of byte order, numbers and names.
PIECES = (
    b",", b";", b"\t", b'"', b"'", b"\n", b"\r\n", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"nan", b"inf", b"1e999", b"-",
    b"1,5", b"../", b"/dev/zero", b"sep=;\n", b"[", b"]", b"{", b"}", b"null", b"true", b" ", b"|", b"\xe4",
    b"9" * 5000,
)  # fmt: skip


def write_table(kind: str, path: Path) -> None:
    """Write the undamaged table of a kind to `path`, and its pictures beside it."""
    for k in range(N_PICTURES):
        Image.fromarray(np.full((4, 4, 3), 9 * k, np.uint8)).save(path.parent / f"t{k}.png")
    rows = [(f"t{k}.png", "cat|dog" if k % 3 else "cat", k / 4, k % 2) for k in range(N_PICTURES)]
    if kind == "jsonl":
        lines = [f'{{"file": "{f}", "labels": ["{t}"], "x": {x}, "odd": {o}}}' for f, t, x, o in rows]
    else:
        delimiter = "," if kind == "csv" else "\t"
        lines = [delimiter.join(("file", "labels", "x", "odd"))]
        lines += [delimiter.join((f, f'"{t}"', str(x), str(o))) for f, t, x, o in rows]
    path.write_text("\n".join([*lines, ""]))


def write_table_case(original: Path, path: Path, rng: random.Random) -> None:
    """Write a copy of a table with inserted pieces, or with changed bytes."""
    data = original.read_bytes()
    if rng.random() < 0.3:
        path.write_bytes(damage(data, rng))
        return
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(data))
        data = data[:start] + rng.choice(PIECES) + data[start + rng.choice((0, 0, 1, 8)) :]
    path.write_bytes(data)


def outcome_of_table(path: Path) -> str:
    """Return "refused", "other", or a description of the fault; every kind of targets is read."""
    outcome = "refused"
    for wanted in (TableFormat(), TableFormat("labels"), TableFormat("numbers"), TableFormat("class", columns=("x",))):
        try:
            images = load_table(path, wanted, size=4)
            parts_of(images)
        except PellucidError as error:
            message = str(error)
            if (path.name not in message and str(path.parent) not in message) or not message.isprintable():
                return f"message: {message!r}"
            continue
        except Exception as error:
            return f"traceback: {type(error).__name__}: {' '.join(str(error).split()):.300}"
        if not len(images.y) == len(images.names) == len({*images.names}) or not bool(images.y.isfinite().all()):
            return f"misread: {len(images.names)} pictures, {len(images.y)} targets"
        outcome = "other"
    return outcome
