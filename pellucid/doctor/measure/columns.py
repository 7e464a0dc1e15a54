"""Columns of a history as numbers."""

from math import isfinite

from pellucid.run.history import History


def column(history: History | None, name: str) -> list[float]:
    """Return one column, [] where there is none; what is missing or not finite counts as infinite."""
    if history is None or not history.rows or name not in history.rows[0]:
        return []
    found = [row.get(name) for row in history.rows]
    return [float(one) if isinstance(one, int | float) and isfinite(one) else float("inf") for one in found]
