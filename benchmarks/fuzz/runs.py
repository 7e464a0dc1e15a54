"""Run folders with a damaged metrics.csv or layers.csv, read by compare-runs, the report and the doctor."""

import csv
import io
import random
import shutil
from pathlib import Path

from benchmarks.fuzz.mutations import damage
from pellucid.doctor.run_case import read_history
from pellucid.recipe.compare import compare_runs, comparison_page
from pellucid.recipe.job import train
from pellucid.report.figures.curves import (
    gradient_norm_curves,
    learning_rate_curve,
    loss_curves,
    metric_curves,
    update_ratio_curves,
)

RUNS = ("metrics", "layers")
DRAWN_EVERY = 10  # about every tenth file's curves are drawn, because drawing takes most of the time
MAX_DRAWN_BYTES = 1 << 20  # curves of larger files are not drawn: the time is proportional to the lines
_FIELD_TEXTS = (
    "", "nan", "inf", "-inf", "-1", "0", "x", "0.x5", "1e400", "1e-400", "1e308", "-0.0", "9007199254740993",
    "18446744073709551616", "9" * 400, "0x10", "1_000", " 1", "\u0663", "1,5", "\0", "\x1b[2J", "True", "None", "1e3",
)  # fmt: skip


def write_run(kind: str, path: Path) -> None:
    """Train for two epochs, with runs-KIND next to `path` as folder, and copy the run's KIND.csv to `path`."""
    run = train("digits", out=path.parent / f"runs-{kind}", progress=False, **{"train.epochs": 2})
    path.write_bytes((run.path / f"{kind}.csv").read_bytes())


def write_run_case(original: Path, path: Path, rng: random.Random) -> None:
    """Write a copy of a CSV file with damaged bytes, changed fields and lines, or very many lines."""
    share = rng.random()
    if share < 0.4:
        path.write_bytes(damage(original.read_bytes(), rng))
        return
    rows = list(csv.reader(io.StringIO(original.read_text())))
    if share < 0.43:
        rows += rows[1:] * rng.choice([10, 1_000, 100_000, 300_000])
    else:
        for _ in range(rng.choice([1, 1, 2, 5])):
            _change(rows, rng)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue())


def _change(rows: list[list[str]], rng: random.Random) -> None:
    row, column, kind = rng.randrange(len(rows)), rng.randrange(len(rows[0])), rng.randrange(8)
    if kind == 0:
        for line in rows:
            del line[column : column + 1]
    elif kind == 1:
        rows.insert(row, list(rows[rng.randrange(len(rows))]))
    elif kind == 2 and len(rows) > 1:
        del rows[row]
    elif kind == 3:
        rows[0][column : column + 1] = [rng.choice([*rows[0], "new", "", "val_x", "train_\n"])]
    else:
        rows[rng.randrange(1, len(rows)) if len(rows) > 1 else 0][column : column + 1] = [rng.choice(_FIELD_TEXTS)]


def use_run(kind: str, path: Path) -> None:
    """Read a run whose KIND.csv is replaced by the file; raises PellucidError if the file is refused."""
    (original,) = (path.parent / f"runs-{kind}").iterdir()
    run = path.with_name(f"{path.name}.run")
    if not run.exists():
        shutil.copytree(original, run)
    data = path.read_bytes()
    (run / f"{kind}.csv").write_bytes(data)
    history = read_history(run)
    comparison = compare_runs([original, run])
    comparison.to_json()
    if len(data) % DRAWN_EVERY == 0 and len(data) < MAX_DRAWN_BYTES:
        comparison_page(comparison, "pellucid compare-runs")
        if history is not None:
            for curves in (loss_curves, metric_curves, learning_rate_curve):
                curves(history.rows)
            for curves in (gradient_norm_curves, update_ratio_curves):
                curves(history.layers)
