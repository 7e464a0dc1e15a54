"""Fixtures of the tests of sweeps."""

from tests.cli.conftest import say

__all__ = ["say"]
