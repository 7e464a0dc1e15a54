"""Explanations as pictures with colour bars, and as numbers in files."""

from pellucid.explain.pictures.colours import DIVERGING, SEQUENTIAL, scale
from pellucid.explain.pictures.files import packed, write_picture
from pellucid.explain.pictures.heat import heat
from pellucid.explain.pictures.sheet import filters, sheet

__all__ = ["DIVERGING", "SEQUENTIAL", "filters", "heat", "packed", "scale", "sheet", "write_picture"]
