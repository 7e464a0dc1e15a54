"""Hold out a fraction of each class, and keep near duplicates together."""

from collections import Counter
from collections.abc import Sequence

from pellucid.data.seeds import mix


def hold_out(
    labels: Sequence[int], groups: Sequence[int], keys: Sequence[int], fraction: float, seed: int
) -> list[int]:
    """Return the sorted indices of the pictures to hold out: about `fraction` of each class, and whole groups only.

    labels: the class of each picture. groups: for each picture the lowest index in its group, its own index if it is
    alone. keys: for each picture 64 bits computed from its content, so that its position in the order changes neither
    with its name nor with added pictures. The groups are taken in the order of `mix(seed, smallest key)`. A group is
    held out if no class then has more than round(fraction * n) held-out pictures (at least 1), and each class keeps one
    picture or more. If a class still has none held out, its smallest group is, provided that each class keeps a
    picture. Without groups, and with indices as keys, the result is the same as that of `Dataset.split`.
    """
    members: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    classes = {group: Counter(labels[i] for i in indices) for group, indices in members.items()}
    total = Counter(labels)
    limits = {label: min(max(int(n * fraction + 0.5), 1), n - 1) for label, n in total.items()}
    n_held_out: Counter[int] = Counter()
    chosen: set[int] = set()

    def take(group: int) -> None:
        chosen.add(group)
        n_held_out.update(classes[group])

    smallest = {group: min(keys[i] for i in indices) for group, indices in members.items()}
    order = sorted(members, key=lambda group: mix(seed, smallest[group]))
    for group in order:
        if all(n_held_out[label] + n <= limits[label] for label, n in classes[group].items()):
            take(group)
    for label in sorted(total):
        candidates = [
            group
            for group in order
            if label in classes[group]
            and all(n_held_out[other] + n < total[other] for other, n in classes[group].items())
        ]
        if not n_held_out[label] and candidates:
            take(min(candidates, key=lambda group: len(members[group])))
    return sorted(i for group in chosen for i in members[group])
