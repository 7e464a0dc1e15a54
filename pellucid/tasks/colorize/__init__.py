"""Colorization: the Lab components a and b of pictures of any size, predicted from their lightness."""

from pellucid.tasks.colorize.colorizer import Colorizer, Smoothing, is_colorizer, lightness_of
from pellucid.tasks.colorize.hints import Hint, read_hints
from pellucid.tasks.colorize.measure import FIGURES, Measured, evaluate, measure
from pellucid.tasks.colorize.written import check_files, write_colorized

__all__ = [
    "FIGURES",
    "Colorizer",
    "Hint",
    "Measured",
    "Smoothing",
    "check_files",
    "evaluate",
    "is_colorizer",
    "lightness_of",
    "measure",
    "read_hints",
    "write_colorized",
]
