"""Tables as plain text."""

import torch

from pellucid.base.text import aligned, shown


def test_table_columns_are_aligned_and_numbers_are_flush_right() -> None:
    assert aligned([("name", "n", "note"), ("a", "1,000", ""), ("long name", "7", "x")], right={1}) == "\n".join(
        ["name           n  note", "a          1,000", "long name      7  x"]
    )


def test_values_in_messages_are_one_short_line() -> None:
    assert shown("a word") == "'a word'"
    assert shown([1.0] * 100) == f"[{'1.0, ' * 11}1..."
    assert shown(torch.zeros(2, 2)) == "tensor([[0., 0.], [0., 0.]])"
