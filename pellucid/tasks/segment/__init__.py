"""Semantic segmentation: a class for each pixel of pictures of any size."""

from pellucid.tasks.segment.crf import dense_crf
from pellucid.tasks.segment.evaluate import evaluate
from pellucid.tasks.segment.predict import Segmentation, Segmenter, is_segmenter
from pellucid.tasks.segment.write import write_segmentation

__all__ = ["Segmentation", "Segmenter", "dense_crf", "evaluate", "is_segmenter", "write_segmentation"]
