"""A plugin for Pellucid that learns the rotation angles of pictures from a folder with angles.csv."""

from pathlib import Path

import pellucid
from pellucid.task import Command

from .objective import Angle, angle_error
from .task import Uprightness

pellucid.register(
    Angle,
    angle_error,
    Uprightness,
    Command("turn", "turn a picture by an angle", "pellucid_upright.turn"),
    Path(__file__).parent / "recipes",
)
