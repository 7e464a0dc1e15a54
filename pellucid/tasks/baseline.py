"""A table of the metrics of a model and of a baseline."""

from collections.abc import Mapping
from typing import Any

from pellucid.base.text import table


def baseline_table(
    values: Mapping[str, Any], descriptions: Mapping[str, str], heading: str, baseline: str
) -> list[str]:
    """Return the lines of a table that compares the metrics of a model with those of a baseline.

    values: of each metric, under the keys NAME (of the model) and NAME_BASELINE (of the baseline); None is shown as a
    dash. descriptions: the description of each metric NAME. heading: of the model's column. baseline: its name.
    """
    rows = [
        (
            name,
            *("-" if values[key] is None else f"{values[key]:.4g}" for key in (name, f"{name}_{baseline}")),
            description,
        )
        for name, description in descriptions.items()
    ]
    return table([("metric", heading, baseline, ""), *rows], right=(1, 2))
