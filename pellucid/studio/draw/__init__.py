"""The view Draw: the passes of a drawing through a network, derivatives as factors, and steps of gradient descent."""

from pathlib import Path

from pellucid.studio.draw.session import HANDLERS, DrawSession
from pellucid.studio.view import View

DRAW = View("draw", "Draw", Path(__file__).parent / "page", DrawSession, HANDLERS)
