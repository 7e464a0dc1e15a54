"""`pellucid scorecard`: run `python -m conformance`, which needs a checkout of the project."""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.command.args import Parser


def parser() -> Parser:
    """Return the parser of `python -m conformance`."""
    return _conformance().parser()


def handle(args: argparse.Namespace) -> int:
    """Run the scorecard and return its exit code."""
    return _conformance().handle(args)


def _conformance() -> Any:
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / "conformance" / "__main__.py").is_file():
        raise PellucidError("pellucid scorecard needs a checkout of the project, and this installation is not one")
    if str(checkout) not in sys.path:
        sys.path.append(str(checkout))
    return import_module("conformance.__main__")
