"""What the doctor said of each list of mistakes when the list was opened: what to expect of an unforeseen mistake."""

from collections.abc import Iterable
from typing import NamedTuple

from pellucid.metrics.bootstrap import wilson


class Opening(NamedTuple):
    """The counts of a list at its opening; None for what was not counted."""

    name: str
    mistakes: int
    named: int
    general: int | None
    wrong: int | None

    @property
    def other(self) -> int | None:
        """The number of mistakes of which the doctor reported a symptom only, or nothing."""
        if self.general is None or self.wrong is None:
            return None
        return self.mistakes - self.named - self.general - self.wrong


# Measured once: a list that was opened is known to those who improve the doctor. The first list is not in this
# repository; the counts of the others are those of docs/causes.md at their openings.
OPENINGS = (
    Opening("additional", 29, 8, None, None),
    Opening("second", 31, 10, 4, 6),
    Opening("third", 34, 15, 3, 7),
    Opening("fourth", 29, 10, 5, 6),
    Opening("fifth", 36, 10, 12, 9),
)
# Lists that follow what people ask in forums; of two readers, the counts of the stricter one. "named" also counts what
# the library refuses before the training. Of the fifth list, three mistakes ended the doctor with an error.
POSTED = (
    Opening("posted", 30, 21, None, None),
    Opening("posted, second", 38, 16, None, None),
    Opening("posted, third", 39, 19, None, None),
    Opening("posted, fourth", 39, 25, None, None),
    Opening("posted, fifth", 44, 28, None, None),
    Opening("posted, sixth", 45, 32, 7, 1),  # benchmarks/doctor/posts, as the next one
    Opening("posted, seventh", 51, 34, 3, 3),
)
POSTED_HEALTHY, POSTED_ACCUSED = 126, 11  # healthy trainings of these lists, and how many of them were accused


def expectation() -> str:
    """Return what to expect of a mistake that nobody has thought of, and of one that people ask about."""
    mistakes = sum(one.mistakes for one in OPENINGS)
    named = sum(one.named for one in OPENINGS)
    low, high = wilson(named, mistakes)
    rates = listed(f"{100 * one.named / one.mistakes:.0f}" for one in OPENINGS)
    wrong_rates = listed(f"{100 * one.wrong / one.mistakes:.0f}" for one in OPENINGS if one.wrong is not None)
    posted, posted_named = sum(one.mistakes for one in POSTED), sum(one.named for one in POSTED)
    return (
        "Of harmful mistakes that nobody has thought of, expect the doctor to name a third: of five lists that were "
        f"written without knowledge of it, it named {rates} % when each was opened ({named} of {mistakes}, 95 % "
        f"interval {100 * low:.0f} to {100 * high:.0f} %). It can be wrong, too: of the last four lists, it called "
        f"something else the cause in {wrong_rates} %. Of mistakes as people post them, in seven lists, it named "
        f"{posted_named} of {posted}, and accused {POSTED_ACCUSED} of {POSTED_HEALTHY} healthy trainings."
    )


def listed(words: Iterable[str]) -> str:
    """Return words as "a, b and c"."""
    *first, last = words
    return f"{', '.join(first)} and {last}"


def openings_table() -> str:
    """Return the table of the openings."""
    lines = [
        "| list | mistakes | named | general | wrong | symptom or nothing | named, 95 % |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in OPENINGS:
        low, high = wilson(one.named, one.mistakes)
        counts = ["-" if count is None else str(count) for count in (one.general, one.wrong, one.other)]
        share = f"{100 * one.named / one.mistakes:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)"
        lines.append(f"| {one.name} | {one.mistakes} | {one.named} | {' | '.join(counts)} | {share} |")
    return "\n".join(lines) + "\n"
