"""The tasks of the library: classification, detection, segmentation, key-points, colorization and others."""

from pellucid.task import register_task
from pellucid.tasks.classify import Classification
from pellucid.tasks.colorize import Colorization
from pellucid.tasks.detect import Detection
from pellucid.tasks.generate import Generation
from pellucid.tasks.keypoints import Keypoints
from pellucid.tasks.multilabel import MultiLabelClassification
from pellucid.tasks.regress import NumberRegression
from pellucid.tasks.segment import Segmentation
from pellucid.tasks.translate import Translation

# A model is assigned to the last registered task that it matches; classification, which matches all, is the first.
for task in (
    Classification(),
    MultiLabelClassification(),
    NumberRegression(),
    Keypoints(),
    Segmentation(),
    Generation(),
    Detection(),
    Translation(),
    Colorization(),
):
    register_task(task)
