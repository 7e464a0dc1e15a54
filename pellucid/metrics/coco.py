"""COCO's evaluation of detected boxes, masks and key-points: 12 figures (values of AP and AR), 10 for key-points.

Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context", and the evaluation page of the data set.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_known
from pellucid.metrics.bootstrap import percentile_intervals, resampled
from pellucid.metrics.overlaps import OVERLAP_KINDS, PERSON_SIGMAS, truth_areas
from pellucid.ops.image_objects import Detections, Objects

IOU_THRESHOLDS = torch.from_numpy(np.linspace(0.5, 0.95, 10))  # rounded as in COCO's reference code
RECALL_LEVELS = torch.from_numpy(np.linspace(0.0, 1.0, 101))
# Smallest and largest area of an object of each size, in square pixels.
AREA_RANGES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
_AREA_BOUNDS = torch.tensor(list(AREA_RANGES.values()), dtype=torch.float64)  # both ends are included


class Figure(NamedTuple):
    """One of the figures: the mean of precision or recall over the classes, at one IoU threshold or over all."""

    recall: bool  # whether it is the mean of recall
    threshold: float | None  # the IoU threshold, None for the mean over IOU_THRESHOLDS
    size: str  # a name in AREA_RANGES
    limit: int  # how many detections of each class and image are evaluated, best first


FIGURES = {
    "ap": Figure(False, None, "all", 100),
    "ap50": Figure(False, 0.5, "all", 100),
    "ap75": Figure(False, 0.75, "all", 100),
    "ap_small": Figure(False, None, "small", 100),
    "ap_medium": Figure(False, None, "medium", 100),
    "ap_large": Figure(False, None, "large", 100),
    "ar1": Figure(True, None, "all", 1),
    "ar10": Figure(True, None, "all", 10),
    "ar100": Figure(True, None, "all", 100),
    "ar_small": Figure(True, None, "small", 100),
    "ar_medium": Figure(True, None, "medium", 100),
    "ar_large": Figure(True, None, "large", 100),
}
KEYPOINT_FIGURES = {
    "ap": Figure(False, None, "all", 20),
    "ap50": Figure(False, 0.5, "all", 20),
    "ap75": Figure(False, 0.75, "all", 20),
    "ap_medium": Figure(False, None, "medium", 20),
    "ap_large": Figure(False, None, "large", 20),
    "ar": Figure(True, None, "all", 20),
    "ar50": Figure(True, 0.5, "all", 20),
    "ar75": Figure(True, 0.75, "all", 20),
    "ar_medium": Figure(True, None, "medium", 20),
    "ar_large": Figure(True, None, "large", 20),
}


class Matches(NamedTuple):
    """The detections of one class in one image, matched with the true objects for A sizes and T thresholds."""

    scores: Tensor  # (n,), of the detections, best first
    hits: Tensor  # (A, T, n) bool, true positives
    ignored: Tensor  # (A, T, n) bool, neither true nor false positives
    truths: Tensor  # (A,), the number of true objects of each size that are not ignored


class Curves(NamedTuple):
    """Precision and recall of one class, at each of T thresholds of IoU."""

    # (T, 101), the highest precision at each recall in RECALL_LEVELS or above, 0 if the recall is not reached
    precision: Tensor
    scores: Tensor  # (T, 101), the score of the detection that reaches the recall, or NaN
    recall: Tensor  # (T,), the recall of all detections


@dataclass
class Coco:
    """COCO's average precision and recall: call `add` for each image, then `figures`.

    Crowds are ignored, and for key-points also objects without a labelled point: they need not be found, and detections
    that are matched with them are not false positives. Any number of detections may be matched with a crowd.
    kind: "boxes", "masks" or "keypoints".
    sigmas: the constants of the key-points, see `keypoint_similarity`.
    """

    kind: str = "boxes"
    sigmas: tuple[float, ...] = PERSON_SIGMAS
    images: list[dict[int, Matches]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown kind."""
        check_known("Coco: no kind", self.kind, OVERLAP_KINDS)

    @property
    def figures_of_kind(self) -> dict[str, Figure]:
        """The figures of this kind by name."""
        return KEYPOINT_FIGURES if self.kind == "keypoints" else FIGURES

    def add(self, detections: Detections, truth: Objects, areas: Tensor | None = None) -> None:
        """Compare the detections in one image with its objects.

        areas: (m,), the areas of the objects in square pixels, which determine whether they are small, medium or large;
        COCO's files contain them. By default, they are computed from the masks, or from the boxes without masks.
        Raises PellucidError for another number of areas.
        """
        areas = truth_areas(truth) if areas is None else areas.double()
        if areas.shape != (len(truth),):
            raise PellucidError(f"Coco: areas have shape {tuple(areas.shape)}; give ({len(truth)},), one per object")
        labels = set(detections.labels.tolist()) | set(truth.labels.tolist())
        image: dict[int, Matches] = {}
        for label in sorted(labels):
            is_detected, is_true = detections.labels == label, truth.labels == label
            image[label] = self._matches(detections.take(is_detected), truth.take(is_true), areas[is_true])
        self.images.append(image)

    def _matches(self, detections: Detections, truth: Objects, areas: Tensor) -> Matches:
        limit = max(figure.limit for figure in self.figures_of_kind.values())
        detections = detections.take(detections.scores.argsort(descending=True, stable=True)[:limit])
        kind = OVERLAP_KINDS[self.kind]
        is_uncounted = torch.zeros(len(truth), dtype=torch.bool) if truth.crowd is None else truth.crowd
        crowd = is_uncounted
        if self.kind == "keypoints" and truth.keypoints is not None:
            is_uncounted = is_uncounted | ~(truth.keypoints[:, :, 2] > 0).any(1)
        ignored = is_uncounted | is_outside_size(areas)  # (A, m)
        overlaps = kind.overlaps(detections, truth, areas, self.sigmas)
        matched_truths = match_to_truths(overlaps, IOU_THRESHOLDS, ignored, crowd)  # (A, T, n)
        is_unmatched = matched_truths < 0
        unmatched_column = torch.ones(len(AREA_RANGES), 1, dtype=torch.bool)  # for unmatched detections, with index -1
        columns = (matched_truths % (len(truth) + 1)).flatten(1)
        is_hit_ignored = torch.cat([ignored, unmatched_column], 1).gather(1, columns).view_as(matched_truths)
        is_other_size = is_outside_size(kind.areas(detections))[:, None]  # (A, 1, n)
        is_ignored = torch.where(is_unmatched, is_other_size, is_hit_ignored)
        return Matches(detections.scores.double(), ~is_unmatched & ~is_hit_ignored, is_ignored, (~ignored).sum(1))

    def counts(self) -> dict[int, int]:
        """Return the number of true objects, without ignored ones, by class that has any, in ascending order."""
        counts: dict[int, int] = {}
        for image in self.images:
            for label, matches in image.items():
                counts[label] = counts.get(label, 0) + int(matches.truths[0])
        return {label: counts[label] for label in sorted(counts) if counts[label]}

    def curves(self, label: int, size: str = "all", limit: int | None = None, weights: Tensor | None = None) -> Curves:
        """Return precision and recall of a class over all images; NaN if it has no true object of this size.

        size, limit: see `Figure`; no limit by default. weights: (images,), the weight of each image, 1 by default.
        """
        return ClassDetections(self.images, label).curves(size, limit, weights)

    def figures(self, weights: Tensor | None = None, names: Sequence[str] | None = None) -> dict[str, float]:
        """Return the figures by name, from 0 to 1; NaN if no class has a true object of the size.

        weights: (images,), the weight of each image, 1 by default. names: the figures to compute, by default all.
        """
        return self._figures(self._class_detections(), weights, names or tuple(self.figures_of_kind))

    def intervals(
        self, names: Sequence[str], resamples: int = 1000, seed: int = 0, level: float = 0.95
    ) -> dict[str, tuple[float, float]]:
        """Return bootstrap intervals (low, high) of figures by name, over the images; see `resampled`.

        level: the confidence level. The limits are NaN if the figure is NaN.
        """
        figures = self.weighted_figures(names)
        values = resampled(lambda weights: list(figures(weights).values()), len(self.images), resamples, seed)
        return dict(zip(names, percentile_intervals(values, level), strict=True))

    def weighted_figures(self, names: Sequence[str]) -> Callable[[Tensor], dict[str, float]]:
        """Return `figures` as a function of the weights of the images, which is fast for many weights."""
        class_detections = self._class_detections()
        return lambda weights: self._figures(class_detections, weights, names)

    def _class_detections(self) -> "list[ClassDetections]":
        return [ClassDetections(self.images, label) for label in self.counts()]

    def _figures(
        self, class_detections: "Sequence[ClassDetections]", weights: Tensor | None, names: Sequence[str]
    ) -> dict[str, float]:
        curves_by_size_and_limit: dict[tuple[str, int], list[Curves]] = {}
        results: dict[str, float] = {}
        for name in names:
            figure = self.figures_of_kind[name]
            key = figure.size, figure.limit
            if key not in curves_by_size_and_limit:
                curves_by_size_and_limit[key] = [detections.curves(*key, weights) for detections in class_detections]
            results[name] = _figure_value(curves_by_size_and_limit[key], figure)
        return results

    def by_class(self, name: str = "ap") -> dict[int, float]:
        """Return one figure for each class that has true objects, by class index."""
        figure = self.figures_of_kind[name]
        return {
            label: _figure_value([self.curves(label, figure.size, figure.limit)], figure) for label in self.counts()
        }


class ClassDetections:
    """All detections of one class, in descending order of scores; equal scores keep the order of the images."""

    def __init__(self, images: Sequence[dict[int, Matches]], label: int) -> None:
        # index and matches of each image in which the class was detected or true
        entries = [(index, image[label]) for index, image in enumerate(images) if label in image]
        scores = torch.cat([matches.scores for _, matches in entries])
        order = scores.argsort(descending=True, stable=True)
        self.scores = scores[order]  # (n,)
        self.ranks = torch.cat([torch.arange(len(matches.scores)) for _, matches in entries])[order]  # within the image
        image_index = torch.cat([torch.full((len(matches.scores),), index) for index, matches in entries])
        self.image_index = image_index[order]
        self.hits = torch.cat([matches.hits for _, matches in entries], 2)[:, :, order]  # (A, T, n)
        self.ignored = torch.cat([matches.ignored for _, matches in entries], 2)[:, :, order]
        self.truths = torch.zeros(len(images), len(AREA_RANGES), dtype=torch.float64)
        for index, matches in entries:
            self.truths[index] = matches.truths.double()

    def curves(self, size: str, limit: int | None = None, weights: Tensor | None = None) -> Curves:
        """Return precision and recall of the `limit` best detections of each image, for true objects of one size."""
        size_index = list(AREA_RANGES).index(size)
        weights = torch.ones(len(self.truths), dtype=torch.float64) if weights is None else weights.double()
        truths = float(weights @ self.truths[:, size_index])
        if not truths:
            nan_values = torch.full((len(IOU_THRESHOLDS), len(RECALL_LEVELS)), math.nan, dtype=torch.float64)
            return Curves(nan_values, nan_values, nan_values[:, 0])
        within_limit = slice(None) if limit is None else self.ranks < limit
        detection_weights = weights[self.image_index[within_limit]]  # (n,)
        hits = self.hits[size_index][:, within_limit]  # (T, n)
        ignored = self.ignored[size_index][:, within_limit]  # (T, n)
        true_positives, false_positives = ((mask * detection_weights).cumsum(1) for mask in (hits, ~hits & ~ignored))
        precision, index = precision_at_recalls(true_positives, false_positives, truths)
        scores = torch.nn.functional.pad(self.scores[within_limit], (0, 1), value=math.nan)
        final_recall = (
            true_positives[:, -1] / truths
            if true_positives.shape[1]
            else torch.zeros(len(true_positives), dtype=torch.float64)
        )
        return Curves(precision, scores[index], final_recall)


def precision_at_recalls(true_positives: Tensor, false_positives: Tensor, truths: float) -> tuple[Tensor, Tensor]:
    """Return the highest precision at each of RECALL_LEVELS or above, and the index of the detection that reaches it.

    true_positives, false_positives: (T, n), counts of true and false positives up to each detection, best first.
    truths: the number of true objects. Both results are (T, 101); if a recall is not reached, precision is 0 and the
    index is n.
    """
    precision = true_positives / (true_positives + false_positives).clamp_min(torch.finfo(torch.float64).tiny)
    highest_precision = precision.flip(1).cummax(1).values.flip(1) if precision.shape[1] else precision
    recall = (true_positives / truths).contiguous()
    index = torch.searchsorted(recall, RECALL_LEVELS.expand(len(recall), -1).contiguous())
    return torch.nn.functional.pad(highest_precision, (0, 1)).gather(1, index), index


def match_to_truths(overlaps: Tensor, thresholds: Tensor, ignored: Tensor, crowd: Tensor) -> Tensor:
    """Return the index of the true object that each detection is matched with, or -1: (A, T, n).

    overlaps: (n, m) of the detections, best first, with the true objects. thresholds: (T,), ascending. ignored: (A, m),
    whether an object is ignored for each of A sizes. crowd: (m,), whether an object is a crowd, which any number of
    detections may be matched with. In descending order of scores, each detection is matched with the object of the
    largest overlap among the crowds and unmatched objects with an overlap of at least the threshold. An ignored object
    is used only if no other is left; among equal overlaps, the last object is used.
    """
    n_sizes = len(ignored)
    n_thresholds = len(thresholds)
    n, m = overlaps.shape
    matched_truths = torch.full((n_sizes, n_thresholds, n), -1)
    if not n or not m:
        return matched_truths
    # Flipped, because argmax returns the first of equal overlaps.
    overlaps = overlaps.flip(1)
    is_counted = ~ignored.flip(1)[:, None]
    crowd = crowd.flip(0)
    is_free = torch.ones(n_sizes, n_thresholds, m, dtype=torch.bool)
    for index in (overlaps.amax(1) >= thresholds[0]).nonzero().flatten().tolist():
        is_allowed = is_free & (overlaps[index] >= thresholds[:, None])  # (A, T, m)
        is_preferred = is_allowed & is_counted
        is_allowed = torch.where(is_preferred.any(2, keepdim=True), is_preferred, is_allowed)
        best_truth = torch.where(is_allowed, overlaps[index], -1.0).argmax(2, keepdim=True)  # (A, T, 1)
        is_hit = is_allowed.gather(2, best_truth)
        matched_truths[:, :, index] = torch.where(is_hit, m - 1 - best_truth, -1)[:, :, 0]
        is_free.scatter_(2, best_truth, is_free.gather(2, best_truth) & (~is_hit | crowd[best_truth]))
    return matched_truths


def is_outside_size(areas: Tensor) -> Tensor:
    """Return a mask of the areas (n,) that are outside each size: (A, n)."""
    return (areas < _AREA_BOUNDS[:, :1]) | (areas > _AREA_BOUNDS[:, 1:])


def _figure_value(curves: Sequence[Curves], figure: Figure) -> float:
    """Return the value of a figure: the mean over the classes that have true objects; NaN if there are none."""
    thresholds = slice(None) if figure.threshold is None else (IOU_THRESHOLDS - figure.threshold).abs().argmin()
    values = [(curve.recall if figure.recall else curve.precision)[thresholds] for curve in curves]
    return float(torch.stack(values).nanmean()) if values else math.nan
