"""The view Learn: lessons as pages, whose figures are computed for the values that the reader chooses."""

from pathlib import Path

from pellucid.studio.learn.session import HANDLERS, LearnSession
from pellucid.studio.view import View

LEARN = View("learn", "Learn", Path(__file__).parent / "page", LearnSession, HANDLERS)
