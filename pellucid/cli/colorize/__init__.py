"""`pellucid colorize`: colorize grey images, and compare colorizers."""

import argparse
from collections.abc import Sequence

from pellucid.cli.args import Actions
from pellucid.cli.colorize import pictures

ACTIONS = {
    "compare": "measure several models on the same images, in one table and page",
    "real": "write a page that asks people which of two images is real",
}


class Words(Actions):
    """The parser of `colorize MODEL SOURCE`, and of `colorize ACTION ...`."""

    def read(self, words: Sequence[str]) -> argparse.Namespace | None:
        """Parse the words after the command's name."""
        if words and words[0] in self.actions:
            return super().read(words)
        args = pictures.parser().read(words)
        if args is not None:
            args.handle = pictures.handle
        return args


def parser() -> Words:
    """Return the parser of this command."""
    return Words("colorize", "Colorize grey images.", ACTIONS)


def handle(args: argparse.Namespace) -> int:
    """Run the action."""
    return args.handle(args)
