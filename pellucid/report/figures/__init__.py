"""Figures of reports: each function returns a matplotlib Figure, or None when there is nothing to draw."""
