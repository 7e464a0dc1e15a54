"""The pictures of a run: each function returns a matplotlib Figure, or None when there is nothing to draw."""
