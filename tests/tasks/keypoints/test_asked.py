"""The key-point that is explained is the one nearest to where the user points."""

import torch

from pellucid.model import Model
from pellucid.studio.pictures import sample
from pellucid.task import task_of


def test_the_point_nearest_to_the_place_is_explained() -> None:
    model = Model.load("faces")
    task = task_of(model)
    picture = sample("face 1")
    x = task.resize_to_input(model, picture)
    (points,) = task.predictor(model).finder([picture])
    points = points[:, :2] * x.shape[2] / picture.shape[2]
    distances = torch.cdist(points, points)
    distances.fill_diagonal_(torch.inf)
    lonely = distances.amin(1).argsort(descending=True)[:5]  # far from all others, so that rounding changes nothing
    for point in lonely.tolist():
        left, top = (int(value) for value in points[point])
        asked = task.score_to_explain(model, x, None, (top, left, top + 1, left + 1))
        assert asked.label == f"x of p{point}"
        assert asked.area is not None
        assert abs(asked.area[0] + 1 - top) <= 2
        assert abs(asked.area[1] + 1 - left) <= 2
