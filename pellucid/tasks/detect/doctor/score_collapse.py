"""Check for scores that are the same for all boxes, or so low that nothing is detected."""

import torch

from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.tasks.detect.doctor.case import DetectionCase

MIN_EMPTY_FRACTION = 0.9  # fraction of the images with objects in which nothing is detected
MIN_SPREAD = 1e-3  # median over images of the highest minus the lowest score of an image's boxes


def find(case: DetectionCase) -> list[Finding]:
    """Examine the scores of a trained detector in the images of the sample that have objects."""
    examples = zip(case.sample, case.scores, case.detections, strict=True)
    scores_and_counts = [
        (scores, len(detections)) for (_, objects), scores, detections in examples if len(objects) and len(scores)
    ]
    if not scores_and_counts:
        return []
    n_empty = sum(not count for _, count in scores_and_counts)
    median_range = torch.stack([scores.max() - scores.min() for scores, _ in scores_and_counts]).median()
    if n_empty < MIN_EMPTY_FRACTION * len(scores_and_counts) and float(median_range) >= MIN_SPREAD:
        return []
    evidence: Evidence = {
        "images_with_objects": len(scores_and_counts),
        "without_a_detection": n_empty,
        "highest_score": float(torch.stack([scores.max() for scores, _ in scores_and_counts]).max()),
        "threshold_of_scores": case.detector.score_threshold,
        "spread_of_the_scores_of_an_image": float(median_range),
    }
    return [Finding(NAME, "training", evidence)]


NAME = "score-collapse"
CHECK = Check(NAME, find, trained=True)
