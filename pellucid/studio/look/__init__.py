"""The view Look: what any model says of a picture or a film, as layers over it, with controls."""

from pathlib import Path

from pellucid.studio.look.session import HANDLERS, LookSession
from pellucid.studio.view import View

LOOK = View("look", "Look", Path(__file__).parent / "page", LookSession, HANDLERS)
