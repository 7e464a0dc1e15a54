"""The open cases: 20 traps with their twins."""

from . import open_boxes, open_lines, open_masks, open_parts, open_pixels

CASES = [*open_masks.CASES, *open_pixels.CASES, *open_parts.CASES, *open_lines.CASES, *open_boxes.CASES]
