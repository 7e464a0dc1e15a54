"""The quality of a collection of images: duplicates, near duplicates and blur."""

from pellucid.data.quality.duplicates import Groups, SimilarPair, exact_duplicates, near_duplicates
from pellucid.data.quality.survey import Corrupt, Survey, blurry, sharpness, survey

__all__ = [
    "Corrupt",
    "Groups",
    "SimilarPair",
    "Survey",
    "blurry",
    "exact_duplicates",
    "near_duplicates",
    "sharpness",
    "survey",
]
