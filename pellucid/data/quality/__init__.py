"""The quality of a collection of images: duplicates, near duplicates and blur."""

from pellucid.data.quality.duplicates import DisjointSets, SimilarPair, exact_duplicates, near_duplicates
from pellucid.data.quality.survey import Survey, UnreadableFile, is_blurry, sharpness, survey

__all__ = [
    "DisjointSets",
    "SimilarPair",
    "Survey",
    "UnreadableFile",
    "exact_duplicates",
    "is_blurry",
    "near_duplicates",
    "sharpness",
    "survey",
]
