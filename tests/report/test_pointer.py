"""Tooltips of figures: the same positions and values as in the picture."""

import json
import math
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from pellucid.recipe.run_report import ReportData, write_report
from pellucid.recipe.run_report.classes import class_sections
from pellucid.report.figures.classes import confusion_matrix
from pellucid.report.figures.compared import Dot, accuracy_by_time, ranking, run_curves
from pellucid.report.figures.curves import loss_curves, metric_curves
from pellucid.report.figures.grids import bar_panels
from pellucid.report.figures.style import Plot, curve_axes, svg
from pellucid.report.page import render

HISTORY = [
    {"epoch": k, "train_loss": 3.0 / k, "val_loss": None if k == 2 else 2.5 / k, "train_accuracy": 1 - 0.4 / k,
     "val_accuracy": 1 - 0.5 / k, "seconds": 2.0 * k}
    for k in (1, 2, 3, 4)
]  # fmt: skip


def svg_paths(figure: Plot) -> list[list[tuple[float, float]]]:
    """Return the points of every line in the SVG as fractions of its width and height."""
    text = svg(figure, "x")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert box is not None
    width, height = map(float, box.groups())
    return [
        [(float(x) / width, float(y) / height) for x, y in re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path)]
        for path in re.findall(r'<path d="([^"]*)"', text)
    ]


@pytest.mark.parametrize("draw", [loss_curves, metric_curves])
def test_tooltip_positions_equal_those_of_matplotlibs_lines(draw: object) -> None:
    assert callable(draw)
    figure = draw(HISTORY)
    paths, values = svg_paths(figure), figure.tooltip_values()
    assert [line["name"] for line in values["lines"]] == ["training", "validation"]
    for line in values["lines"]:
        positions = [tuple(point[:2]) for point in line["points"]]
        assert any(
            all(any(math.dist(position, point) < 5e-4 for point in path) for position in positions)
            for path in paths
            if path
        )
    left, top, right, bottom = values["box"]
    assert 0 < left < right < 1
    assert 0 < top < bottom < 1


def test_tooltip_values_equal_those_of_the_history() -> None:
    figure = loss_curves(HISTORY)
    assert isinstance(figure, Plot)
    values = figure.tooltip_values()
    assert values is not None
    assert (values["x"], values["unit"]) == ("epoch", "")
    assert [point[2:] for point in values["lines"][0]["points"]] == [[1, 3], [2, 1.5], [3, 1], [4, 0.75]]
    assert [point[2:] for point in values["lines"][1]["points"]] == [[1, 2.5], [3, 0.833333], [4, 0.625]]
    time_figure = accuracy_by_time(["a"], [HISTORY])
    assert isinstance(time_figure, Plot)
    time_values = time_figure.tooltip_values()
    assert time_values is not None
    assert time_values["unit"] == " %"
    assert [point[2:] for point in time_values["lines"][0]["points"]] == [
        [2, 50],
        [6, 75],
        [12, 83.3333],
        [20, 87.5],
    ]


def test_tooltips_of_a_confusion_matrix_have_counts_and_full_names() -> None:
    long_name = "a class whose name is far too long for an axis \x1b"
    figure = confusion_matrix([[5, 2], [0, 7]], [long_name, "b"])
    assert isinstance(figure, Plot)
    values = figure.tooltip_values()
    assert values is not None
    assert values["counts"] == [[5, 2], [0, 7]]
    assert values["names"] == [long_name.replace("\x1b", "\\x1b"), "b"]
    left, top, right, bottom = values["box"]
    points = [point for path in svg_paths(figure) for point in path]  # including the lines of the frame
    for corner in ((left, top), (right, top), (left, bottom), (right, bottom)):
        assert min(math.dist(corner, point) for point in points) < 5e-4


def test_tooltips_of_dots_and_bars_are_where_these_are_drawn() -> None:
    figure = ranking("Accuracy", [Dot("a", 1.0, 0.5, 2.0, "1.00"), Dot("b\x1b", 2.0, 2.0, 2.0, "2.00")])
    assert isinstance(figure, Plot)
    values = figure.tooltip_values()
    assert values is not None
    assert [mark[4] for mark in values["marks"]] == ["a: 1.00, from 0.5 to 2", "b\\x1b: 2.00"]
    points = [point for path in svg_paths(figure) for point in path]
    for left, top, right, bottom, _ in values["marks"]:
        assert any(left < x < right and top < y < bottom for x, y in points)

    bars = bar_panels({"x": (3.0, 10.0), "y": (6.0, 5.0)}, ("weights", "sums"))
    values = bars.tooltip_values()
    assert values is not None
    texts = [mark[4] for mark in values["marks"]]
    assert texts == ["x: 3 weights", "y: 6 weights", "x: 10 sums", "y: 5 sums"]
    (x_left, x_top, x_right, x_bottom, _), (y_left, y_top, y_right, _, _), *_ = values["marks"]
    assert x_left == y_left
    assert y_right - y_left == pytest.approx(2 * (x_right - x_left), abs=2e-4)
    assert x_top < x_bottom < y_top


def test_a_figure_without_values_has_no_tooltips() -> None:
    figure, _ = curve_axes("epoch", "loss")
    assert figure.tooltip_values() is None


def test_both_curves_of_a_run_have_the_same_colour() -> None:
    figure = run_curves(["a", "b"], [HISTORY, HISTORY[:2]], "accuracy")
    assert isinstance(figure, Plot)
    values = figure.tooltip_values()
    assert values is not None
    colours = {line["name"]: line["colour"] for line in values["lines"]}
    assert colours["a, held out"] == colours["a, training"] != colours["b, held out"] == colours["b, training"]
    assert [point[3] for point in values["lines"][0]["points"]] == pytest.approx([50, 75, 83.3333, 87.5])
    assert {text.get_text() for text in figure.axes[0].texts} == {"a 87.5 %", "b 75 %"}
    assert run_curves(["a"], [[{"epoch": 1, "val_loss": None}]], "loss") is None


def test_a_page_has_the_tooltip_values_as_json(tmp_path: Path) -> None:
    data = ReportData(
        "r", "c", history=HISTORY, metrics={"loss": 1.0},
        sections=class_sections(np.array([[5, 2], [0, 7]]), ('"<x>', "b")),
    )  # fmt: skip
    text = write_report(tmp_path, data).read_text(encoding="utf-8")
    tooltips = [json.loads(unescape(values)) for values in re.findall(r'data-values="([^"]*)"', text)]
    assert [line["name"] for line in tooltips[0]["lines"]] == ["training", "validation"]
    assert tooltips[2]["names"] == ['"<x>', "b"]


def test_a_missing_variable_of_a_template_raises_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        render("table", caption="x", head=("a",), rows=())


@pytest.mark.parametrize(
    ("label", "unit", "expected"), [("odds (%)", "", ""), ("share", "%", " %"), ("PSNR", "dB", "")]
)
def test_the_unit_of_tooltips_is_that_of_the_plot_and_not_read_from_its_label(
    label: str, unit: str, expected: str
) -> None:
    figure, plot = curve_axes("epoch", label, unit)
    (line,) = plot.plot([1, 2], [3, 4])
    figure.lines_by_name.append(("line", line))
    values = figure.tooltip_values()
    assert values is not None
    assert values["unit"] == expected
