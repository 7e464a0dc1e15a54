"""Classifiers of hand gestures: training on a folder of pictures, and predictions of a gesture or "unsure"."""
