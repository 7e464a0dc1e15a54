"""Small picture trees."""

from tests.data.conftest import write_tree as tree

__all__ = ["tree"]
