"""The sealed cases: 10 traps with their twins."""

from . import sealed_1, sealed_2

CASES = [*sealed_1.CASES, *sealed_2.CASES]
