"""COCO's evaluation of detected boxes, masks and key-points: 12 figures of AP and AR, 10 for key-points.

Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context", and the evaluation page of the data set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.image_objects import Detections, Objects
from pellucid.metrics.overlaps import KINDS, PERSON, truth_areas
from pellucid.settings.checks import check_known

THRESHOLDS = torch.from_numpy(np.linspace(0.5, 0.95, 10))  # of IoU, rounded as in COCO's reference code
RECALLS = torch.from_numpy(np.linspace(0.0, 1.0, 101))
# Smallest and largest area of an object of each size, in square pixels.
SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
_RANGES = torch.tensor(list(SIZES.values()), dtype=torch.float64)  # both ends are included


class Figure(NamedTuple):
    """One of the figures: a mean of precision or recall over classes and thresholds, or at one threshold.

    size: a name in SIZES. limit: the number of detections of each class and image that count, best first.
    """

    recall: bool
    threshold: float | None
    size: str
    limit: int


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
    """The detections of one class in one image, best first, compared with the truth for A sizes and T thresholds.

    scores: (n,). hits: (A, T, n) bool, true positives. ignored: (A, T, n) bool, neither true nor false
    positives. truths: (A,), the number of truths to find.
    """

    scores: Tensor
    hits: Tensor
    ignored: Tensor
    truths: Tensor


class Curves(NamedTuple):
    """Precision and recall of one class, at each of T thresholds of IoU.

    precision: (T, 101), the highest precision at each recall in RECALLS or above, 0 where the recall is not reached.
    scores: (T, 101), the score of the detection that reaches the recall, or NaN. recall: (T,), of all detections.
    """

    precision: Tensor
    scores: Tensor
    recall: Tensor


@dataclass
class Coco:
    """COCO's average precision and recall, image by image: call `add` for each image, then `figures`.

    kind: "boxes", "masks" or "keypoints". sigmas: the constants of the key-points (`keypoint_similarity`). Crowds,
    and for key-points objects without a labelled point, are ignored: they need not be found, detections matched with
    them are not false positives, and one crowd may match any number of detections.
    """

    kind: str = "boxes"
    sigmas: tuple[float, ...] = PERSON
    images: list[dict[int, Matches]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown kind."""
        check_known("Coco: no kind", self.kind, KINDS)

    @property
    def names(self) -> dict[str, Figure]:
        """The figures of this kind by name."""
        return KEYPOINT_FIGURES if self.kind == "keypoints" else FIGURES

    def add(self, found: Detections, truth: Objects, areas: Tensor | None = None) -> None:
        """Compare the detections in one image with its objects.

        areas: (m,), the areas of the objects in square pixels, which decide which of them are small, medium or
        large; COCO's files contain them. By default, the areas of the masks, or of the boxes if there are no masks.
        """
        areas = truth_areas(truth) if areas is None else areas.double()
        if areas.shape != (len(truth),):
            raise PellucidError(f"Coco: areas have shape {tuple(areas.shape)}; give ({len(truth)},), one per object")
        labels = set(found.labels.tolist()) | set(truth.labels.tolist())
        image: dict[int, Matches] = {}
        for label in sorted(labels):
            predicted, true = found.labels == label, truth.labels == label
            image[label] = self._matches(found.take(predicted), truth.take(true), areas[true])
        self.images.append(image)

    def _matches(self, found: Detections, truth: Objects, areas: Tensor) -> Matches:
        """Return the matches of one class in one image."""
        limit = max(figure.limit for figure in self.names.values())
        found = found.take(found.scores.argsort(descending=True, stable=True)[:limit])
        kind = KINDS[self.kind]
        uncounted = torch.zeros(len(truth), dtype=torch.bool) if truth.crowd is None else truth.crowd
        crowd = uncounted
        if self.kind == "keypoints" and truth.keypoints is not None:
            uncounted = uncounted | ~(truth.keypoints[:, :, 2] > 0).any(1)
        ignored = uncounted | outside(areas)  # (A, m)
        matched = match(kind.overlaps(found, truth, areas, self.sigmas), THRESHOLDS, ignored, crowd)  # (A, T, n)
        missed = matched < 0
        last = torch.ones(len(SIZES), 1, dtype=torch.bool)  # for unmatched detections, with index -1
        hit_ignored = torch.cat([ignored, last], 1).gather(1, (matched % (len(truth) + 1)).flatten(1)).view_as(matched)
        other_size = outside(kind.areas(found))[:, None]  # (A, 1, n)
        neutral = torch.where(missed, other_size, hit_ignored)
        return Matches(found.scores.double(), ~missed & ~hit_ignored, neutral, (~ignored).sum(1))

    def counts(self) -> dict[int, int]:
        """Return the number of truths to find of each class that has any, in ascending order."""
        counts: dict[int, int] = {}
        for image in self.images:
            for label, matches in image.items():
                counts[label] = counts.get(label, 0) + int(matches.truths[0])
        return {label: counts[label] for label in sorted(counts) if counts[label]}

    def curves(self, label: int, size: str = "all", limit: int | None = None, weights: Tensor | None = None) -> Curves:
        """Return precision and recall of a class over all images; NaN if it has no truth of this size.

        weights: (images,), how often each image counts, once by default.
        """
        return Pool(self.images, label).curves(size, limit, weights)

    def figures(self, weights: Tensor | None = None, names: Sequence[str] | None = None) -> dict[str, float]:
        """Return the figures by name, from 0 to 1; NaN where no class has a truth of the size.

        weights: (images,), how often each image counts, once by default. names: the figures to compute, by default all.
        """
        return self._figures([Pool(self.images, label) for label in self.counts()], weights, names or tuple(self.names))

    def intervals(
        self, names: Sequence[str], resamples: int = 1000, seed: int = 0, level: float = 0.95
    ) -> dict[str, tuple[float, float]]:
        """Return bootstrap percentile intervals of figures, by drawing the images with replacement.

        level: the confidence level. NaN where a figure has no value.
        Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.
        """
        rng, n = torch.Generator().manual_seed(seed), len(self.images)
        pools, values = [Pool(self.images, label) for label in self.counts()], list[list[float]]()
        for _ in range(resamples):
            weights = torch.bincount(torch.randint(0, n, (n,), generator=rng), minlength=n)
            values.append(list(self._figures(pools, weights, names).values()))
        ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        low, high = torch.tensor(values, dtype=torch.float64).nanquantile(ends, 0).tolist()
        return dict(zip(names, zip(low, high, strict=True), strict=True))

    def _figures(self, pools: "Sequence[Pool]", weights: Tensor | None, names: Sequence[str]) -> dict[str, float]:
        curves: dict[tuple[str, int], list[Curves]] = {}
        results: dict[str, float] = {}
        for name in names:
            figure = self.names[name]
            key = figure.size, figure.limit
            if key not in curves:
                curves[key] = [pool.curves(*key, weights) for pool in pools]
            results[name] = _mean(curves[key], figure)
        return results

    def by_class(self, name: str = "ap") -> dict[int, float]:
        """Return one figure for each class that has truths."""
        figure = self.names[name]
        return {label: _mean([self.curves(label, figure.size, figure.limit)], figure) for label in self.counts()}


class Pool:
    """All detections of one class, in descending order of scores; equal scores keep the order of the images."""

    def __init__(self, images: Sequence[dict[int, Matches]], label: int) -> None:
        entries = [(index, image[label]) for index, image in enumerate(images) if label in image]
        scores = torch.cat([matches.scores for _, matches in entries])
        order = scores.argsort(descending=True, stable=True)
        self.scores = scores[order]  # (n,)
        self.ranks = torch.cat([torch.arange(len(matches.scores)) for _, matches in entries])[order]  # in each image
        self.image = torch.cat([torch.full((len(matches.scores),), index) for index, matches in entries])[order]
        self.hits = torch.cat([matches.hits for _, matches in entries], 2)[:, :, order]  # (A, T, n)
        self.ignored = torch.cat([matches.ignored for _, matches in entries], 2)[:, :, order]
        self.truths = torch.zeros(len(images), len(SIZES), dtype=torch.float64)
        for index, matches in entries:
            self.truths[index] = matches.truths.double()

    def curves(self, size: str, limit: int | None = None, weights: Tensor | None = None) -> Curves:
        """Return precision and recall for truths of a size, of the `limit` best detections of each image."""
        row = list(SIZES).index(size)
        weights = torch.ones(len(self.truths), dtype=torch.float64) if weights is None else weights.double()
        truths = float(weights @ self.truths[:, row])
        if not truths:
            nan = torch.full((len(THRESHOLDS), len(RECALLS)), math.nan, dtype=torch.float64)
            return Curves(nan, nan, nan[:, 0])
        within_limit = slice(None) if limit is None else self.ranks < limit
        counts = weights[self.image[within_limit]]  # (n,)
        hits, ignored = self.hits[row][:, within_limit], self.ignored[row][:, within_limit]  # (T, n)
        right, wrong = ((which * counts).cumsum(1) for which in (hits, ~hits & ~ignored))
        precision, index = precision_at_recalls(right, wrong, truths)
        scores = torch.nn.functional.pad(self.scores[within_limit], (0, 1), value=math.nan)
        last = right[:, -1] / truths if right.shape[1] else torch.zeros(len(right), dtype=torch.float64)
        return Curves(precision, scores[index], last)


def precision_at_recalls(right: Tensor, wrong: Tensor, truths: float) -> tuple[Tensor, Tensor]:
    """Return the highest precision at each of RECALLS or above, and the index of the detection that reaches the recall.

    right, wrong: (T, n), counts of true and false positives up to each detection, best first. Both results are
    (T, 101); where a recall is not reached, precision is 0 and the index is n.
    """
    precision = right / (right + wrong).clamp_min(torch.finfo(torch.float64).tiny)
    highest = precision.flip(1).cummax(1).values.flip(1) if precision.shape[1] else precision
    recall = (right / truths).contiguous()
    index = torch.searchsorted(recall, RECALLS.expand(len(recall), -1).contiguous())
    return torch.nn.functional.pad(highest, (0, 1)).gather(1, index), index


def match(overlaps: Tensor, thresholds: Tensor, ignored: Tensor, crowd: Tensor) -> Tensor:
    """Return the index of the truth that each detection is matched with, or -1: (A, T, n), for A sizes, T thresholds.

    overlaps: (n, m) of the detections, best first, with the truths. thresholds: (T,), ascending. ignored: (A, m), the
    truths that do not count for a size; crowd: (m,), the truths that may match any number of detections.
    In descending order of scores, each detection is matched with the free truth of the largest overlap, of at least the
    threshold; with an ignored truth only if there is no other, and among equal overlaps with the last truth.
    """
    sizes, levels, (n, m) = len(ignored), len(thresholds), overlaps.shape
    matched = torch.full((sizes, levels, n), -1)
    if not n or not m:
        return matched
    overlaps, counting, crowd = overlaps.flip(1), ~ignored.flip(1)[:, None], crowd.flip(0)  # argmax returns the first
    free = torch.ones(sizes, levels, m, dtype=torch.bool)
    for index in (overlaps.amax(1) >= thresholds[0]).nonzero().flatten().tolist():
        allowed = free & (overlaps[index] >= thresholds[:, None])  # (A, T, m)
        preferred = allowed & counting
        allowed = torch.where(preferred.any(2, keepdim=True), preferred, allowed)
        best = torch.where(allowed, overlaps[index], -1.0).argmax(2, keepdim=True)  # (A, T, 1)
        hit = allowed.gather(2, best)
        matched[:, :, index] = torch.where(hit, m - 1 - best, -1)[:, :, 0]
        free.scatter_(2, best, free.gather(2, best) & (~hit | crowd[best]))
    return matched


def outside(areas: Tensor) -> Tensor:
    """Return a mask of the areas (n,) that are outside each size: (A, n)."""
    return (areas < _RANGES[:, :1]) | (areas > _RANGES[:, 1:])


def _mean(curves: Sequence[Curves], figure: Figure) -> float:
    """Return the mean over the classes that have truths; NaN if there are none."""
    levels = slice(None) if figure.threshold is None else (THRESHOLDS - figure.threshold).abs().argmin()
    values = [(curve.recall if figure.recall else curve.precision)[levels] for curve in curves]
    return float(torch.stack(values).nanmean()) if values else math.nan
