"""What happens in each layer over the epochs: gradient norms, and updates against weights."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pellucid.report.figures.style import PALE, End, curve_axes, depth_colours, finite, label_ends, logarithmic

GUIDE = 1e-3  # an update of a thousandth of the weight per step is the usual rule of thumb
LABELS = 12

Rows = Sequence[Mapping[str, Any]]


def gradient_norms(layers: Rows) -> Figure | None:
    """Draw grad_norm of every weight by epoch, coloured from the first layer to the last."""
    return _by_path(layers, "grad_norm", "gradient norm")


def update_ratios(layers: Rows) -> Figure | None:
    """Draw update_ratio of every weight by epoch, with a guide at one thousandth."""
    return _by_path(layers, "update_ratio", "update / weight (rms)", GUIDE)


def _by_path(layers: Rows, key: str, ylabel: str, guide: float | None = None) -> Figure | None:
    paths = list(dict.fromkeys(str(row["path"]) for row in layers))
    weights = [path for path in paths if path.rsplit(".", 1)[-1] == "weight"]
    paths = weights or paths  # biases would only crowd the picture
    series = {
        path: [(finite(r.get("epoch")), finite(r.get(key))) for r in layers if r["path"] == path] for path in paths
    }
    series = {path: points for path, points in series.items() if any(y > 0 for _, y in points)}
    if not series:
        return None
    figure, plot = curve_axes("epoch", ylabel)
    plot.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    labelled = _spaced(list(series), LABELS)
    ends = []
    for (path, points), colour in zip(series.items(), depth_colours(len(series)), strict=True):
        xs, ys = zip(*((x, y if y > 0 else float("nan")) for x, y in points), strict=True)
        (line,) = plot.plot(xs, ys, color=colour, linewidth=1.4, marker="o" if len(xs) < 15 else None, markersize=2.5)
        figure.lines_by_name.append((path.removesuffix(".weight"), line))
        if path in labelled:
            x, y = [(x, y) for x, y in points if y > 0][-1]
            ends.append(End(x, y, _shorten(path), colour))
    if guide is not None:
        plot.axhline(guide, color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    logarithmic(plot)
    if guide is not None:
        ends.append(End(plot.get_xlim()[1], guide, "1e-3, a common guide", PALE))
    label_ends(plot, ends)
    return figure


def _spaced(paths: Sequence[str], most: int) -> set[str]:
    if len(paths) <= most:
        return set(paths)
    return {paths[round(k * (len(paths) - 1) / (most - 1))] for k in range(most)}


def _shorten(path: str, most: int = 26) -> str:
    path = path.removesuffix(".weight")
    if len(path) <= most:
        return path
    tail = path[-most + 1 :]
    return f"…{tail[tail.find('.') + 1 :]}"
