"""The page of data as a value: text, HTML and JSON."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pellucid.base.brief import screen_repr
from pellucid.base.text import plural, table
from pellucid.recipe.data_page.copies import Copy
from pellucid.recipe.data_page.part import DataPart
from pellucid.report.embedded import Embedded
from pellucid.report.figures.series import densities
from pellucid.report.page import render
from pellucid.report.sections import (
    Bullets,
    FigurePart,
    FigureRow,
    Folded,
    Heading,
    ImageRow,
    Legend,
    Page,
    Section,
    SectionPart,
    TablePart,
    TextPairs,
    Warned,
)
from pellucid.task.split_differences import TEST, SplitDifference
from pellucid.task.traits import Traits
from pellucid.task.values import OF_CLASS, DataTrait

MAX_LISTED = 20  # left-out images and copies on the page
MAX_STATED = 8  # differences that are not folded, and left-out images of a part in the text
MAX_ROWS = 20  # classes in the text
ROUNDING = 1e-5  # relative difference of values that are equal but for rounding, which have no histogram
Numbers = dict[str, float]


@dataclass(frozen=True, eq=False)
class DataPage:
    """Data as a network receives them.

    parts: training first. traits: of the examples of all parts, in their order. target_trait_names: the names of those
    of targets. pictures: captions and pictures by part. display: the values that are shown as black and as white.
    """

    name: str
    parts: Sequence[DataPart]
    traits: Traits
    target_trait_names: Sequence[str]
    differences: Sequence[SplitDifference]
    copies: Sequence[Copy]
    pictures: dict[str, list[tuple[str, Embedded]]]
    legend: TextPairs
    display: tuple[float, float]
    is_standardized: bool
    is_augmented: bool
    notes: Sequence[str] = ()
    __repr__ = screen_repr

    @cached_property
    def faults(self) -> list[str]:
        """A sentence for each difference and for the copies of training examples in another part."""
        sentences = [f"{difference}." for difference in self.differences]
        for part in self.parts[1:]:
            count = sum(copy.part == part.name for copy in self.copies)
            n_equal = sum(copy.part == part.name and copy.is_exact for copy in self.copies)
            if count:
                sentences.append(
                    f"{plural(count, f'{part.name} image')} {'is a copy' if count == 1 else 'are copies'} or near "
                    f"{'duplicate' if count == 1 else 'duplicates'} of training images, {n_equal:,} of them equal."
                )
        return sentences

    def of_part(self, name: str) -> dict[str, Numbers]:
        """Return the numbers of each trait over the examples of a part that have it: see `trait_numbers`."""
        start = 0
        for part in self.parts:
            stop = start + len(part.examples)
            if part.name == name:
                return {key: trait_numbers(trait, trait.values[start:stop]) for key, trait in self.traits.items()}
            start = stop
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers of the page as JSON values."""
        return {
            "name": self.name,
            "parts": {part.name: self._part_json(part) for part in self.parts},
            "differences": [
                {"part": difference.part, "trait": difference.trait, "kind": difference.kind,
                 "training": difference.train, "other": difference.other, "p": difference.p, "text": f"{difference}."}
                for difference in self.differences
            ],
            "copies": [copy._asdict() for copy in self.copies],
            "display": list(self.display),
            "standardized": self.is_standardized,
            "augmented": self.is_augmented,
            "test": TEST,
            "notes": [*self.notes],
        }  # fmt: skip

    def tables(self) -> list[tuple[str, list[tuple[str, ...]]]]:
        """Return the tables of the page: the caption, and rows of texts with the head first."""
        of_class_and_captions = [(True, CLASSES), (False, TARGETS), (None, INPUTS)]
        trait_tables = [(caption, self._trait_rows(of_class)) for of_class, caption in of_class_and_captions]
        return [("Parts", self._summary_rows()), *((caption, rows) for caption, rows in trait_tables if len(rows) > 1)]

    def _part_json(self, part: DataPart) -> dict[str, Any]:
        return {
            "examples": part.total,
            "read": len(part.examples),
            "shapes": dict(part.shapes),
            "values": part.values._asdict(),
            "traits": self.of_part(part.name),
            "left_out": [*part.left_out],
        }

    def __str__(self) -> str:
        """Return the numbers as text, without pictures."""
        lines = [self.name, "", *table(self._summary_rows(), range(1, len(self.parts) + 1)), ""]
        class_rows = self._trait_rows(of_class=True)
        lines += table(class_rows[: MAX_ROWS + 1], range(1, len(self.parts) + 1)) if len(class_rows) > 1 else []
        if len(class_rows) > MAX_ROWS + 1:
            lines.append(f"and {len(class_rows) - MAX_ROWS - 1} more")
        for part in self.parts:
            lines += [f"left out of {part.name}: {reason}" for reason in part.left_out[:MAX_STATED]]
        lines += ["", *(f"! {fault}" for fault in self.faults), *([] if self.faults else [NO_FAULTS])]
        return "\n".join([*lines, *self.notes])

    def _repr_html_(self) -> str:
        """Return the page as HTML without scripts, for a notebook."""
        return render("fragment", sections=self.sections())

    def html(self) -> str:
        """Return the page as an HTML document that needs no other file."""
        return Page(self.name, self.sections(), "Data as the network receives them.").html()

    def sections(self) -> list[Section]:
        """Return the page as a section, the first of the reports of runs and of the doctor."""
        return [Section("data", "Data", [*self._page_parts()], wide=True)]

    def _page_parts(self) -> Iterator[SectionPart]:
        yield from map(Warned, self.faults[:MAX_STATED])
        if len(self.faults) > MAX_STATED:
            yield Folded(f"and {len(self.faults) - MAX_STATED} more", [*map(Warned, self.faults[MAX_STATED:])])
        if not self.faults:
            yield NO_FAULTS
        yield from self.notes
        yield from self._examples()
        (_, (head, *rows)), *other_tables = self.tables()
        yield TablePart("", head, rows)
        yield FigureRow([*self._figures()])
        yield from (Folded(caption, [TablePart("", head, rows)]) for caption, (head, *rows) in other_tables)
        yield from (Folded(title, [_bullets(lines)]) for title, lines in self.lists())
        yield Folded("How differences are found", [TEST, COPIES])

    def _examples(self) -> Iterator[SectionPart]:
        """Yield the pictures of all parts side by side, the legend, and what is displayed."""
        columns = [
            [Heading(part.name), ImageRow(part.name, self.pictures[part.name])]
            for part in self.parts
            if self.pictures[part.name]
        ]
        if not columns:
            yield "The inputs are no images, so no examples are drawn."
            return
        yield FigureRow(columns)
        if self.legend:
            yield Legend(self.legend)
        changes = [
            "resized",
            *["augmented (only training)"] * self.is_augmented,
            *["standardized"] * self.is_standardized,
        ]
        low, high = self.display
        yield (
            f"Examples after the data are {', '.join(changes)}; black is the value {low:.3g}, white is {high:.3g}, for "
            "all pictures alike."
        )

    def _summary_rows(self) -> list[tuple[str, ...]]:
        """Return the rows of the table of all parts: names first."""
        rows: list[tuple[str, ...]] = [
            ("", *(part.name for part in self.parts)),
            ("examples", *("unknown" if part.total is None else f"{part.total:,}" for part in self.parts)),
            ("read for this page", *(f"{len(part.examples):,}" for part in self.parts)),
            ("input shape", *(_most_common_shape(part.shapes) for part in self.parts)),
        ]
        if all(part.file_sizes for part in self.parts):
            rows.append(("image files, height x width", *(_size_range(part.file_sizes) for part in self.parts)))
        for label, key in (
            ("smallest value", "low"),
            ("largest value", "high"),
            ("mean", "mean"),
            ("deviation", "std"),
        ):
            rows.append((label, *(f"{getattr(part.values, key):.4g}" for part in self.parts)))
        yes_or_no_traits = [name for name in self.target_trait_names if self.traits[name].values.dtype is torch.bool]
        numbers_by_part = [self.of_part(part.name) for part in self.parts]
        rows += [
            (name, *(f"{numbers[name]['total']:,.0f}" for numbers in numbers_by_part)) for name in yes_or_no_traits
        ]
        if any(part.left_out for part in self.parts):
            rows.append(("left out", *(f"{len(part.left_out):,}" for part in self.parts)))
        return rows

    def _trait_rows(self, of_class: bool | None) -> list[tuple[str, ...]]:
        """Return the head and the rows of a table of traits: of classes, of other targets (False) or inputs (None)."""
        trait_names = [
            name
            for name, trait in self.traits.items()
            if (name in self.target_trait_names and (trait.kind == OF_CLASS) == of_class)
            or (of_class is None and name not in self.target_trait_names)
        ]
        numbers_by_part = [self.of_part(part.name) for part in self.parts]
        header = ("", *(part.name for part in self.parts))
        return [
            header,
            *(
                (name, *(_numbers_text(numbers[name], of_class is True) for numbers in numbers_by_part))
                for name in trait_names
            ),
        ]

    def _figures(self) -> Iterator[FigurePart]:
        values = {part.name: part.sampled_values for part in self.parts}
        sizes = {part.name: part.object_sizes for part in self.parts}
        yield FigurePart(
            "data_values", _histogram(values, "value"), "Histogram of the values that the network receives"
        )
        if all(map(len, sizes.values())):
            label = "square root of the area of a box, pixels"
            yield FigurePart("data_objects", _histogram(sizes, label), "Histogram of the sizes of objects")

    def lists(self) -> list[tuple[str, list[str]]]:
        """Return what was left out of each part, and the copies: a title with the number, and a line for each."""
        lists_by_title = [(f"Left out of {part.name}: {len(part.left_out):,}", [*part.left_out]) for part in self.parts]
        lists_by_title.append((f"Copies of training images: {len(self.copies):,}", [*map(str, self.copies)]))
        return [(title, lines) for title, lines in lists_by_title if lines]


NO_FAULTS = "The parts differ by no more than chance, and share no images among those compared."
COPIES = (
    "Copies: images with equal values, and near duplicates among the images that are read, for images of at least 32 "
    "pixels; uniform images are not compared."
)
NUMBERS = "mean, and in brackets the smallest and the largest"
CLASSES = "Classes: number, or mean share of pixels or labels; in brackets the examples that have the class"
TARGETS, INPUTS = f"Targets: {NUMBERS}", f"Inputs: {NUMBERS}"


def trait_numbers(trait: DataTrait, values: Tensor) -> Numbers:
    """Return count, total, mean, low, high and the number of examples above 0 of values (n,), without NaN."""
    valid_values = values[~values.isnan()].double() if values.is_floating_point() else values.double()
    if not len(valid_values):
        return {"count": 0.0, "total": 0.0, "with": 0.0}
    mean_and_range = {
        "mean": float(valid_values.mean()),
        "low": float(valid_values.min()),
        "high": float(valid_values.max()),
    }
    return {
        "count": float(len(valid_values)),
        "total": float(valid_values.sum()),
        "with": float((valid_values > 0).sum()),
        **mean_and_range,
    }


def _numbers_text(numbers: Numbers, is_of_class: bool) -> str:
    if not numbers["count"]:
        return "none"
    if not is_of_class:
        return f"{numbers['mean']:.3g} ({numbers['low']:.3g} to {numbers['high']:.3g})"
    total = numbers["total"]
    is_count = total == round(total)
    number_text = f"{total:,.0f}" if is_count else f"{100 * numbers['mean']:.1f} %"
    return number_text if is_count and total == numbers["with"] else f"{number_text} ({numbers['with']:,.0f})"


def _most_common_shape(shapes: Any) -> str:
    (shape, _), *other_shapes = shapes.most_common()
    return f"{len(shapes)} shapes, most often {shape}" if other_shapes else shape


def _size_range(sizes: Sequence[tuple[int, int]]) -> str:
    low, high = min(sizes), max(sizes)
    return "x".join(map(str, low)) if low == high else f"{low[0]}x{low[1]} to {high[0]}x{high[1]}"


def _histogram(samples: dict[str, Tensor], label: str) -> Any:
    ranges = [(float(values.min()), float(values.max())) for values in samples.values()]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    are_equal = math.isclose(low, high, rel_tol=ROUNDING)
    return None if are_equal else densities(samples, label, (low, high))


def _bullets(texts: Sequence[str]) -> Bullets:
    more_lines = [f"and {len(texts) - MAX_LISTED:,} more"] if len(texts) > MAX_LISTED else []
    return Bullets([*texts[:MAX_LISTED], *more_lines])
