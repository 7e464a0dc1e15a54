"""`pellucid data`: the built-in data sets, and annotated images in folders."""

import argparse

from pellucid.cli.args import Actions

ACTIONS = {
    "list": "list the built-in data sets",
    "get": "download a data set",
    "check": "check the files of one data set, or of all that are present",
    "show": "draw annotated images with their boxes, masks and key-points",
    "lint": "list what is wrong with annotated images, file by file",
    "convert": "write annotated images in another format: Pascal VOC, COCO, YOLO or labelme",
}


def parser() -> Actions:
    """Return the parser of this command."""
    return Actions("data", "Data sets: the built-in ones, and images with annotated objects in folders.", ACTIONS)


def handle(args: argparse.Namespace) -> int:
    """Run the action."""
    return args.handle(args)
