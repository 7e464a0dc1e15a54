"""`pellucid gestures`: classifiers of hand gestures, or of other images, by transfer learning."""

import argparse

from pellucid.cli.args import Actions
from pellucid.text import note

ACTIONS = {
    "train": "train on the class folders of a folder, after a check of its images",
    "predict": "classify images, a video or the frames of a camera, or answer unsure",
    "compare": "train five variants of transfer learning, and compare them on one page",
}


def parser() -> Actions:
    """Return the parser of this command."""
    return Actions(
        "gestures", "Train and use classifiers of hand gestures, or of any few classes, by transfer learning.", ACTIONS
    )


def handle(args: argparse.Namespace) -> int:
    """Run the action."""
    return args.handle(args)


def warn_uncalibrated(uncalibrated: bool) -> None:
    """Print a note if no confidence was fitted, since then no answer is "unsure"."""
    if uncalibrated:
        note("the model has no fitted confidence, so no answer is unsure")
