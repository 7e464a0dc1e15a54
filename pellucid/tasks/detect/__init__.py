"""Detection: objects that are found, missed and mistaken in images."""

from pellucid.tasks.detect.finder import ObjectFinder, is_detector, overlay
from pellucid.tasks.detect.findings import Finding, findings
from pellucid.tasks.detect.measure import Measured, evaluate
from pellucid.tasks.detect.page import detection_page
from pellucid.tasks.detect.pipeline import Pipeline, pipeline
from pellucid.tasks.outputs import CocoResults

__all__ = [
    "CocoResults",
    "Finding",
    "Measured",
    "ObjectFinder",
    "Pipeline",
    "detection_page",
    "evaluate",
    "findings",
    "is_detector",
    "overlay",
    "pipeline",
]
