"""The report of a comparison: one HTML page, its figures, and its table as text, Markdown and JSON."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pellucid.files import make_folder, write_atomically
from pellucid.recipe.compare import differing, settings
from pellucid.report.figures.classes import confusion_matrix, precision_and_recall, reliability_diagram
from pellucid.report.figures.compared import COLOURS, Dot, accuracy_by_time, ranking
from pellucid.report.figures.curves import loss_curves, metric_curves
from pellucid.report.figures.pictures import worst_mistakes
from pellucid.report.page import render
from pellucid.report.write import write_page
from pellucid.run_report.classes import class_rows, confusions_text
from pellucid.run_report.page import duration
from pellucid.tasks.gestures.comparison import METRICS, Spread, Trial, VariantComparison, VariantRow, best_row
from pellucid.tasks.gestures.findings import findings_to_json, left_out
from pellucid.text import aligned

HEAD = ("variant", "accuracy", "macro F1", "ECE", "per image", "training", "trainable")


def cells(row: VariantRow) -> tuple[str, ...]:
    """Return a variant's row of the table: the mean over its seeds, and the range where they differ."""
    return (
        row.variant.title,
        *(percent_range(row.spread(METRICS[key])) for key in ("accuracy", "macro_f1", "ece")),
        f"{row.spread(METRICS['latency_ms']).mean:.2f} ms",
        duration(row.spread(METRICS["seconds"]).mean),
        f"{row.first.learned:,}",
    )


def table_text(comparison: VariantComparison) -> str:
    """Return the table for a terminal."""
    return aligned([HEAD, *(cells(row) for row in comparison.rows)], right=range(1, len(HEAD)))


def percent_range(spread: Spread) -> str:
    """Return fractions as per cent: "98.71 %", or with their range "98.71 % (98.10 to 99.40)"."""
    text = f"{100 * spread.mean:.2f} %"
    return text if spread.low == spread.high else f"{text} ({100 * spread.low:.2f} to {100 * spread.high:.2f})"


def differences(comparison: VariantComparison) -> list[tuple[str, ...]]:
    """Return the keys in which the recipes differ, each with its value for every variant, as text."""
    return differing([settings(row.first.recipe.tables()) for row in comparison.rows])


def finding(comparison: VariantComparison) -> str:
    """Return a sentence on the best variant and its advantage over the worst."""
    best, accuracy = best_row(comparison.rows), METRICS["accuracy"]
    pictures = f"{comparison.n_test:,} held-out pictures"
    text = f"“{best.variant.title}” is right on {percent_range(best.spread(accuracy))} of the {pictures}"
    worst = min(comparison.rows, key=lambda row: row.spread(accuracy).mean)
    if worst is best:
        return f"{text}."
    wrong = [row.spread(lambda trial: trial.measured.n * (1 - trial.measured.accuracy)).mean for row in (best, worst)]
    counts = [f"{n:.0f}" if len(best.trials) == 1 else f"{n:.1f}" for n in wrong]
    return (
        f"{text}, “{worst.variant.title}” on {percent_range(worst.spread(accuracy))}: "
        f"{counts[0]} misclassified in place of {counts[1]}."
    )


def setting(comparison: VariantComparison) -> str:
    """Return the settings that all variants share, as text."""
    channels, height, width = comparison.size
    seeds = len(comparison.rows[0].trials)
    n_corrupt = 0 if comparison.collection is None else len(comparison.collection.corrupt)
    skipped = f" {left_out(n_corrupt)}." if n_corrupt else ""
    seeds_text = f" Each was trained with {seeds} seeds; the values are means." if seeds > 1 else ""
    return (
        f"One network, {comparison.network} with {comparison.rows[0].first.parameters:,} weights, "
        f"{comparison.n_train:,} training pictures of {len(comparison.classes)} classes at {height} x {width} in "
        f"{'colour' if channels == 3 else 'grey'}, and {comparison.n_test:,} other pictures for the evaluation. "
        f"Only the way of training differs. The backbone is {comparison.backbone}.{seeds_text}{skipped}"
    )


def to_json(comparison: VariantComparison) -> dict[str, Any]:
    """Return all results as JSON values."""
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
        "collection": None if comparison.collection is None else findings_to_json(comparison.collection),
        "variants": [_variant_json(row) for row in comparison.rows],
    }


def markdown(comparison: VariantComparison, picture: Callable[[str, str], str]) -> str:
    """Return the table, and for each variant its classes and figures; `picture(name, alt)` links a figure."""
    lines = ["# Comparison of ways to train", "", setting(comparison), "", finding(comparison), ""]
    lines += _table(HEAD, [cells(row) for row in comparison.rows], range(1, len(HEAD)))
    lines += ["", f"Threads for the times per image: {comparison.rows[0].first.measured.latency.threads}. "
              f"All trainings together: {duration(comparison.seconds)}. Made by `{comparison.command}`."]  # fmt: skip
    for row in comparison.rows:
        measured = row.first.measured
        classes = zip(
            measured.classes, measured.precision, measured.recall, measured.f1, measured.confusion.sum(1), strict=True
        )
        rows = [
            (name, *(f"{100 * float(value):.1f} %" for value in (p, r, f)), f"{int(n):,}")
            for name, p, r, f, n in classes
        ]
        lines += ["", f"## {row.variant.title}", "", row.variant.about, "", f"Run: `{row.first.run}`", ""]
        lines += _table(("class", "precision", "recall", "F1", "n"), rows, range(1, 5))
        lines += [
            "",
            *(line for name, alt in VARIANT_FIGURES for line in [picture(f"{row.variant.name}-{name}", alt)] if line),
        ]
    return "\n".join(lines) + "\n"


# The figures of each variant, with their descriptions.
VARIANT_FIGURES = (
    ("loss", "Loss by epoch"),
    ("accuracy", "Accuracy by epoch"),
    ("confusion", "Confusion matrix, counts"),
    ("normalised", "Confusion matrix, per cent of each true class"),
    ("classes", "Precision and recall of each class"),
    ("reliability", "Reliability diagram"),
    ("mistakes", "Misclassified pictures"),
)


def _variant_json(row: VariantRow) -> dict[str, Any]:
    return {
        "variant": row.variant.name,
        "title": row.variant.title,
        "learned": row.first.learned,
        "parameters": row.first.parameters,
        **{key: row.spread(number).mean for key, number in METRICS.items()},
        "range": {key: list(row.spread(number)[1:]) for key, number in METRICS.items()},
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


Figures = dict[str, Figure | None]
# The ranked metrics: key, heading, and whether the value is a fraction.
RANKED = (
    ("accuracy", "Accuracy, higher is better", True),
    ("macro_f1", "Macro F1, higher is better", True),
    ("ece", "Calibration error (ECE), lower is better", True),
    ("seconds", "Training time, in seconds", False),
)


def draw(comparison: VariantComparison) -> Figures:
    """Return all figures by name, None where there is nothing to draw."""
    figures: Figures = {key: _ranked(comparison, key, title, is_fraction) for key, title, is_fraction in RANKED}
    rows = comparison.rows
    figures["time"] = accuracy_by_time(
        [row.variant.title for row in rows], [row.first.history for row in rows], rows[0].first.held
    )
    for row in rows:
        figures |= {f"{row.variant.name}-{name}": figure for name, figure in _variant_figures(row).items()}
    return figures


def _ranked(comparison: VariantComparison, key: str, title: str, is_fraction: bool) -> Figure | None:
    scale = 100 if is_fraction else 1
    dots: list[Dot] = []
    for row in comparison.rows:
        spread = row.spread(METRICS[key])
        text = percent_range(spread).split("(")[0].strip() if is_fraction else duration(spread.mean)
        dots.append(Dot(row.variant.title, scale * spread.mean, scale * spread.low, scale * spread.high, text))
    return ranking(title, dots, COLOURS, logarithmic=not is_fraction)


def _variant_figures(row: VariantRow) -> Figures:
    first = row.first
    measured, bins, mistakes = first.measured, first.measured.reliability, first.measured.mistakes
    return {
        "loss": loss_curves(first.history, first.held),
        "accuracy": metric_curves(first.history, first.held),
        "confusion": confusion_matrix(measured.confusion, measured.classes),
        "normalised": confusion_matrix(measured.confusion, measured.classes, normalised=True),
        "classes": precision_and_recall(measured.classes, measured.precision, measured.recall),
        "reliability": reliability_diagram(bins.count, bins.confidence, bins.accuracy, measured.ece),
        "mistakes": (
            None
            if mistakes is None
            else worst_mistakes(mistakes.images, mistakes.true, mistakes.predicted, mistakes.probability)
        ),
    }


GLOSSARY = (
    ("accuracy", "the fraction of held-out pictures that are classified correctly"),
    ("macro F1", "the mean over the classes of F1, which is high only where both precision and recall are; rare "
                 "classes count as much as common ones"),
    ("ECE", "expected calibration error: the mean difference between the confidence of a network and its accuracy; "
            "0 is best"),
    ("per image", "the median time of the network for a single picture"),
    ("training", "the time of all epochs"),
    ("trainable", "the number of parameters that training updates"),
)  # fmt: skip


def page(comparison: VariantComparison, figures: Mapping[str, Figure]) -> str:
    """Return the whole HTML document."""
    rows, best = comparison.rows, best_row(comparison.rows)
    lines = [cells(row) for row in rows]
    return render(
        "gestures",
        comparison=comparison,
        figures=figures,
        setting=setting(comparison),
        results=[
            (f"best accuracy, {best.variant.title}", f"{100 * best.spread(METRICS['accuracy']).mean:.2f} %"),
            ("its macro F1", f"{100 * best.spread(METRICS['macro_f1']).mean:.2f} %"),
            ("held-out pictures", f"{comparison.n_test:,}"),
            ("training in all", duration(comparison.seconds)),
        ],
        finding=finding(comparison),
        ranked=[
            (key, f"{title}: {', '.join(f'{line[0]} {line[column]}' for line in lines)}")
            for (key, title, _), column in zip(RANKED, (1, 2, 3, 5), strict=True)
        ],
        head=HEAD,
        lines=lines,
        words=GLOSSARY,
        ends=", ".join(f"{row.variant.title} after {duration(row.first.seconds)}" for row in rows),
        variants=[_variant_section(row, COLOURS[k % len(COLOURS)]) for k, row in enumerate(rows)],
        pictures=dict(VARIANT_FIGURES),
        differences=differences(comparison),
    )


def _variant_section(row: VariantRow, colour: str) -> dict[str, Any]:
    """Return the texts of a variant's section."""
    first, measured, mistakes = row.first, row.first.measured, row.first.measured.mistakes
    confusion = measured.confusion.numpy()
    start = first.recipe.start.weights or ("whitened filters" if first.recipe.start.whiten else "random weights")
    pairs = () if mistakes is None else zip(mistakes.true, mistakes.predicted, strict=True)
    return {
        "row": row,
        "colour": colour,
        "facts": [
            *((name, percent_range(row.spread(METRICS[key]))) for name, key in
              (("accuracy", "accuracy"), ("macro F1", "macro_f1"), ("ECE", "ece"))),
            ("loss", f"{row.spread(METRICS['loss']).mean:.4f}"),
            ("trainable", f"{first.learned:,} of {first.parameters:,} parameters"),
            (f"training, {first.epochs:,} epochs", duration(row.spread(METRICS["seconds"]).mean)),
            ("starts from", start),
            ("run", str(first.run)),
        ],
        "loss": _last(row, "loss"),
        "accuracy": _last(row, "accuracy"),
        "confused": confusions_text(confusion, measured.classes),
        "classes": class_rows(confusion, measured.classes),
        "mistaken": ", ".join(f"{true} classified as {predicted}" for true, predicted in pairs),
    }  # fmt: skip


def _last(row: VariantRow, what: str) -> str:
    last = row.first.history[-1] if row.first.history else {}
    words = [
        f"{name} {last[key]:.4g}"
        for key, name in ((f"train_{what}", "training"), (f"val_{what}", row.first.held))
        if isinstance(last.get(key), int | float)
    ]
    return ", ".join(words) or "not recorded"


PAGE, TABLE, VALUES = "comparison.html", "comparison.md", "comparison.json"


def write_comparison(out: str | os.PathLike[str], comparison: VariantComparison) -> Path:
    """Write comparison.html, comparison.md, comparison.json and figures/*.png into a folder; return the page's path.

    Each file is written completely or not at all. Raises PellucidError if one cannot be written.
    """
    folder = Path(out)
    make_folder(folder)
    figures = {name: figure for name, figure in draw(comparison).items() if figure is not None}

    def link(name: str, alt: str) -> str:
        return f"![{alt}](figures/{name}.png)" if name in figures else ""

    write_atomically(folder / VALUES, (json.dumps(to_json(comparison), indent=2) + "\n").encode())
    write_atomically(folder / TABLE, markdown(comparison, link).encode("utf-8"))
    return write_page(folder / PAGE, page(comparison, figures), figures)
