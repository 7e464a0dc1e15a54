"""The view Data: examples as a network receives them, with the numbers and the differences of each part."""

from pathlib import Path

from pellucid.studio.data.session import HANDLERS, DataSession
from pellucid.studio.view import View

DATA = View("data", "Data", Path(__file__).parent / "page", DataSession, HANDLERS)
