"""Hold out a fraction of each class without dividing groups of near duplicates."""

from collections import Counter
from collections.abc import Sequence

from pellucid.data.seeds import mix


def hold_out(
    labels: Sequence[int], groups: Sequence[int], keys: Sequence[int], fraction: float, seed: int
) -> list[int]:
    """Return the sorted indices of the pictures to hold out, about `fraction` of each class; no group is divided.

    labels: the class of each picture. groups: for each picture the lowest index in its group, its own index without a
    group. keys: for each picture 64 bits computed from its content, so that renaming or adding pictures does not change
    their order. The groups are visited in the order of `mix(seed, smallest key)`. A group is held out if afterwards no
    class has more than round(fraction * n) held-out pictures (at least 1), and each class keeps at least one picture.
    If no picture of a class was held out, its smallest group is held out, provided that each class keeps a picture.
    Without groups, and with indices as keys, the result equals that of `Dataset.split`.
    """
    indices_by_group: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        indices_by_group.setdefault(group, []).append(i)
    class_counts = {group: Counter(labels[i] for i in indices) for group, indices in indices_by_group.items()}
    class_totals = Counter(labels)
    limit_by_label = {
        label: min(max(int(count * fraction + 0.5), 1), count - 1) for label, count in class_totals.items()
    }
    n_held_out: Counter[int] = Counter()
    held_out_groups: set[int] = set()

    def hold_out_group(group: int) -> None:
        held_out_groups.add(group)
        n_held_out.update(class_counts[group])

    smallest_key = {group: min(keys[i] for i in indices) for group, indices in indices_by_group.items()}
    group_order = sorted(indices_by_group, key=lambda group: mix(seed, smallest_key[group]))
    for group in group_order:
        if all(n_held_out[label] + count <= limit_by_label[label] for label, count in class_counts[group].items()):
            hold_out_group(group)
    for label in sorted(class_totals):
        candidates = [
            group
            for group in group_order
            if label in class_counts[group]
            and all(
                n_held_out[label_of_group] + count < class_totals[label_of_group]
                for label_of_group, count in class_counts[group].items()
            )
        ]
        if not n_held_out[label] and candidates:
            hold_out_group(min(candidates, key=lambda group: len(indices_by_group[group])))
    return sorted(i for group in held_out_groups for i in indices_by_group[group])
