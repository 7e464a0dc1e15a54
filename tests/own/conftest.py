"""The command line for tests of the user's own parts."""

from tests.cli.conftest import say

__all__ = ["say"]
