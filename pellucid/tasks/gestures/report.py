"""The report of a comparison: one HTML page, its figures, and its table as text, Markdown and JSON."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.base.files import write_atomically
from pellucid.base.text import percent, plural
from pellucid.recipe.checked.collection import Collection
from pellucid.recipe.checked.findings import findings_to_json, unreadable_text
from pellucid.recipe.compare import RunComparison, read_run, run_sections
from pellucid.recipe.run_report.page import duration
from pellucid.report.figures.classes import reliability_diagram
from pellucid.report.figures.compared import RUN_COLOURS, Dot, ranking
from pellucid.report.sections import CodeBlock, Facts, FigurePart, FigureRow, Legend, Missing, Page, Section, TablePart
from pellucid.tasks.comparison import Comparison
from pellucid.tasks.gestures.comparison import VariantRow

PAGE_FILE, TABLE_FILE = "comparison.html", "comparison.md"
TABLE_HEADER = ("variant", "accuracy", "macro F1", "ECE", "per image", "training", "trainable")
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
# The metrics in figures that rank the variants: heading, and whether the value is a fraction.
RANKED_METRICS = {
    "accuracy": ("Accuracy, higher is better", True),
    "macro_f1": ("Macro F1, higher is better", True),
    "ece": ("Calibration error (ECE), lower is better", True),
    "seconds": ("Training time, in seconds", False),
}
REPRODUCTION_NOTE = (
    "The same command on the same kind of machine gives the same weights, bit by bit; only times vary. What is "
    "finished is not trained again."
)
CALIBRATION_CAPTION = (
    "The marks across the bars are the accuracy at each confidence; of a calibrated network they lie on the dashed "
    "line. Orange: overconfident. Green: underconfident. Below: the fraction of pictures at each confidence."
)


@dataclass(frozen=True, eq=False)
class VariantComparison(Comparison):
    """The variants trained so far on the same pictures.

    n_planned: the number of all variants. backbone: see `compare`. network: its name, as in a recipe. data: the name of
    the data. n_train, n_test: the numbers of pictures. command: the command that repeats the comparison. collection:
    the contents of the user's own folder, None for a data set.
    """

    rows: tuple[VariantRow, ...]
    n_planned: int
    backbone: str
    network: str
    size: tuple[int, ...]  # (C, H, W) of an image
    data: str
    n_train: int
    n_test: int
    classes: tuple[str, ...]
    command: str
    collection: Collection | None

    @property
    def seconds(self) -> float:
        """The total time of all trainings."""
        return sum(trial.values["seconds"] for row in self.rows for trial in row.trials)

    @property
    def best(self) -> VariantRow:
        """The variant with the highest mean accuracy; among equal ones, with the highest mean macro F1."""
        return max(self.rows, key=lambda row: (row.seed_range("accuracy").mean, row.seed_range("macro_f1").mean))

    def to_json(self) -> dict[str, Any]:
        """Return all results as JSON values."""
        return {
            "data": self.data,
            "backbone": self.backbone,
            "network": self.network,
            "size": list(self.size),
            "n_train": self.n_train,
            "n_test": self.n_test,
            "classes": list(self.classes),
            "command": self.command,
            "complete": len(self.rows) == self.n_planned,
            "seconds": round(self.seconds, 3),
            "best": self.best.variant.name,
            "collection": None if self.collection is None else findings_to_json(self.collection),
            "variants": [row.to_json() for row in self.rows],
        }

    def table(self) -> TablePart:
        """Return a row for each variant: the mean of each metric over the seeds, and its range if they differ."""
        threads = plural(self.rows[0].first.values["latency_threads"], "thread")
        caption = f"On {self.n_test:,} held-out pictures; times per image on {threads} of the CPU."
        cells = [
            (
                row.variant.title,
                *(row.seed_range(metric).percent for metric in ("accuracy", "macro_f1", "ece")),
                f"{row.seed_range('latency_ms').mean:.2f} ms",
                duration(row.seed_range("seconds").mean),
                f"{row.first.n_trained:,}",
            )
            for row in self.rows
        ]
        return TablePart(caption, TABLE_HEADER, cells)

    def lines(self) -> list[str]:
        """Return the lines above the table in a terminal."""
        return [""]

    def setting(self) -> str:
        """Return the settings that all variants share, as text."""
        channels, height, width = self.size
        seeds = len(self.rows[0].trials)
        n_corrupt = 0 if self.collection is None else len(self.collection.corrupt)
        skipped = f" {unreadable_text(n_corrupt)}." if n_corrupt else ""
        seeds_text = f" Each was trained with {seeds} seeds; the values are means." if seeds > 1 else ""
        return (
            f"One network, {self.network} with {self.rows[0].first.n_parameters:,} weights, {self.n_train:,} training "
            f"pictures of {len(self.classes)} classes at {height} x {width} in "
            f"{'colour' if channels == 3 else 'grey'}, and {self.n_test:,} other pictures for the evaluation. Only the "
            f"way of training differs. The backbone is {self.backbone}.{seeds_text}{skipped}"
        )

    def finding(self) -> str:
        """Return a sentence that compares the best variant with the worst."""
        best = self.best
        pictures = f"{self.n_test:,} held-out pictures"
        text = f"“{best.variant.title}” is right on {best.seed_range('accuracy').percent} of the {pictures}"
        worst = min(self.rows, key=lambda row: row.seed_range("accuracy").mean)
        if worst is best:
            return f"{text}."
        decimals = 0 if len(best.trials) == 1 else 1
        n_best, n_worst = (f"{row.seed_range('misread').mean:.{decimals}f}" for row in (best, worst))
        return (
            f"{text}, “{worst.variant.title}” on {worst.seed_range('accuracy').percent}: {n_best} misclassified in "
            f"place of {n_worst}."
        )

    def markdown(self) -> str:
        """Return the table, and the description and the run folder of each variant."""
        lines = ["# Comparison of ways to train", "", self.setting(), "", self.finding(), "", *self.table().markdown()]
        lines += ["", f"{self.table().caption} All trainings together: {duration(self.seconds)}."]
        lines += [f"Made by `{self.command}`."]
        for row in self.rows:
            lines += ["", f"## {row.variant.title}", "", row.variant.about, "", f"Run: `{row.first.run}`"]
        return "\n".join(lines) + "\n"

    def page_or_figure(self, command: str) -> Page:
        """Return the page: the table, its figures, and the runs with the first seed side by side."""
        best, n_missing = self.best, self.n_planned - len(self.rows)
        results = [
            (f"best accuracy, {best.variant.title}", percent(best.seed_range("accuracy").mean)),
            ("its macro F1", percent(best.seed_range("macro_f1").mean)),
            ("held-out pictures", f"{self.n_test:,}"),
            ("training in all", duration(self.seconds)),
        ]
        titles = [row.variant.title for row in self.rows]
        abouts = [(row.variant.title, f"{row.variant.about} Run: {row.first.run}") for row in self.rows]
        result_parts = [
            self.finding(),
            FigureRow(self._ranking_figures()),
            self.table(),
            Facts(GLOSSARY, "What the columns mean"),
        ]
        sections = [
            Section("result", "Result", result_parts, wide=True),
            Section("variants", "Variants", [Facts(abouts)], wide=True),
            Section("calibration", "Calibration", [self._calibration_figures(), CALIBRATION_CAPTION], wide=True),
            *run_sections(RunComparison(titles, [read_run(row.first.run) for row in self.rows])),
            Section("again", "Reproduce", [REPRODUCTION_NOTE, CodeBlock(command)], wide=True),
        ]
        missing_text = (
            f"{n_missing} of {self.n_planned} variants are not trained yet; the command at the end continues."
        )
        legend = Legend(list(zip(titles, RUN_COLOURS, strict=False)))
        header = [legend, Missing(missing_text)] if n_missing else [legend]
        return Page(f"Ways to train, compared: {self.data}", sections, self.setting(), results, header)

    def _ranking_figures(self) -> list[FigurePart]:
        figures: list[FigurePart] = []
        for metric, (title, is_fraction) in RANKED_METRICS.items():
            scale = 100 if is_fraction else 1
            dots: list[Dot] = []
            for row in self.rows:
                mean, low, high = row.seed_range(metric)
                text = f"{100 * mean:.2f} %" if is_fraction else duration(mean)
                dots.append(Dot(row.variant.title, scale * mean, scale * low, scale * high, text))
            alt = f"{title}: {', '.join(f'{dot.name} {dot.text}' for dot in dots)}"
            figures.append(FigurePart(metric, ranking(title, dots, RUN_COLOURS, logarithmic=not is_fraction), alt))
        return figures

    def _calibration_figures(self) -> FigureRow:
        figures: list[FigurePart] = []
        for row in self.rows:
            values = row.first.values
            diagram = reliability_diagram(**values["reliability"], error=values["ece"])
            text = f"{row.variant.title}: expected calibration error {100 * values['ece']:.1f} per cent."
            figures.append(FigurePart(f"{row.variant.name}-reliability", diagram, f"Reliability diagram. {text}", text))
        return FigureRow(figures)


def write_comparison(out: str | os.PathLike[str], comparison: VariantComparison) -> None:
    """Write comparison.html, comparison.md, comparison.json and figures/*.png into a folder.

    Each file is written completely or not at all. Raises PellucidError if a file cannot be written.
    """
    comparison.write(Path(out), comparison.command)
    write_atomically(Path(out) / TABLE_FILE, comparison.markdown().encode("utf-8"))
