"""Held-out examples: a share of every class, without dividing groups."""

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid.data import Dataset
from pellucid.data.splitting import hold_out

LABELS = st.lists(st.integers(0, 3), min_size=2, max_size=60)


@given(LABELS, st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.integers(0, 5))
def test_hold_out_without_groups_equals_the_split_of_a_data_set(labels, fraction, seed):
    if max(Counter(labels).values()) < 2:
        return
    x = torch.arange(len(labels), dtype=torch.uint8).reshape(-1, 1, 1, 1)
    parts = Dataset.from_arrays(x, labels, ("a", "b", "c", "d")).split(fraction, seed)
    assert hold_out(labels, range(len(labels)), range(len(labels)), fraction, seed) == parts.test.x.flatten().tolist()


@given(LABELS, st.data(), st.sampled_from([0.2, 0.5]), st.integers(0, 5))
def test_groups_are_not_divided_and_every_class_is_in_the_training_part(labels, data, fraction, seed):
    groups = [data.draw(st.integers(0, i)) for i in range(len(labels))]
    groups = [groups[group] for group in groups]  # a group need not be named by its smallest member
    held_out = set(hold_out(labels, groups, range(len(labels)), fraction, seed))
    assert all(len({i in held_out for i, other in enumerate(groups) if other == group}) == 1 for group in set(groups))
    training_classes = {label for i, label in enumerate(labels) if i not in held_out}
    assert training_classes == set(labels)


@given(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=12), min_size=1, max_size=4), st.integers(0, 5))
def test_every_class_of_two_groups_is_in_both_parts(sizes, seed):
    """`sizes` are the sizes of the groups of each class; no group has two classes."""
    labels = [label for label, group_sizes in enumerate(sizes) for size in group_sizes for _ in range(size)]
    groups = [
        group for group, size in enumerate(size for group_sizes in sizes for size in group_sizes) for _ in range(size)
    ]
    n_held_out = Counter(labels[i] for i in hold_out(labels, groups, range(len(labels)), 0.2, seed))
    for label, group_sizes in enumerate(sizes):
        expected = max(1, int(sum(group_sizes) * 0.2 + 0.5))
        assert n_held_out[label] <= max(expected, min(group_sizes))
        assert (n_held_out[label] > 0) == (len(group_sizes) > 1)


def test_a_single_group_is_in_the_training_part():
    assert hold_out([0, 0, 1, 1], [0, 0, 0, 0], range(4), 0.5, 0) == []


@given(st.permutations(range(40)), st.integers(0, 5))
def test_a_split_does_not_depend_on_the_order_of_pictures(order, seed):
    """Two classes; pictures 0 and 1, 2 and 3, ... form groups, and each picture has a unique key."""
    keys = [7 * k + 3 for k in range(40)]

    def held_out_pictures(some: list[int]) -> set[int]:
        first: dict[int, int] = {}
        groups = [first.setdefault(k // 2, index) for index, k in enumerate(some)]
        result = hold_out([int(k < 20) for k in some], groups, [keys[k] for k in some], 0.25, seed)
        return {some[index] for index in result}

    assert held_out_pictures(list(order)) == held_out_pictures(list(range(40)))
