"""Annotations of objects in images: Pascal VOC, COCO, YOLO text and labelme."""

from pellucid.data.annotations.base import AnnotationFault, Annotations, ImageRecord, Instance
from pellucid.data.annotations.layout import FORMATS, find_format, parts_in_order, read_annotations

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
