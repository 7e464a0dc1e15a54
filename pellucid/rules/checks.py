"""Checks of what rules are given; each raises PellucidError in one line."""

import math
from typing import Any

from pellucid.errors import PellucidError


def at_least_zero(rule: object, **values: Any) -> None:
    """Require finite numbers of at least 0."""
    for name, value in values.items():
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            raise PellucidError(f"{type(rule).__name__}: {name} must be a number of at least 0, not {value!r}")
