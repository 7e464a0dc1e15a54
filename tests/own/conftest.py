"""The command line for tests of the user's own parts."""

from tests.cli.conftest import cli

__all__ = ["cli"]
