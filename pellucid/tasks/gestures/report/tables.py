"""A comparison as a table: for terminals, as Markdown, as values of JSON."""

from collections.abc import Callable
from typing import Any

from pellucid.recipe.compare import differing, settings
from pellucid.run_report.page import duration
from pellucid.tasks.gestures import findings
from pellucid.tasks.gestures.comparison import NUMBERS, Comparison, Row, Spread, Trial, best_row
from pellucid.tasks.gestures.findings import left_out
from pellucid.text import aligned

HEAD = ("variant", "accuracy", "macro F1", "ECE", "per image", "training", "learns")


def cells(row: Row) -> tuple[str, ...]:
    """Return a variant's line of the table; of several seeds the mean, and the range where it tells something."""
    return (
        row.variant.title,
        *(percent(row.spread(NUMBERS[key])) for key in ("accuracy", "macro_f1", "ece")),
        f"{row.spread(NUMBERS['latency_ms']).mean:.2f} ms",
        duration(row.spread(NUMBERS["seconds"]).mean),
        f"{row.first.learned:,}",
    )


def table_text(comparison: Comparison) -> str:
    """Return the table for a terminal."""
    return aligned([HEAD, *(cells(row) for row in comparison.rows)], right=range(1, len(HEAD)))


def percent(spread: Spread) -> str:
    """Write shares as per cent: "98.71 %", or with their range "98.71 % (98.10 to 99.40)"."""
    text = f"{100 * spread.mean:.2f} %"
    return text if spread.low == spread.high else f"{text} ({100 * spread.low:.2f} to {100 * spread.high:.2f})"


def differences(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return the keys in which the recipes differ, each with its value for every variant, as text."""
    return differing([settings(row.first.recipe.tables()) for row in comparison.rows])


def finding(comparison: Comparison) -> str:
    """Return in a sentence or two which variant came out best, and by how much."""
    best, accuracy = best_row(comparison.rows), NUMBERS["accuracy"]
    images = f"{comparison.n_test:,} held-out pictures"
    text = f"“{best.variant.title}” is right on {percent(best.spread(accuracy))} of the {images}"
    worst = min(comparison.rows, key=lambda row: row.spread(accuracy).mean)
    if worst is best:
        return f"{text}."
    wrong = [row.spread(lambda trial: trial.measured.n * (1 - trial.measured.accuracy)).mean for row in (best, worst)]
    counts = [f"{number:.0f}" if len(best.trials) == 1 else f"{number:.1f}" for number in wrong]
    return (
        f"{text}, “{worst.variant.title}” on {percent(worst.spread(accuracy))}: "
        f"{counts[0]} misread in place of {counts[1]}."
    )


def setting(comparison: Comparison) -> str:
    """Return what all variants have in common."""
    channels, height, width = comparison.size
    seeds = len(comparison.rows[0].trials)
    lost = 0 if comparison.collection is None else len(comparison.collection.corrupt)
    skipped = f" {left_out(lost)}." if lost else ""
    several = f" Each was trained {seeds} times, from other random numbers; the figures are means." if seeds > 1 else ""
    return (
        f"One network, {comparison.network} with {comparison.rows[0].first.parameters:,} weights, "
        f"{comparison.n_train:,} training pictures of {len(comparison.classes)} classes at {height} x {width} in "
        f"{'colour' if channels == 3 else 'grey'}, and {comparison.n_test:,} others that none of it was trained on. "
        f"Only the way of training differs. The backbone is {comparison.backbone}.{several}{skipped}"
    )


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return all numbers as values of JSON."""
    return {
        "data": comparison.data,
        "backbone": comparison.backbone,
        "network": comparison.network,
        "size": list(comparison.size),
        "n_train": comparison.n_train,
        "n_test": comparison.n_test,
        "classes": list(comparison.classes),
        "command": comparison.command,
        "complete": len(comparison.rows) == comparison.planned,
        "seconds": round(comparison.seconds, 3),
        "best": best_row(comparison.rows).variant.name,
        "collection": None if comparison.collection is None else findings.to_json(comparison.collection),
        "variants": [_variant(row) for row in comparison.rows],
    }


def markdown(comparison: Comparison, picture: Callable[[str, str], str]) -> str:
    """Return the table, and for each variant its classes and pictures; `picture(name, alt)` links one."""
    lines = ["# Ways to train, compared", "", setting(comparison), "", finding(comparison), ""]
    lines += _table(HEAD, [cells(row) for row in comparison.rows], range(1, len(HEAD)))
    lines += ["", f"Threads of the times per image: {comparison.rows[0].first.measured.latency.threads}. "
              f"All trainings together: {duration(comparison.seconds)}. Made by `{comparison.command}`."]  # fmt: skip
    for row in comparison.rows:
        found = row.first.measured
        each = zip(found.classes, found.precision, found.recall, found.f1, found.confusion.sum(1), strict=True)
        rows = [
            (name, *(f"{100 * float(number):.1f} %" for number in (p, r, f)), f"{int(n):,}")
            for name, p, r, f, n in each
        ]
        lines += ["", f"## {row.variant.title}", "", row.variant.about, "", f"Run: `{row.first.run}`", ""]
        lines += _table(("class", "precision", "recall", "F1", "n"), rows, range(1, 5))
        lines += [
            "",
            *(line for name, alt in PICTURES for line in [picture(f"{row.variant.name}-{name}", alt)] if line),
        ]
    return "\n".join(lines) + "\n"


# The pictures of each variant, and what they are.
PICTURES = (
    ("loss", "Loss by epoch"),
    ("accuracy", "Accuracy by epoch"),
    ("confusion", "Confusion matrix, counts"),
    ("normalised", "Confusion matrix, per cent of each true class"),
    ("classes", "Precision and recall of each class"),
    ("reliability", "Reliability diagram"),
    ("mistakes", "Misread pictures"),
)


def _variant(row: Row) -> dict[str, Any]:
    return {
        "variant": row.variant.name,
        "title": row.variant.title,
        "learned": row.first.learned,
        "parameters": row.first.parameters,
        **{key: row.spread(number).mean for key, number in NUMBERS.items()},
        "range": {key: list(row.spread(number)[1:]) for key, number in NUMBERS.items()},
        "trials": [_trial(trial) for trial in row.trials],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "seed": trial.seed,
        "run": str(trial.run),
        "seconds": trial.seconds,
        "epochs": trial.epochs,
        **trial.measured.to_json(),
    }


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]], right: range) -> list[str]:
    def line(values: tuple[str, ...]) -> str:
        escaped = (value.replace("|", "\\|").replace("\n", " ") for value in values)
        return f"| {' | '.join(escaped)} |"

    rule = tuple("---:" if k in right else "---" for k in range(len(head)))
    return [line(head), line(rule), *map(line, rows)]
