"""Small picture trees for the tests of gestures."""

from tests.data.conftest import tree

__all__ = ["tree"]
