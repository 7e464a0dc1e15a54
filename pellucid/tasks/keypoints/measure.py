"""Evaluation of a key-point model on annotated images."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.data.keypoints import KeypointSource
from pellucid.metrics.bootstrap import percentile_intervals, resampled, weighted_mean
from pellucid.metrics.coco import Coco
from pellucid.metrics.objects import check_measurable, check_points, measurable, normalised_errors, normalizing_points
from pellucid.metrics.overlaps import sigmas_of, truth_areas
from pellucid.model import Model
from pellucid.network.ending import check_same_names
from pellucid.ops.image_objects import Detections
from pellucid.tasks.annotated import held_out
from pellucid.tasks.keypoints.finder import KeypointFinder
from pellucid.training.distributed import ALONE, Processes

CHUNK_SIZE = 32  # objects at a time
RESAMPLES = 2000  # bootstrap resamples of the errors


def evaluate(model: Model, data: str | None = None, processes: Processes = ALONE) -> dict[str, Any]:
    """Evaluate a model on the objects of `keypoint_source`, in pictures of any size.

    Returns nme, the mean distance of the predicted points from the true points, divided by the distance between two of
    the true points (those of the model's NME metric, or the outer eye corners of faces) and averaged over the objects;
    nme_interval, its 95 % interval from a bootstrap over the objects; n, the number of objects; data, the path of
    the data. nme_left_out: the number of objects without the points that define the divisor, which are not in n. Also
    the figures of `average_precision`. processes: each evaluates a part of the objects. Raises PellucidError if all
    objects are left out.
    """
    finder, source = KeypointFinder(model), keypoint_source(model, data)
    normalise = normalizing_points(model.metrics)

    def find_chunk(start: int) -> Tensor:
        return finder(read_chunk(source, start)[0])

    points = torch.cat([*processes.shared(range(0, len(source), CHUNK_SIZE), find_chunk)])
    true_points = torch.stack([source.points(k) for k in range(len(source))])
    check_points(points, true_points, normalise)
    can_measure = measurable(true_points, normalise)
    errors = normalised_errors(points[can_measure], true_points[can_measure], normalise)
    n_left_out = len(source) - len(errors)
    check_measurable(len(errors), n_left_out, normalise)
    mean_error = weighted_mean(errors)
    means = resampled(lambda weights: [mean_error(weights)], len(errors), RESAMPLES)
    return {
        "nme": float(errors.mean()),
        "nme_interval": percentile_intervals(means)[0],
        "n": len(errors),
        "nme_left_out": n_left_out,
        **average_precision(source, points),
        "data": str(source.source.tree.path),
    }


def average_precision(source: KeypointSource, points: Tensor) -> dict[str, float]:
    """Return COCO's average precision of key-points, "keypoint_ap", and at a similarity of 0.5, "keypoint_ap50".

    points: (N, K, 3), of the N examples of the source, in pixels of their pictures; the score of an object is the mean
    of its points' scores. The constants of the points are those of `sigmas_of`. The area of an object is that of the
    annotations, otherwise that of its box.
    """
    coco = Coco("keypoints", sigmas_of(source.names, source.kind))
    indices_by_image: dict[int, list[int]] = {}
    for k, (image, _) in enumerate(source.objects):
        indices_by_image.setdefault(image, []).append(k)
    for image, indices in indices_by_image.items():
        record = source.source.records[image]
        image_objects = record.objects(len(source.names))
        predicted_points = torch.stack([source.frame(k).to_picture(points[k]) for k in indices])
        objects = image_objects.take(torch.tensor([source.objects[k][1] for k in indices]))
        detections = Detections(
            objects.boxes, predicted_points[:, :, 2].mean(1), objects.labels, keypoints=predicted_points
        )
        areas = truth_areas(image_objects)
        for j, instance in enumerate(record.instances):
            areas[j] = areas[j] if instance.area is None else instance.area
        coco.add(detections, image_objects, areas)
    return {f"keypoint_{name}": value for name, value in coco.figures(names=("ap", "ap50")).items()}


def keypoint_source(model: Model, data: str | None) -> KeypointSource:
    """Return the annotated objects of a folder or zip; if it has several parts, of its held-out part.

    They are cropped by their boxes if the model was trained on crops, or if an image has several. data: the name of a
    data set, a folder with annotated key-points, or the root of the model's own data set; None for the model's own data
    set. Raises PellucidError if the data do not exist.
    """
    folder = held_out(model, data, None)[0]
    source = KeypointSource(folder, crops=KeypointFinder(model).is_of_crops or folder.has_several)
    check_names(model, source, str(folder.tree.path))
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
    """Return at most CHUNK_SIZE pictures, from index `start`, and their key-points (n, K, 3)."""
    examples = [source.example(k) for k in range(start, min(start + CHUNK_SIZE, len(source)))]
    return [image for image, _ in examples], torch.stack([points for _, points in examples])
