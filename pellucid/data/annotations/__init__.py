"""Annotations of objects in images: Pascal VOC, COCO, YOLO text and labelme."""

from pellucid.data.annotations.base import Annotations, Fault, Instance, Record
from pellucid.data.annotations.layout import FORMATS, find_format, parts_in_order, read_annotations

__all__ = [
    "FORMATS",
    "Annotations",
    "Fault",
    "Instance",
    "Record",
    "find_format",
    "parts_in_order",
    "read_annotations",
]
