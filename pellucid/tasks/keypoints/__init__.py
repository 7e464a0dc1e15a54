"""Key-points of the one object in each picture, such as 68 points of a face."""

from pellucid.tasks.keypoints.finder import KeypointFinder, explain_point, is_keypoint_model
from pellucid.tasks.keypoints.measure import evaluate
from pellucid.tasks.outputs import coco

__all__ = [
    "KeypointFinder",
    "coco",
    "evaluate",
    "explain_point",
    "is_keypoint_model",
]
