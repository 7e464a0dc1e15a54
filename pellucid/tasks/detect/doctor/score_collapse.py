"""Scores that are the same everywhere, or so low that nothing is detected."""

import torch

from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.tasks.detect.doctor.case import DetectionCase

MIN_SILENT = 0.9  # fraction of the images with objects in which nothing is detected
MIN_SPREAD = 1e-3  # highest minus lowest score in an image


def look(case: DetectionCase) -> list[Finding]:
    """Examine the scores of a trained detector in the images of the sample that have objects."""
    pairs = zip(case.sample, case.scores, case.detections, strict=True)
    results = [(scores, len(found)) for (_, objects), scores, found in pairs if len(objects) and len(scores)]
    if not results:
        return []
    silent = sum(not count for _, count in results)
    ranges = torch.stack([scores.max() - scores.min() for scores, _ in results]).median()
    if silent < MIN_SILENT * len(results) and float(ranges) >= MIN_SPREAD:
        return []
    evidence: Evidence = {
        "images_with_objects": len(results),
        "without_a_detection": silent,
        "highest_score": float(torch.stack([scores.max() for scores, _ in results]).max()),
        "threshold_of_scores": case.detector.score_threshold,
        "spread_of_the_scores_of_an_image": float(ranges),
    }
    return [Finding(NAME, "training", evidence)]


NAME = "score-collapse"
CHECK = Check(NAME, look, trained=True)
