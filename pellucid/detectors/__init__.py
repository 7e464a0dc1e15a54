"""Detectors: objectives that find objects in images."""

from collections.abc import Callable

from pellucid.detectors.base import FATES, Anchors, Candidates, Decision, Detector, Fate, OneStageDetector
from pellucid.detectors.fast import FastRCNN, fast_rcnn
from pellucid.detectors.faster import FasterRCNN, ProposalDetector, faster_rcnn
from pellucid.detectors.keypoint import KeypointRCNN, keypoint_rcnn
from pellucid.detectors.mask import MaskRCNN, mask_rcnn
from pellucid.detectors.single_stage import SingleStage, single_stage
from pellucid.detectors.ssd import SSD, ssd
from pellucid.detectors.yolo1 import YOLO1, yolo1
from pellucid.detectors.yolo3 import YOLO3, yolo3

DETECTORS: dict[str, Callable[..., Detector]] = {
    make.__name__: make for make in (single_stage, ssd, yolo3, yolo1, fast_rcnn, faster_rcnn, mask_rcnn, keypoint_rcnn)
}
DETECTOR_CLASSES: tuple[type[Detector], ...] = (  # the classes that a weights file may name
    SingleStage,
    SSD,
    YOLO3,
    YOLO1,
    FastRCNN,
    FasterRCNN,
    MaskRCNN,
    KeypointRCNN,
)

__all__ = [
    "DETECTORS",
    "DETECTOR_CLASSES",
    "FATES",
    "SSD",
    "YOLO1",
    "YOLO3",
    "Anchors",
    "Candidates",
    "Decision",
    "Detector",
    "FastRCNN",
    "FasterRCNN",
    "Fate",
    "KeypointRCNN",
    "MaskRCNN",
    "OneStageDetector",
    "ProposalDetector",
    "SingleStage",
    "fast_rcnn",
    "faster_rcnn",
    "keypoint_rcnn",
    "mask_rcnn",
    "single_stage",
    "ssd",
    "yolo1",
    "yolo3",
]
