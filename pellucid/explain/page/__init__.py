"""The page of Zeiler and Fergus for any convolutional network: what its maps look for, and what it needs them for."""

from pellucid.explain.page.gather import Look, look
from pellucid.explain.page.write import write_page

__all__ = ["Look", "look", "write_page"]
