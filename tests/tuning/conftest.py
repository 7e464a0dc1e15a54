"""Fixtures for the tests of sweeps."""

from tests.cli.conftest import cli

__all__ = ["cli"]
