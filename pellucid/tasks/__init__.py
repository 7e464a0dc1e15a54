"""Tasks on image files and videos: classification, gestures, detection, segmentation, colorization and others."""

from pellucid.task import register_task
from pellucid.tasks.classify import Classification
from pellucid.tasks.colorize import Colorization
from pellucid.tasks.detect import Detection
from pellucid.tasks.generate import Generation
from pellucid.tasks.keypoints import Keypoints
from pellucid.tasks.segment import Segmentation
from pellucid.tasks.translate import Translation

# A model is assigned to the last task that it matches, and classification matches all.
for task in (Classification(), Keypoints(), Segmentation(), Generation(), Detection(), Translation(), Colorization()):
    register_task(task)
