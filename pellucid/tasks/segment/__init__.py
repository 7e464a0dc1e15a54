"""Semantic segmentation: a class for each pixel of pictures of any size."""

from pellucid.tasks.segment.crf import dense_crf
from pellucid.tasks.segment.explained import region, restricted
from pellucid.tasks.segment.segmenter import Segmentation, Segmenter, evaluate, is_segmenter, write_segmentation

__all__ = [
    "Segmentation",
    "Segmenter",
    "dense_crf",
    "evaluate",
    "is_segmenter",
    "region",
    "restricted",
    "write_segmentation",
]
