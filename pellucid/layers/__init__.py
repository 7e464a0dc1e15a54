"""Layers: one per file, each with its forward and its backward pass."""
