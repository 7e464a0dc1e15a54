"""Plain text: tables, and counts of things."""

from collections.abc import Collection, Sequence


def plural(count: int, what: str) -> str:
    """Return "1 epoch" or "30 epochs"."""
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return `rows`, of equal length, as columns two spaces apart; those numbered in `right` end together."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if k in right else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
