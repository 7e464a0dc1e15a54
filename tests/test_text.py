"""Tables as plain text."""

from pellucid.text import aligned


def test_columns_line_up_and_numbers_end_together() -> None:
    assert aligned([("name", "n", "note"), ("a", "1,000", ""), ("long name", "7", "x")], right={1}) == "\n".join(
        ["name           n  note", "a          1,000", "long name      7  x"]
    )
