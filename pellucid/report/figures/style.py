"""The style of all figures: colours, axes, labels at the ends of curves, values for tooltips, and files."""

import io
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pellucid.base.text import printable

# Distinguishable for colour-blind readers, on white and on black; after Okabe and Ito 2008.
BLUE, ORANGE, GREEN = "#1a7fc4", "#d55e00", "#009e73"
INK = "#2b2f36"  # text and axes; in a page it becomes the page's own text colour
PALE = "#808691"  # grid and guide lines
DEPTH_COLOUR_MAP = LinearSegmentedColormap.from_list("depth", ["#2f7fd0", "#a05ab8", "#d5602a"])  # first layer to last
FIGURE_WIDTH = 5.8  # inches of a wide figure
DOTS_PER_INCH = 110
SMALL, TEXT = 8.5, 9.5  # font sizes, in points


class CurveEnd(NamedTuple):
    """The end of a curve in data coordinates, with the text and colour of its label."""

    x: float
    y: float
    text: str
    colour: str


class Plot(Figure):
    """A figure that notebooks display without pyplot, with values for tooltips on a page.

    lines_by_name: the curves with tooltips. unit: of their y values. confusion: the classes and the (K, K) counts of a
    confusion matrix. marks: bars and dots with the texts of their tooltips.
    """

    def __init__(self, size: tuple[float, float]) -> None:
        super().__init__(size)
        self.lines_by_name: list[tuple[str, Line2D]] = []
        self.unit = ""
        self.confusion: tuple[Sequence[str], Any] | None = None
        self.marks: list[tuple[Artist, str]] = []

    def _repr_png_(self) -> bytes:
        return png(self)

    def tooltip_values(self) -> dict[str, Any] | None:
        """Return the values for tooltips as JSON values; None if the figure has none.

        box: the plot area (left, top, right, bottom) in fractions of the figure's width and height. lines: name, colour
        and points (left, top, x, y) of each curve. names, counts: classes and counts of a confusion matrix. marks:
        left, top, right, bottom and text of each mark.
        """
        if self.marks:
            return {"box": [0, 0, 1, 1], "marks": [[*self._extent(mark), printable(text)] for mark, text in self.marks]}
        if not self.lines_by_name and self.confusion is None:
            return None
        plot = self.axes[0]
        (low, high), (bottom, top) = plot.get_xlim(), plot.get_ylim()
        values: dict[str, Any] = {
            "box": [*self._figure_fractions(plot, low, top), *self._figure_fractions(plot, high, bottom)]
        }
        if self.confusion is not None:
            names, counts = self.confusion
            return {**values, "names": [printable(name) for name in names], "counts": counts.tolist()}
        values |= {"x": plot.get_xlabel(), "unit": " %" if self.unit == "%" else "", "lines": []}
        for name, line in self.lines_by_name:
            pairs = np.asarray(line.get_xydata(), dtype=np.float64).tolist()
            points = [
                [*self._figure_fractions(plot, x, y), float(f"{x:.6g}"), float(f"{y:.6g}")]
                for x, y in pairs
                if math.isfinite(x) and math.isfinite(y)
            ]
            values["lines"].append({"name": printable(name), "colour": to_hex(line.get_color()), "points": points})
        return values

    def _extent(self, mark: Artist) -> tuple[float, float, float, float]:
        """Return the left, top, right and bottom of a bar or dot in fractions of the figure."""
        if mark.axes is not None:
            mark.axes.autoscale_view()  # matplotlib delays it until limits are read
        box = mark.get_window_extent().transformed(self.transFigure.inverted())
        left, bottom, right, top = (round(float(edge), 4) for edge in box.extents)
        return left, round(1 - top, 4), right, round(1 - bottom, 4)

    def _figure_fractions(self, plot: Axes, x: float, y: float) -> tuple[float, float]:
        """Convert data coordinates to fractions of the figure, from its left and its top."""
        x_fraction, y_fraction = self.transFigure.inverted().transform(plot.transData.transform((x, y)))
        return round(float(x_fraction), 4), round(1 - float(y_fraction), 4)


def single_plot(width: float, height: float, margins: tuple[float, float, float, float]) -> tuple[Plot, Axes]:
    """Return a figure of `width` by `height` inches with one plot inside (left, bottom, right, top) margins."""
    left, bottom, right, top = margins
    figure = Plot((width, height))
    plot = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )
    style_axes(plot)
    return figure, plot


def style_axes(plot: Axes) -> None:
    """Give a plot a transparent background and grey axes on the left and below."""
    plot.set_facecolor("none")
    for side, spine in plot.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(PALE)
    plot.tick_params(colors=INK, labelsize=SMALL, color=PALE, length=3)


def picture_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add a plot for an image, at a position in inches, with a grey frame and no ticks."""
    figure_width, figure_height = figure.get_size_inches()
    plot = figure.add_axes((left / figure_width, bottom / figure_height, width / figure_width, height / figure_height))
    plot.set_xticks([])
    plot.set_yticks([])
    for spine in plot.spines.values():
        spine.set_color(PALE)
        spine.set_linewidth(0.5)
    return plot


def panels(
    n_panels: int, columns: int, width: float, height: float, gap: float,
    name_height: float = 0.0, below: float = 0.0, top: float = 0.0, left: float | None = None, right: float = 0.0,
    foot: float = 0.0,
) -> tuple[Plot, list[Axes]]:  # fmt: skip
    """Return a figure with `n_panels` plots for images, in rows of at most `columns`; all sizes are in inches.

    width, height: size of an image. name_height, below: space above and below each image. top, left, right, foot:
    margins of the figure.
    """
    left, row_height = gap if left is None else left, name_height + height + below + gap
    n_rows, n_columns = math.ceil(n_panels / columns), min(n_panels, columns)
    size = (left + n_columns * (width + gap) + right, top + n_rows * row_height + foot)
    figure, plots = Plot(size), list[Axes]()
    for k in range(n_panels):
        row, column = divmod(k, columns)
        bottom = size[1] - top - row * row_height - name_height - height
        plots.append(picture_axes(figure, left + column * (width + gap), bottom, width, height))
    return figure, plots


def pixels(image: Any) -> Any:
    """Return an image (1 or 3, H, W) in matplotlib's layout, (H, W) or (H, W, 3), clipped to 0..1."""
    clipped = np.clip(np.asarray(image, dtype=np.float64), 0, 1)
    return clipped[0] if len(clipped) == 1 else np.moveaxis(clipped, 0, -1)


def show_image(plot: Axes, picture: Any) -> None:
    """Draw a grey (H, W) or colour (H, W, 3) image with values 0..1, without interpolation."""
    plot.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="none")


def truncate(name: str, max_length: int = 16) -> str:
    """Return a name, truncated to at most `max_length` characters."""
    return name if len(name) <= max_length else f"{name[: max_length - 1]}…"


def light_grid(plot: Axes) -> None:
    """Draw a light grid behind the data."""
    plot.grid(True, color=PALE, alpha=0.25, linewidth=0.6)
    plot.set_axisbelow(True)


def curve_axes(xlabel: str, ylabel: str, unit: str = "") -> tuple[Plot, Axes]:
    """Return a wide plot with a light grid and room on the right for labels; unit: of the y values."""
    figure, plot = single_plot(FIGURE_WIDTH, 3.1, (0.92, 0.55, 1.95, 0.2))
    light_grid(plot)
    figure.unit = unit
    plot.set_xlabel(xlabel, color=INK, fontsize=TEXT)
    # The distance leaves room for tick labels that a page enlarges on a narrow screen.
    plot.set_ylabel(f"{ylabel} ({unit})" if unit else ylabel, color=INK, fontsize=TEXT, labelpad=10)
    return figure, plot


def label_ends(plot: Axes, ends: Sequence[CurveEnd]) -> None:
    """Label each curve on the right of the plot, at the height of its end, shifted where labels would overlap.

    Call it when the limits of both axes are final. A line connects each label with its curve.
    """
    if not ends:
        return
    plot.autoscale_view()  # matplotlib delays it until limits are read, but the heights below need them
    figure = plot.get_figure(root=True)
    assert figure is not None
    pixels_per_point = figure.dpi / 72
    box = plot.get_window_extent()
    positions = [plot.transData.transform((end.x, end.y)) for end in ends]
    heights = [float(y) / pixels_per_point for _, y in positions]
    order = sorted(range(len(ends)), key=lambda k: heights[k])
    label_heights = [12.0 * (1 + ends[k].text.count("\n")) for k in order]  # 12 points a line
    centres = separate_labels(
        [heights[k] for k in order], label_heights, box.y0 / pixels_per_point, box.y1 / pixels_per_point
    )
    right = box.x1 / pixels_per_point
    for k, centre in zip(order, centres, strict=True):
        end, is_moved = ends[k], abs(centre - heights[k]) > 3
        is_long = box.x1 - positions[k][0] > box.width / 2  # dotted, so that it is not read as a part of the curve
        plot.annotate(
            end.text,
            xy=(end.x, end.y),
            xytext=(right + 14, centre),
            textcoords=("figure points", "figure points"),
            color=end.colour,
            fontsize=SMALL if len(end.text) <= 22 or "\n" in end.text else SMALL - 1,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": end.colour, "linewidth": 0.6, "alpha": 0.7 if is_moved else 0.35,
                "linestyle": (0, (1, 4)) if is_long else "solid",
                "shrinkA": 1, "shrinkB": 2, "relpos": (0, 0.5),
            },
        )  # fmt: skip


def separate_labels(preferred: Sequence[float], heights: Sequence[float], lowest: float, highest: float) -> list[float]:
    """Return the centres of labels with heights `heights`, near `preferred`, without overlap.

    preferred: centres in ascending order. The result is ascending too, and within low..high if the labels fit there.
    """
    centres: list[float] = []
    lower_bound = lowest
    for position, label_height in zip(preferred, heights, strict=True):
        centres.append(max(position, lower_bound + label_height / 2))
        lower_bound = centres[-1] + label_height / 2
    upper_bound = max(highest, lowest + sum(heights))
    for k in reversed(range(len(centres))):
        centres[k] = min(centres[k], upper_bound - heights[k] / 2)
        upper_bound = centres[k] - heights[k] / 2
    return centres


def set_log_scale(plot: Axes) -> None:
    """Set a logarithmic y axis; a range below two decades is extended to whole decades, whose ticks have labels."""
    with np.errstate(over="ignore"):  # the limits of the axis may be beyond the largest number
        plot.set_yscale("log")
    low, high = plot.get_ylim()
    if high < 100 * low:
        low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        plot.set_ylim(low, high)
    plot.yaxis.set_major_locator(LogLocator(numticks=8))
    plot.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    plot.yaxis.set_minor_formatter(NullFormatter())


def depth_colours(n_colours: int) -> list[str]:
    """Return `n_colours` colours for layers, from the first to the last."""
    return [to_hex(DEPTH_COLOUR_MAP(k / max(n_colours - 1, 1))) for k in range(n_colours)]


def finite_or_nan(value: Any) -> float:
    """Return a number from a row of a table; missing and infinite values become NaN, which is not drawn."""
    if value is None or value == "":
        return math.nan
    number = float(value)
    return number if math.isfinite(number) else math.nan


def short_number(value: float) -> str:
    """Return a number as text: three significant digits, or an integer from 1000 on."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def figure_bytes(figure: Figure, canvas: type[FigureCanvasBase], rc_params: dict[Any, Any], **options: Any) -> bytes:
    """Return the figure as the bytes of a file in the canvas's format; all figures are drawn by this function.

    Texts are literal, without mathtext and TeX; unprintable characters are escaped. rc_params: additional rcParams
    of matplotlib. options: arguments of savefig.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set(parse_math=False, usetex=False, text=printable(text.get_text(), keep="\n"))
    for axis in figure.findobj(Axis):
        assert isinstance(axis, Axis)
        formatter = axis.get_major_formatter()
        if isinstance(formatter, FuncFormatter):  # tick labels, which are formatted only when drawn
            formatter.func = partial(_printable_tick, formatter.func)
    buffer = io.BytesIO()
    canvas(figure)
    with rc_context({"text.parse_math": False, "text.usetex": False, **rc_params}):
        figure.savefig(buffer, **options)
    return buffer.getvalue()


def _printable_tick(format_tick: Callable[..., str], *position: Any) -> str:
    return printable(format_tick(*position))


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG with a white background."""
    return figure_bytes(figure, FigureCanvasAgg, {}, format="png", dpi=DOTS_PER_INCH, facecolor="white")


def svg(figure: Figure, name: str) -> str:
    """Return the figure as an <svg> element for a page: transparent, with INK replaced by the page's text colour.

    name: a text from which ids in the element are derived; it must differ for each figure of a page.
    """
    no_metadata = {"Creator": None, "Date": None, "Format": None, "Type": None}
    svg_bytes = figure_bytes(
        figure, FigureCanvasSVG, {"svg.fonttype": "none", "svg.hashsalt": name}, format="svg", dpi=2 * 72,
        transparent=True, metadata=no_metadata,
    )  # fmt: skip
    text = svg_bytes.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s+xmlns(:\w+)?=\"[^\"]*\"", "", text).replace("xlink:href", "href")
    text = re.sub(r" id=\"[\w.]+_\d+\"", "", text)  # ids such as axes_1 occur in every figure
    text = re.sub(r' width="([\d.]+)pt" height="[\d.]+pt"', _responsive_width, text, count=1)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    return re.sub(INK, "currentColor", text, flags=re.IGNORECASE)


def _responsive_width(size: re.Match[str]) -> str:
    """Return a style that scales the figure with its column, within limits that keep text readable."""
    points = float(size[1])
    return f' style="min-width:min({0.68 * points:.0f}pt, 100%);max-width:{1.3 * points:.0f}pt"'


def figure_file(figure: Figure, suffix: str) -> bytes:
    """Return the figure as a standalone file: SVG for the suffix ".svg", else PNG."""
    if suffix != ".svg":
        return png(figure)
    rc_params = {"svg.fonttype": "none", "svg.hashsalt": "pellucid"}  # reproducible bytes
    return figure_bytes(figure, FigureCanvasSVG, rc_params, format="svg", facecolor="white", metadata={"Date": None})
