"""Explanations of the heat map of one key-point."""

from copy import copy

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data import load_image
from pellucid.data.dataset import float_images
from pellucid.data.images import read_full_size
from pellucid.explain.target import Region
from pellucid.layers.base import Mode
from pellucid.losses import HeatMaps, Quadratic
from pellucid.model import Model
from pellucid.objective import Supervised
from pellucid.task import Explained, Request
from pellucid.tasks.classify.explained import UNIT_HINT, explain_scores, index_of_name
from pellucid.tasks.keypoints.finder import KeypointFinder, pad_and_resize


def explain_heat_map(model: Model, request: Request) -> Explained:
    """Explain the largest value of the heat map of a key-point, or a unit, and write the explanation.

    The target of the request is the name of a key-point, its number, counted from 0, or a unit such as
    "features.conv2[3]"; by default the first key-point. Raises PellucidError for another target, and for a model that
    outputs coordinates, which have no scores.
    """
    finder = KeypointFinder(model)
    if not isinstance(model.loss, HeatMaps):
        raise PellucidError(
            "the model outputs coordinates and no heat maps to explain; in Python, "
            "`pellucid.tasks.keypoints.finder.explain_point` explains a coordinate"
        )
    image = load_image(read_full_size(request.image_source, request.image), request.image, mode=finder.mode)
    x = float_images(pad_and_resize(image, (model.nominal_shape[1], model.nominal_shape[2]))[0])
    target = finder.point_names[0] if request.target is None else request.target
    is_unit = "[" in target and target not in finder.point_names
    explained_score: str | Region = target
    if not is_unit:
        point = index_of_name(target, finder.point_names, ("key-point", "key-points"), UNIT_HINT)
        explained_score = _peak_of(model, x, point)
    scored_model = copy(model)
    scored_model.objective = Supervised(model.net, Quadratic())  # predicts the maps, not the points, for the tests
    return explain_scores(scored_model, request._replace(target=target), x, explained_score, finder.point_names)


def _peak_of(model: Model, x: Tensor, point: int) -> Region:
    """Return as target the largest value of the heat map of a key-point for one image x (C, H, W)."""
    maps = model.net.forward(model.params, model.scaled(x[None]), Mode(keep=False))[0]  # (1, K, h, w)
    peak = torch.zeros_like(maps[0, point])
    peak.view(-1)[maps[0, point].argmax()] = 1.0
    return Region(torch.tensor([point]), peak[None], "where its heat map is largest")
