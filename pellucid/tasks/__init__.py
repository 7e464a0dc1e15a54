"""Tasks on image files and videos: classification, gestures, detection, segmentation, colorization and others."""
