"""The view Playground: a small network on points in the plane, which learns before one's eyes."""

from pathlib import Path

from pellucid.studio.play.session import HANDLERS, PlaySession
from pellucid.studio.view import View

PLAY = View("play", "Playground", Path(__file__).parent / "page", PlaySession, HANDLERS, uses=("draw",))
