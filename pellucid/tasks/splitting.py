"""Hold out a share of every class, with near duplicates on one side."""

from collections import Counter
from collections.abc import Sequence

from pellucid.data.seeds import mix


def hold_out(
    labels: Sequence[int], groups: Sequence[int], keys: Sequence[int], fraction: float, seed: int
) -> list[int]:
    """Return which of n pictures to hold out: about `fraction` of each class, whole groups only.

    labels: the class of each picture; groups: the smallest picture of the group it is in, itself where it is alone.
    keys: a number of 64 bits for each picture, of its content, so that neither its name nor what was added beside it
    moves it. The groups are gone through in the order of `mix(seed, smallest key)`; one is held out while none of its
    classes gets more than round(fraction * n) pictures held out, at least 1, nor keeps none. A class that then has none
    gives its smallest group, where it has two. Without groups, and with places for keys, this is `Dataset.split`. The
    result is sorted.
    """
    members: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    classes = {group: Counter(labels[i] for i in some) for group, some in members.items()}
    total = Counter(labels)
    wanted = {label: min(max(int(n * fraction + 0.5), 1), n - 1) for label, n in total.items()}
    held: Counter[int] = Counter()
    chosen: set[int] = set()

    def take(group: int) -> None:
        chosen.add(group)
        held.update(classes[group])

    smallest = {group: min(keys[i] for i in some) for group, some in members.items()}
    order = sorted(members, key=lambda group: mix(seed, smallest[group]))
    for group in order:
        if all(held[label] + n <= wanted[label] for label, n in classes[group].items()):
            take(group)
    for label in sorted(total):
        fitting = [
            group
            for group in order
            if label in classes[group] and all(held[one] + n < total[one] for one, n in classes[group].items())
        ]
        if not held[label] and fitting:
            take(min(fitting, key=lambda group: len(members[group])))
    return sorted(i for group in chosen for i in members[group])
