"""`pellucid data`: the built-in data sets, and folders of annotated images."""

import argparse

from pellucid.cli.args import Actions

ACTIONS = {
    "list": "list the built-in data sets",
    "get": "download a data set",
    "check": "check the files of one data set, or of all that are present",
    "show": "draw annotated images with their boxes, masks and key-points",
    "lint": "list the faults of annotated images by file",
    "convert": "write annotated images in another format: Pascal VOC, COCO, YOLO or labelme",
}


def parser() -> Actions:
    """Return the parser of this command."""
    return Actions("data", "Manage the built-in data sets, and folders of annotated images.", ACTIONS)


def handle(args: argparse.Namespace) -> int:
    """Run the action."""
    return args.handle(args)
