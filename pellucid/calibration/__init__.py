"""Calibrated confidence of a trained classifier, and the familiarity of its inputs."""
