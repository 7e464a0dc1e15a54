"""The view Teach: a classifier of what a camera sees, from frames that are collected by holding a button."""

from pathlib import Path

from pellucid.studio.gestures.session import HANDLERS, GestureSession
from pellucid.studio.view import View

GESTURES = View("gestures", "Teach", Path(__file__).parent / "page", GestureSession, HANDLERS)
