"""The fixture `cli` for tests of user-defined classes."""

from tests.cli.conftest import cli

__all__ = ["cli"]
