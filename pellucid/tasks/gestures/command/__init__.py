"""`pellucid gestures`: classifiers of hand gestures, or of other images, by transfer learning."""

from pellucid.command.args import Action, Actions
from pellucid.tasks.gestures.command import compare, predict, train

ACTIONS = {
    "train": Action("train on the class folders of a folder, after a check of its images", train.parser, train.handle),
    "predict": Action(
        "classify images, a video or the frames of a camera, or answer unsure", predict.parser, predict.handle
    ),
    "compare": Action(
        "train five variants of transfer learning, and compare them on one page", compare.parser, compare.handle
    ),
}


def parser() -> Actions:
    """Return the parser of this command."""
    return Actions(
        "gestures", "Train and use classifiers of hand gestures, or of any few classes, by transfer learning.", ACTIONS
    )
