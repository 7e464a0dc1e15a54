"""What layers keep that need nothing to go back."""

from typing import NamedTuple


class NoCache(NamedTuple):
    """Nothing is kept."""
