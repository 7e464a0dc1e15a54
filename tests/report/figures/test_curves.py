"""Figures of a run: their contents, and None where there are no values."""

import io
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.report.figures.classes import confusion_matrix
from pellucid.report.figures.compared import run_curves
from pellucid.report.figures.curves import (
    gradient_norm_curves,
    learning_rate_curve,
    loss_curves,
    metric_curves,
    update_ratio_curves,
)
from pellucid.report.figures.pictures import first_weights, worst_mistakes
from pellucid.report.figures.style import BLUE, CurveEnd, curve_axes, label_ends, panels, png, separate_labels, svg

HISTORY = [
    {"epoch": 1, "lr": 0.5, "train_loss": 2.0, "val_loss": 1.9, "train_accuracy": 0.5, "val_accuracy": 0.6},
    {"epoch": 2, "lr": 0.4, "train_loss": 1.0, "val_loss": 0.8, "train_accuracy": 0.8, "val_accuracy": 0.9},
    {"epoch": 3, "lr": 0.3, "train_loss": 0.5, "val_loss": 0.9, "train_accuracy": 0.9, "val_accuracy": 0.7},
]


def texts(figure: Figure | None) -> list[str]:
    assert figure is not None
    plots = figure.axes
    return [text.get_text() for plot in plots for text in plot.texts]


def ink_fraction(figure: Figure | None) -> float:
    """Return the share of the PNG's pixels that are not white."""
    assert figure is not None
    image = np.asarray(Image.open(io.BytesIO(png(figure))).convert("L"))
    return float((image < 250).mean())


def test_loss_curves_have_labels_with_the_last_and_the_best_value() -> None:
    figure = loss_curves(HISTORY)
    assert figure is not None
    plot = figure.axes[0]
    assert [list(line.get_ydata()) for line in plot.lines][:2] == [[2.0, 1.0, 0.5], [1.9, 0.8, 0.9]]
    assert set(texts(figure)) == {"training 0.5", "validation 0.9\nbest 0.8, epoch 2"}
    assert (plot.get_xlabel(), plot.get_ylabel()) == ("epoch", "loss")
    assert ink_fraction(figure) > 0.01


def test_accuracy_is_in_per_cent_and_its_best_is_the_highest() -> None:
    figure = metric_curves(HISTORY)
    assert set(texts(figure)) == {"training 90 %", "validation 70 %\nbest 90 %, epoch 2"}
    assert figure is not None
    assert figure.axes[0].get_ylabel() == "accuracy (%)"


def test_curves_of_test_images_have_no_ring_at_the_best_value() -> None:
    assert set(texts(loss_curves(HISTORY, val_data="test"))) == {"training 0.5", "test 0.9"}
    assert set(texts(metric_curves(HISTORY, val_data="test"))) == {"training 90 %", "test 70 %"}


@pytest.mark.parametrize("unit", ["", "%"])
def test_negative_values_of_a_metric_are_visible(unit: str) -> None:
    figure = metric_curves([{"epoch": 1, "val_r2": -2.0}, {"epoch": 2, "val_r2": -0.5}], metric="r2", unit=unit)
    assert figure is not None
    plot = figure.axes[0]
    values = np.asarray(plot.lines[0].get_ydata(), dtype=float)
    bottom, top = plot.get_ylim()
    assert bottom < values.min()
    assert values.max() < top


def test_missing_values_are_gaps_and_missing_columns_are_omitted() -> None:
    rows = [{"epoch": 1, "train_loss": 1.0}, {"epoch": 2, "train_loss": None}, {"epoch": 3, "train_loss": math.inf},
            {"epoch": 4, "train_loss": 0.5, "val_loss": ""}]  # fmt: skip
    figure = loss_curves(rows)
    assert figure is not None
    (line,) = figure.axes[0].lines
    assert np.isnan(np.asarray(line.get_ydata(), dtype=float)).tolist() == [False, True, True, False]
    assert line.get_marker() == "o"  # a single value between gaps is only visible with a marker
    assert texts(figure) == ["training 0.5"]


@pytest.mark.parametrize("draw", [loss_curves, metric_curves, learning_rate_curve])
def test_no_figure_without_records(draw: object) -> None:
    assert callable(draw)
    assert draw([]) is None
    assert draw([{"epoch": 1, "train_loss": math.nan, "train_accuracy": None, "lr": ""}]) is None


def test_axes_are_logarithmic_where_values_span_decades() -> None:
    steep = [{"epoch": k, "train_loss": 10.0**-k, "lr": 10.0**-k} for k in range(6)]
    for figure in (loss_curves(steep), learning_rate_curve(steep)):
        assert figure is not None
        assert figure.axes[0].get_yscale() == "log"
    flat = loss_curves(HISTORY)
    assert flat is not None
    assert flat.axes[0].get_yscale() == "linear"
    assert flat.axes[0].get_ylim()[0] == 0


def layer_rows(n_layers: int) -> list[dict[str, object]]:
    return [
        {"epoch": epoch, "path": f"dense{k}.{tensor_name}", "grad_norm": 10.0**-k, "update_ratio": 1e-3 * k}
        for epoch in (1, 2, 3)
        for k in range(1, n_layers + 1)
        for tensor_name in ("weight", "bias")
    ]


def test_each_weight_has_a_curve_and_biases_have_none() -> None:
    figure = gradient_norm_curves(layer_rows(5))
    assert set(texts(figure)) == {f"dense{k}" for k in range(1, 6)}
    assert figure is not None
    assert figure.axes[0].get_yscale() == "log"
    assert len({line.get_color() for line in figure.axes[0].lines}) == 5


def test_update_ratios_have_a_guide_line_at_one_thousandth() -> None:
    figure = update_ratio_curves(layer_rows(3))
    assert "1e-3, a common guide" in texts(figure)
    assert figure is not None
    assert any(set(np.asarray(line.get_ydata(), dtype=float)) == {1e-3} for line in figure.axes[0].lines)


def test_at_most_12_of_60_layers_have_labels_including_first_and_last() -> None:
    labels = texts(gradient_norm_curves(layer_rows(60)))
    assert len(labels) <= 12
    assert {"dense1", "dense60"} <= set(labels)


def test_layers_without_finite_values_have_no_figure() -> None:
    assert gradient_norm_curves([]) is None
    assert gradient_norm_curves([{"epoch": 1, "path": "a.weight", "grad_norm": None}]) is None
    assert update_ratio_curves([{"epoch": 1, "path": "a.weight", "update_ratio": 0.0}]) is None


def test_separated_labels_never_overlap_and_stay_inside() -> None:
    centres = separate_labels([5.0, 5.0, 6.0, 90.0], [12.0, 24.0, 12.0, 12.0], 0.0, 100.0)
    assert all(b - a >= gap for a, b, gap in zip(centres, centres[1:], (18, 18, 12), strict=False))
    assert centres[0] >= 6
    assert centres[-1] <= 94
    crowded = separate_labels([99.0] * 3, [12.0] * 3, 0.0, 100.0)
    assert crowded == [70.0, 82.0, 94.0]


def test_a_confusion_matrix_shows_the_counts_in_its_cells() -> None:
    figure = confusion_matrix([[50, 2], [0, 7]], ["cat", "elephant"])
    assert figure is not None
    plot = figure.axes[0]
    assert {(text.get_position(), text.get_text()) for text in plot.texts} == {
        ((0, 0), "50"), ((1, 0), "2"), ((1, 1), "7"),
    }  # fmt: skip
    assert plot.get_ylim() == (1.5, -0.5)  # the first class is at the top
    assert [label.get_text() for label in plot.get_yticklabels()] == ["cat", "elephant"]


@pytest.mark.slow
def test_a_confusion_matrix_of_fifty_classes_fits_the_page() -> None:
    figure = confusion_matrix(np.eye(50, dtype=int) * 9, [f"class {k}" for k in range(50)])
    assert figure is not None
    assert max(figure.get_size_inches()) < 12
    assert ink_fraction(figure) > 0.01


def test_a_confusion_matrix_of_a_wrong_size_is_refused() -> None:
    assert confusion_matrix([[0, 0], [0, 0]], ["a", "b"]) is None
    with pytest.raises(PellucidError, match=r"shape \(2, 2\), but there are 3 classes"):
        confusion_matrix([[1, 0], [0, 1]], ["a", "b", "c"])


def test_misclassified_images_have_true_and_predicted_class() -> None:
    images = np.linspace(0, 1, 2 * 64).reshape(2, 1, 8, 8)
    assert texts(worst_mistakes(images, ["4", "7"], ["9", "1"], [0.97, math.nan])) == [
        "4 → 9", "97 %", "7 → 1", "no number",
    ]  # fmt: skip
    long_name_texts = texts(worst_mistakes(np.zeros((1, 3, 20, 30)), ["aeroplane"], ["motorbike with rider"], [0.5]))
    assert texts(worst_mistakes(np.zeros((1, 1, 4, 4)), ["a"], ["b"], [3.2])) == ["a → b", "3.20"]
    assert long_name_texts == ["aeroplane", "→ motorbike with…", "50 %"]
    assert worst_mistakes(np.zeros((0, 1, 8, 8)), [], [], []) is None
    with pytest.raises(PellucidError, match="give \\(n, 1 or 3, H, W\\)"):
        worst_mistakes(np.zeros((1, 2, 8, 8)), ["a"], ["b"], [0.5])


def test_the_axis_of_epochs_covers_the_longest_run() -> None:
    eight_epochs = [{"epoch": epoch, "val_loss": 1 / epoch} for epoch in range(1, 9)]
    for histories in ((eight_epochs, eight_epochs[:1]), (eight_epochs[:1], eight_epochs)):
        figure = run_curves(["a", "b"], histories, "loss")
        assert figure is not None
        low, high = figure.axes[0].get_xlim()
        assert (low <= 1, high >= 8) == (True, True)


@pytest.mark.parametrize("shape", [(30, 1, 28, 28), (96, 3, 11, 11), (16, 6, 5, 5), (2, 1, 3, 3)], ids=str)
def test_weights_of_the_first_layer_are_drawn_as_images(shape: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).normal(size=shape)
    figure = first_weights(weights)
    assert figure is not None
    tiles = [image for plot in figure.axes for image in plot.get_images()]
    assert len(tiles) == min(shape[0], 64)
    if shape[1] != 3:
        low, high = tiles[0].get_clim()
        assert low == -high < 0  # zero has the middle colour
        np.testing.assert_allclose(tiles[0].get_array(), weights[0, 0])
    assert ink_fraction(figure) > 0.2


def test_weights_that_cannot_be_drawn_as_images_are_omitted() -> None:
    assert first_weights(np.ones((8, 64, 1, 1))) is None
    assert first_weights(np.full((8, 1, 5, 5), np.nan)) is None
    with pytest.raises(PellucidError, match=r"give \(filters, C, H, W\)"):
        first_weights(np.ones((8, 5)))


def test_an_svg_has_no_external_references_and_inherits_the_text_colour() -> None:
    figure = loss_curves(HISTORY)
    assert figure is not None
    text = svg(figure, "loss")
    assert text.startswith("<svg")
    assert "http" not in text
    assert "currentColor" in text
    assert "training 0.5</text>" in text
    assert svg(figure, "loss") == text  # equal figures give equal bytes


def test_labels_have_the_height_of_the_ends_of_their_curves():
    """The positions are right before matplotlib has computed the limits of the axes."""
    figure, plot = curve_axes("epoch", "accuracy (%)")
    for values in ([95, 94], [90, 92]):
        plot.plot([1, 2], values)
    label_ends(plot, [CurveEnd(2, 94, "high", BLUE), CurveEnd(2, 92, "low", BLUE)])
    annotations = {text.get_text(): text for text in plot.texts if isinstance(text, Annotation)}
    for name, y in (("high", 94), ("low", 92)):
        height = plot.transData.transform((2, y))[1] / figure.dpi * 72
        assert annotations[name].xyann[1] == pytest.approx(height, abs=3)


def test_notebooks_show_a_figure_of_panels():
    figure, plots = panels(3, 2, 1.0, 1.0, 0.1)
    assert len(plots) == 3
    assert figure._repr_png_().startswith(b"\x89PNG")
