"""The names of the key-points, and their order after mirroring, in data.yaml of a YOLO data set."""

from collections.abc import Mapping
from typing import Any

from pellucid.base.errors import PellucidError


def parse_point_names(settings: Mapping[str, Any], count: int, where: str) -> tuple[str, ...]:
    """Return kpt_names, a list of `count` names or one list for each class, by default p0, p1, ...

    where: the file, in messages. Raises PellucidError for other values, and for lists that differ between the classes.
    """
    value = settings.get("kpt_names")
    if not value or not count:
        return tuple(f"p{k}" for k in range(count))
    lists = [*value.values()] if isinstance(value, dict) else [value]
    names = lists[0]
    is_list = isinstance(names, list) and len(names) == count and all(isinstance(name, str) for name in names)
    if not is_list or len({*names}) < count:
        raise PellucidError(f"{where}: kpt_names is {value!r:.80}; give a list of {count} different names")
    if any(other != names for other in lists):
        raise PellucidError(f"{where}: kpt_names differs between the classes; split the data by class")
    return tuple(names)


def parse_flips(settings: Mapping[str, Any], count: int, where: str) -> tuple[tuple[int, int], ...] | None:
    """Return the pairs of key-points that flip_idx exchanges, None without flip_idx.

    where: the file, in messages. Raises PellucidError unless each key-point is itself or one of a pair.
    """
    value = settings.get("flip_idx")
    if not value or not count:
        return None
    digits = {str(k): k for k in range(count)}  # the values are text
    order = [digits.get(item) for item in value if isinstance(item, str)] if isinstance(value, list) else []
    is_mirroring = len(order) == count and all(k is not None and order[k] == j for j, k in enumerate(order))
    if not is_mirroring:
        raise PellucidError(
            f"{where}: flip_idx is {value!r:.80}; give the index of each of the {count} key-points after mirroring, "
            "such as [0, 2, 1] for a nose, a left and a right eye"
        )
    return tuple((j, k) for j, k in enumerate(order) if k is not None and j < k)
