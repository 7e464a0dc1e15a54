"""The report of a comparison: one HTML page, its figures, and its table as text, Markdown and JSON."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pellucid.base.files import make_folder, write_atomically
from pellucid.base.text import percent, plural
from pellucid.recipe.compare import differing_rows, flat_settings
from pellucid.recipe.run_report.classes import class_rows, confusions_text
from pellucid.recipe.run_report.page import duration
from pellucid.report.figures.classes import confusion_matrix, precision_and_recall, reliability_diagram
from pellucid.report.figures.compared import COLOURS, Dot, accuracy_by_time, ranking
from pellucid.report.figures.curves import loss_curves, metric_curves
from pellucid.report.sections import (
    CodeBlock,
    Facts,
    FigurePart,
    FigureRow,
    Heading,
    Missing,
    Page,
    Section,
    SectionPart,
    TablePart,
)
from pellucid.tasks.classify.report import mistakes_part
from pellucid.tasks.gestures.comparison import METRICS, SeedRange, Trial, VariantComparison, VariantRow, best_row
from pellucid.tasks.gestures.findings import findings_to_json, unreadable_text

TABLE_HEADER = ("variant", "accuracy", "macro F1", "ECE", "per image", "training", "trainable")


def table_row(row: VariantRow) -> tuple[str, ...]:
    """Return a variant's row of the table: the mean of each metric over the seeds, and its range if they differ."""
    return (
        row.variant.title,
        *(percent_range(row.seed_range(METRICS[key])) for key in ("accuracy", "macro_f1", "ece")),
        f"{row.seed_range(METRICS['latency_ms']).mean:.2f} ms",
        duration(row.seed_range(METRICS["seconds"]).mean),
        f"{row.first.n_trained:,}",
    )


def table(comparison: VariantComparison) -> TablePart:
    """Return the table of the variants."""
    threads = plural(comparison.rows[0].first.evaluation.latency.threads, "thread")
    caption = f"On {comparison.n_test:,} held-out pictures; times per image on {threads} of the CPU."
    return TablePart(caption, TABLE_HEADER, [table_row(row) for row in comparison.rows])


def percent_range(fractions: SeedRange) -> str:
    """Return a mean fraction in per cent, such as "98.71 %", or with its range "98.71 % (98.10 to 99.40)"."""
    text = f"{100 * fractions.mean:.2f} %"
    return (
        text if fractions.low == fractions.high else f"{text} ({100 * fractions.low:.2f} to {100 * fractions.high:.2f})"
    )


def differences(comparison: VariantComparison) -> list[tuple[str, ...]]:
    """Return the keys in which the recipes differ, each with its value for every variant, as text."""
    return differing_rows([flat_settings(row.first.recipe.tables()) for row in comparison.rows])


def finding_text(comparison: VariantComparison) -> str:
    """Return a sentence that compares the best variant with the worst."""
    best, accuracy = best_row(comparison.rows), METRICS["accuracy"]
    pictures = f"{comparison.n_test:,} held-out pictures"
    text = f"“{best.variant.title}” is right on {percent_range(best.seed_range(accuracy))} of the {pictures}"
    worst = min(comparison.rows, key=lambda row: row.seed_range(accuracy).mean)
    if worst is best:
        return f"{text}."
    n_wrong = [
        row.seed_range(lambda trial: trial.evaluation.n * (1 - trial.evaluation.accuracy)).mean for row in (best, worst)
    ]
    counts = [f"{n:.0f}" if len(best.trials) == 1 else f"{n:.1f}" for n in n_wrong]
    return (
        f"{text}, “{worst.variant.title}” on {percent_range(worst.seed_range(accuracy))}: "
        f"{counts[0]} misclassified in place of {counts[1]}."
    )


def setting_text(comparison: VariantComparison) -> str:
    """Return the settings that all variants share, as text."""
    channels, height, width = comparison.size
    seeds = len(comparison.rows[0].trials)
    n_corrupt = 0 if comparison.collection is None else len(comparison.collection.corrupt)
    skipped = f" {unreadable_text(n_corrupt)}." if n_corrupt else ""
    seeds_text = f" Each was trained with {seeds} seeds; the values are means." if seeds > 1 else ""
    return (
        f"One network, {comparison.network} with {comparison.rows[0].first.n_parameters:,} weights, "
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
        "complete": len(comparison.rows) == comparison.n_planned,
        "seconds": round(comparison.seconds, 3),
        "best": best_row(comparison.rows).variant.name,
        "collection": None if comparison.collection is None else findings_to_json(comparison.collection),
        "variants": [_variant_json(row) for row in comparison.rows],
    }


def markdown(comparison: VariantComparison, picture: Callable[[str, str], str]) -> str:
    """Return the table, and for each variant its classes and figures; `picture(name, alt)` links a figure."""
    lines = ["# Comparison of ways to train", "", setting_text(comparison), "", finding_text(comparison), ""]
    lines += table(comparison).markdown()
    lines += ["", f"Threads for the times per image: {comparison.rows[0].first.evaluation.latency.threads}. "
              f"All trainings together: {duration(comparison.seconds)}. Made by `{comparison.command}`."]  # fmt: skip
    for row in comparison.rows:
        classes = TablePart("", CLASS_HEADER, _class_rows(row)[:-1])  # without the row of means
        lines += ["", f"## {row.variant.title}", "", row.variant.about, "", f"Run: `{row.first.run}`", ""]
        lines += classes.markdown()
        lines += [
            "",
            *(line for name, alt in VARIANT_FIGURES for line in [picture(f"{row.variant.name}-{name}", alt)] if line),
        ]
    return "\n".join(lines) + "\n"


# The name and the description of each figure of a variant.
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
        "learned": row.first.n_trained,
        "parameters": row.first.n_parameters,
        **{key: row.seed_range(number).mean for key, number in METRICS.items()},
        "range": {key: list(row.seed_range(number)[1:]) for key, number in METRICS.items()},
        "trials": [_trial_json(trial) for trial in row.trials],
    }


def _trial_json(trial: Trial) -> dict[str, Any]:
    return {
        "seed": trial.seed,
        "run": str(trial.run),
        "seconds": trial.seconds,
        "epochs": trial.epochs,
        **trial.evaluation.to_json(),
    }


# The metrics in figures that rank the variants: key, column of the table, heading, whether the value is a fraction.
RANKED_METRICS = (
    ("accuracy", 1, "Accuracy, higher is better", True),
    ("macro_f1", 2, "Macro F1, higher is better", True),
    ("ece", 3, "Calibration error (ECE), lower is better", True),
    ("seconds", 5, "Training time, in seconds", False),
)


def _ranking_figures(comparison: VariantComparison) -> list[FigurePart]:
    table_rows, figures = [table_row(row) for row in comparison.rows], []
    for key, column, title, is_fraction in RANKED_METRICS:
        scale = 100 if is_fraction else 1
        dots: list[Dot] = []
        for row in comparison.rows:
            metric_range = row.seed_range(METRICS[key])
            text = percent_range(metric_range).split("(")[0].strip() if is_fraction else duration(metric_range.mean)
            dots.append(
                Dot(
                    row.variant.title,
                    scale * metric_range.mean,
                    scale * metric_range.low,
                    scale * metric_range.high,
                    text,
                )
            )
        plot = ranking(title, dots, COLOURS, logarithmic=not is_fraction)
        if plot is not None:
            figures.append(
                FigurePart(key, plot, f"{title}: {', '.join(f'{cells[0]} {cells[column]}' for cells in table_rows)}")
            )
    return figures


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


def page(comparison: VariantComparison) -> Page:
    """Return the page of a comparison."""
    rows, best = comparison.rows, best_row(comparison.rows)
    title, n_missing = f"Ways to train, compared: {comparison.data}", comparison.n_planned - len(rows)
    missing_text = (
        f"{n_missing} of {comparison.n_planned} variants are not trained yet; the command at the end continues."
    )
    results = [
        (f"best accuracy, {best.variant.title}", percent(best.seed_range(METRICS["accuracy"]).mean)),
        ("its macro F1", percent(best.seed_range(METRICS["macro_f1"]).mean)),
        ("held-out pictures", f"{comparison.n_test:,}"),
        ("training in all", duration(comparison.seconds)),
    ]
    result = [
        finding_text(comparison),
        FigureRow(_ranking_figures(comparison)),
        table(comparison),
        Facts(GLOSSARY, "What the columns mean"),
    ]
    header = ("key", *(row.variant.title for row in rows))
    differing_keys = differences(comparison)
    sections = [
        Section("result", "Result", result, wide=True),
        Section("time", "Accuracy by time", _by_time(comparison), wide=True),
        *(_variant_section(row, COLOURS[k % len(COLOURS)]) for k, row in enumerate(rows)),
        Section("differences", "What differs", [
            "All keys in which the recipes differ; a dash where a recipe does not have a key.",
            TablePart("Settings of each variant", header, differing_keys, (), wrap=True),
        ] if differing_keys else [Missing("The recipes do not differ.")], wide=True),
        Section("again", "Reproduce", [REPRODUCTION_NOTE, CodeBlock(comparison.command)], wide=True),
    ]  # fmt: skip
    return Page(title, sections, setting_text(comparison), results, [Missing(missing_text)] if n_missing else ())


REPRODUCTION_NOTE = (
    "The same command on the same kind of machine gives the same weights, bit by bit; only times vary. What is "
    "finished is not trained again."
)


def _by_time(comparison: VariantComparison) -> list[SectionPart]:
    rows, part = comparison.rows, comparison.rows[0].first.part
    plot = accuracy_by_time([row.variant.title for row in rows], [row.first.history for row in rows], part)
    end_times = ", ".join(f"{row.variant.title} after {duration(row.first.seconds)}" for row in rows)
    alt = f"Accuracy by seconds of training, on a logarithmic axis: {end_times}"
    figure = FigurePart("time", plot, alt, otherwise="No accuracy was recorded during training.")
    text = (
        f"The accuracy of each variant on the {part} pictures by seconds of training; each point is an epoch. Further "
        "left is faster, higher is better. The time axis is logarithmic."
    )
    return [figure] if plot is None else [text, figure]


def _variant_section(row: VariantRow, colour: str) -> Section:
    trial, evaluation, bins = row.first, row.first.evaluation, row.first.evaluation.reliability
    initial_weights = trial.recipe.start.weights or (
        "whitened filters" if trial.recipe.start.whiten else "random weights"
    )
    facts = Facts([
        *((name, percent_range(row.seed_range(METRICS[key]))) for name, key in
          (("accuracy", "accuracy"), ("macro F1", "macro_f1"), ("ECE", "ece"))),
        ("loss", f"{row.seed_range(METRICS['loss']).mean:.4f}"),
        ("trainable", f"{trial.n_trained:,} of {trial.n_parameters:,} parameters"),
        (f"training, {trial.epochs:,} epochs", duration(row.seed_range(METRICS["seconds"]).mean)),
        ("starts from", initial_weights),
        ("run", str(trial.run)),
    ])  # fmt: skip
    n = len(row.trials)
    seed = f" Pictures and classes are those of seed {trial.seed}, one of {n}." if n > 1 else ""
    confusions = confusions_text(evaluation.confusion.numpy(), evaluation.classes)
    figure_titles = dict(VARIANT_FIGURES)

    def figure(name: str, drawing: Figure | None, alt: str, caption: str = "") -> FigurePart:
        otherwise = f"There is no picture “{figure_titles[name]}”: nothing was recorded for it."
        return FigurePart(f"{row.variant.name}-{name}", drawing, alt, caption, otherwise)

    matrix = confusion_matrix(evaluation.confusion, evaluation.classes)
    fractions = confusion_matrix(evaluation.confusion, evaluation.classes, normalised=True)
    diagram = reliability_diagram(bins.count, bins.confidence, bins.accuracy, evaluation.ece)
    by_class = precision_and_recall(evaluation.classes, evaluation.precision, evaluation.recall)
    calibration_alt = f"Reliability diagram: the expected calibration error is {100 * evaluation.ece:.1f} per cent"
    fractions_alt = "Confusion matrix in per cent of each true class"
    return Section(row.variant.name, row.variant.title, [
        FigureRow([f"{row.variant.about}{seed}", facts]),
        Heading("Learning"),
        FigureRow([
            figure(
                "loss", loss_curves(trial.history, trial.part),
                f"Loss by epoch, in the end {_last_values(row, 'loss')}",
            ),
            figure(
                "accuracy", metric_curves(trial.history, trial.part),
                f"Accuracy by epoch, in the end {_last_values(row, 'accuracy')}",
            ),
        ]),
        Heading("Confusion matrix"),
        confusions,
        FigureRow([
            figure("confusion", matrix, f"Confusion matrix in counts. {confusions}", "Counts."),
            figure("normalised", fractions, fractions_alt, "Per cent of each true class: every row adds up to 100."),
        ]),
        Heading("Class by class"),
        FigureRow([
            figure("classes", by_class, "Precision and recall of each class, as in the table"),
            TablePart(CLASS_CAPTION, CLASS_HEADER, _class_rows(row), foot=True),
        ]),
        FigureRow([
            [Heading("Calibration"), figure("reliability", diagram, calibration_alt, CALIBRATION_CAPTION)],
            [Heading("Misclassified pictures"), mistakes_part(evaluation.mistakes, f"{row.variant.name}-mistakes")],
        ]),
    ], wide=True, colour=colour)  # fmt: skip


CLASS_HEADER = ("class", "precision", "recall", "F1", "n")
CLASS_CAPTION = (
    "Precision: of the pictures predicted as a class, the fraction that belongs to it. Recall: of the pictures of a "
    "class, the fraction predicted as it."
)
CALIBRATION_CAPTION = (
    "The marks across the bars are the accuracy at each confidence; of a calibrated network they lie on the dashed "
    "line. Orange: overconfident. Green: underconfident. Below: the fraction of pictures at each confidence."
)


def _class_rows(row: VariantRow) -> list[tuple[str, ...]]:
    return class_rows(row.first.evaluation.confusion.numpy(), row.first.evaluation.classes)


def _last_values(row: VariantRow, metric: str) -> str:
    last_row = row.first.history[-1] if row.first.history else {}
    value_texts = [
        f"{name} {last_row[key]:.4g}"
        for key, name in ((f"train_{metric}", "training"), (f"val_{metric}", row.first.part))
        if isinstance(last_row.get(key), int | float)
    ]
    return ", ".join(value_texts) or "not recorded"


PAGE_FILE, TABLE_FILE, VALUES_FILE = "comparison.html", "comparison.md", "comparison.json"


def write_comparison(out: str | os.PathLike[str], comparison: VariantComparison) -> Path:
    """Write comparison.html, comparison.md, comparison.json and figures/*.png into a folder; return the page's path.

    Each file is written completely or not at all. Raises PellucidError if a file cannot be written.
    """
    folder = Path(out)
    make_folder(folder)
    report_page = page(comparison)
    figures = report_page.figures

    def link(name: str, alt: str) -> str:
        return f"![{alt}](figures/{name}.png)" if figures.get(name) else ""

    write_atomically(folder / VALUES_FILE, (json.dumps(to_json(comparison), indent=2) + "\n").encode())
    write_atomically(folder / TABLE_FILE, markdown(comparison, link).encode("utf-8"))
    return report_page.write(folder / PAGE_FILE)
