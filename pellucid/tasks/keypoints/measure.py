"""Evaluation of a key-point model on annotated images."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.data.keypoints import KeypointSource
from pellucid.metrics.bootstrap import percentile_intervals, resampled, weighted_mean
from pellucid.metrics.objects import check_measurable, check_points, measurable, normalised_errors, unit_points
from pellucid.model import Model
from pellucid.network.ending import check_same_names
from pellucid.tasks.annotated import held_out
from pellucid.tasks.keypoints.finder import KeypointFinder
from pellucid.training.distributed import ALONE, Processes

CHUNK_SIZE = 32  # pictures at a time
RESAMPLES = 2000  # bootstrap resamples of the errors


def evaluate(model: Model, data: str | None = None, processes: Processes = ALONE) -> dict[str, Any]:
    """Evaluate a model on the pictures of `keypoint_source`, of any size with one annotated object each.

    Returns nme, the mean distance of the predicted points from the true points, divided by the distance between two of
    the true points (those of the model's NME metric, or the outer eye corners of faces) and averaged over the pictures;
    nme_interval, its 95 % interval from a bootstrap over the pictures; n, the number of pictures; data, the path of
    the data. nme_left_out: the number of pictures without the points that define the divisor, which are not in n.
    processes: each evaluates a part of the pictures. Raises PellucidError if all pictures are left out.
    """
    finder, source = KeypointFinder(model), keypoint_source(model, data)
    unit = unit_points(model.metrics)

    def chunk_errors(start: int) -> Tensor:
        images, true_points = read_chunk(source, start)
        points = finder(images)
        check_points(points, true_points, unit)
        can_measure = measurable(true_points, unit)
        return normalised_errors(points[can_measure], true_points[can_measure], unit)

    all_errors = torch.cat([*processes.shared(range(0, len(source), CHUNK_SIZE), chunk_errors)])
    left_out = len(source) - len(all_errors)
    check_measurable(len(all_errors), left_out, unit)
    mean_error = weighted_mean(all_errors)
    means = resampled(lambda weights: [mean_error(weights)], len(all_errors), RESAMPLES)
    return {
        "nme": float(all_errors.mean()),
        "nme_interval": percentile_intervals(means)[0],
        "n": len(all_errors),
        "nme_left_out": left_out,
        "data": str(source.source.tree.path),
    }


def keypoint_source(model: Model, data: str | None) -> KeypointSource:
    """Return the annotated images of a folder or zip; if it has several parts, of its held-out part.

    data: the name of a data set, a folder with annotations in COCO's format, or the root of the model's own data set;
    None for the model's own data set. Raises PellucidError if the data do not exist.
    """
    source = KeypointSource(held_out(model, data, None)[0])
    check_names(model, source, str(source.source.tree.path))
    return source


def check_names(model: Model, source: KeypointSource, name: str) -> None:
    """Raise PellucidError for key-points with other names, or in another order, than those of a model's training data.

    Names that only number the points, such as p0, p1, ..., are compared by their numbers, and only with such names.
    name: of the data.
    """
    trained_names: Sequence[str] = model.preprocess.get("keypoints", {}).get("names", ())
    own_numbers, trained_numbers = _numbers(source.names), _numbers(trained_names)
    are_comparable = bool(trained_names) and bool(own_numbers) == bool(trained_numbers)
    if are_comparable and (own_numbers != trained_numbers or not own_numbers):
        check_same_names("key-points", source.names, trained_names, name)


def _numbers(names: Sequence[str]) -> list[int]:
    """Return the numbers at the end of names with one beginning, counted from the smallest; [] for other names."""
    matches = [re.fullmatch(r"(.*?)([0-9]{1,9})", name) for name in names]
    if len({None if match is None else match[1] for match in matches}) != 1 or matches[0] is None:
        return []
    numbers = [int(match[2]) for match in matches if match is not None]
    return [number - min(numbers) for number in numbers]


def read_chunk(source: KeypointSource, start: int) -> tuple[list[Tensor], Tensor]:
    """Return at most CHUNK_SIZE images, from index `start`, and their key-points (n, K, 3)."""
    examples = [source.example(k) for k in range(start, min(start + CHUNK_SIZE, len(source)))]
    return [image for image, _ in examples], torch.stack([points for _, points in examples])
