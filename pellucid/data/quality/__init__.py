"""The quality of a collection of images: duplicates, near duplicates and blur."""

from pellucid.data.quality.duplicates import Groups, SimilarPair, exact_duplicates, near_duplicates
from pellucid.data.quality.survey import Survey, UnreadableFile, blurry, sharpness, survey

__all__ = [
    "Groups",
    "SimilarPair",
    "Survey",
    "UnreadableFile",
    "blurry",
    "exact_duplicates",
    "near_duplicates",
    "sharpness",
    "survey",
]
