"""The metrics of a model beside those of a baseline."""

from collections.abc import Mapping
from typing import Any

from pellucid.text import table


def beside_baseline(values: Mapping[str, Any], figures: Mapping[str, str], heading: str, baseline: str) -> list[str]:
    """Return the lines of a table that compares the metrics of a model with those of a baseline.

    values: under the names NAME and NAME_BASELINE. figures: the description of each metric NAME. heading: of
    the model's column.
    """
    rows = [
        (name, *("-" if values[key] is None else f"{values[key]:.4g}" for key in (name, f"{name}_{baseline}")), about)
        for name, about in figures.items()
    ]
    return table([("metric", heading, baseline, ""), *rows], right=(1, 2))
