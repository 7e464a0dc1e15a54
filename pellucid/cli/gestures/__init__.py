"""`pellucid gestures`: classifiers of hand gestures, or of other images, by transfer learning."""

import argparse

from pellucid.cli.args import Actions
from pellucid.text import note

ACTIONS = {
    "train": "learn the classes of a folder, and look for what is wrong with its pictures",
    "predict": "name the class of pictures, of a video or of a camera's frames, or say that it is unsure",
    "compare": "train five variants of transfer learning, and show them side by side",
}


def parser() -> Actions:
    """Return the parser of this command."""
    return Actions("gestures", "Hand gestures, or any few classes, learned on top of a trained network.", ACTIONS)


def handle(args: argparse.Namespace) -> int:
    """Run the action."""
    return args.handle(args)


def warn_uncalibrated(uncalibrated: bool) -> None:
    """Print a note that no answer is "unsure" unless confidence was fitted."""
    if uncalibrated:
        note("the model holds no fitted confidence, so that no answer is unsure")
