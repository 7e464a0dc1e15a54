"""Tasks: classification, gestures and segmentation of picture files and videos."""
