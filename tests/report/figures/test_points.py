"""Elements of figures in the plane: points, regions, level lines and arrows."""

import numpy as np
from matplotlib.colors import to_rgb

from pellucid.report.figures import plane
from pellucid.report.figures.series import COLOURS, plots_in_rows
from pellucid.report.figures.style import png

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def test_points_have_the_colours_of_their_classes():
    _, (plot,) = plots_in_rows(["points"], 1)
    plane.scatter(plot, CORNERS, [0, 1, 1, 0])
    shades = plot.collections[0].get_facecolors()[:, :3].tolist()
    assert shades == [list(to_rgb(COLOURS[k])) for k in (0, 1, 1, 0)]


def test_regions_and_levels_follow_the_function():
    figure, (plot,) = plots_in_rows(["regions"], 1)
    plane.regions(plot, lambda grid: (grid[:, 0] > 0.5).astype(int), CORNERS, 2)
    classes = np.asarray(plot.collections[0].get_array()).reshape(plane.FINE_GRID_SIDE, plane.FINE_GRID_SIDE)
    assert (classes[:, 0] == 0).all()
    assert (classes[:, -1] == 1).all()
    plane.level_lines(plot, lambda grid: grid[:, 0] - 0.5, CORNERS, levels=(0.0,))
    assert np.allclose(plot.collections[1].get_paths()[0].vertices[:, 0], 0.5)
    plane.crosses(plot, CORNERS[:1])
    plane.rings(plot, CORNERS[1:2])
    plane.name_tags(plot, {"0": CORNERS[3]})
    assert png(figure).startswith(b"\x89PNG")


def test_the_limits_of_a_plot_include_arrows_and_closed_curves():
    figure, (plot,) = plots_in_rows(["vectors"], 1, square=True)
    plane.arrow(plot, (3.0, 0.0), "v")
    plane.closed_curve(plot, CORNERS)
    png(figure)
    assert plot.get_xlim()[1] >= 3
    assert plot.lines[0].get_xydata()[-1].tolist() == CORNERS[0].tolist()
