"""Legends of lessons' figures lie over nothing that is drawn, for the values of sliders at their ends too."""

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from pellucid.lessons.lesson import LessonSettings, find_lesson

STEPS = [
    ("neuron", "learning"), ("neuron", "derivatives"), ("descent", "rates"), ("descent", "batches"),
    ("descent", "optimizers"), ("landscape", "quadratic"), ("landscape", "symmetries"),
    ("universality", "steps_and_bumps"), ("universality", "built"), ("linear-algebra", "norms"), ("gan", "judged"),
]  # fmt: skip


def crossing(plot: Axes, box: Bbox) -> list[Any]:
    """Return the lines of a plot, also of its contours and filled areas, that lie in a box."""
    visible = Bbox.intersection(box, plot.bbox)  # lines are clipped to the plot
    if visible is None:
        return []
    paths = [(line, line.get_path()) for line in plot.lines]
    paths += [(lines, path) for lines in plot.collections for path in lines.get_paths() if np.size(path.vertices)]
    return [
        artist
        for artist, path in paths
        if artist.get_transform().transform_path(path).cleaned(remove_nans=True).intersects_bbox(visible, filled=False)
    ]


@pytest.mark.parametrize(("lesson", "name"), STEPS)
@pytest.mark.slow
def test_a_legend_covers_no_curve(lesson: str, name: str) -> None:
    module: Any = find_lesson(lesson)
    step = next(step for step in module.STEPS if step.__name__ == name)
    sliders = module.GUIDE.sliders.get(name, ())
    at_ends = [{slider.name: slider.values[end]} for slider in sliders for end in (0, -1)]
    for values in [{}, *at_ends, {slider.name: slider.values[-1] for slider in sliders}]:
        figure: Any = step(LessonSettings(small=True), **values).figure
        FigureCanvasAgg(figure).draw()
        legends = [*figure.legends, *(plot.get_legend() for plot in figure.axes if plot.get_legend())]
        assert legends
        for legend in legends:
            box = legend.get_window_extent()
            assert not [line for plot in figure.axes for line in crossing(plot, box)], values
            assert not any(plot.title.get_window_extent().overlaps(box) for plot in figure.axes), values
            assert 0 <= box.x0 <= box.x1 <= figure.bbox.x1, values
