"""Annotations of objects in images, in the formats of pellucid.data.format_names."""

from pellucid.data.annotations.base import AnnotationFault, Annotations, ImageRecord, Instance
from pellucid.data.annotations.formats import FORMATS, find_format, parts_in_order, read_annotations

__all__ = [
    "FORMATS",
    "AnnotationFault",
    "Annotations",
    "ImageRecord",
    "Instance",
    "find_format",
    "parts_in_order",
    "read_annotations",
]
