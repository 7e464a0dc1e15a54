"""Small picture trees for the tests of gestures."""

from tests.data.conftest import write_tree as tree

__all__ = ["tree"]
