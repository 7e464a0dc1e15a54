"""Parsers of command arguments; errors raise PellucidError, which suggests the nearest known name."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.settings.checks import check_known
from pellucid.command.out import print_text
from pellucid.shipped_files import MODEL_HELP

SKIP_WORD = "data.skip=true"  # a setting of recipes that commands without a recipe accept too
MAX_SEED = 2**31 - 1  # NumPy accepts up to 2**32 - 1, and some code adds a number to the seed


# argparse is imported in 8 ms; Typer with Rich takes 70 ms, and has no errors of one line with the nearest name.
class Parser(argparse.ArgumentParser):
    """An argument parser that raises a PellucidError of one line instead of printing its usage and exiting."""

    def __init__(self, command: str, about: str, **kwargs: Any) -> None:
        super().__init__(prog=f"pellucid {command}", description=about, allow_abbrev=False, **kwargs)

    def read(self, words: Sequence[str]) -> argparse.Namespace | None:
        """Parse the words after the command's name; for `--help`, print the help and return None.

        Commands of a model that read data also accept data.skip=true; the result has it as `skip`.
        """
        names = {action.dest for action in self._actions}
        is_skipping = False
        if names & {"model", "models"} and names & {"data", "source"}:
            self.epilog = f"{SKIP_WORD} leaves out images that are missing or cannot be read, up to a tenth."
            is_skipping = SKIP_WORD in words
            words = [word for word in words if word != SKIP_WORD]
        options_end = list(words).index("--") if "--" in words else len(words)
        if any(word in ("--help", "-h") for word in words[:options_end]):
            print_text(self.format_help().rstrip())
            return None
        args, unknown_words = self.parse_known_intermixed_args(list(words))
        if unknown_words:
            raise PellucidError(self._unknown_argument_message(unknown_words[0]))
        for action in self._actions:
            value = getattr(args, action.dest, None)
            if value != action.default and "" in (value if isinstance(value, list) else [value]):
                name = next(iter(action.option_strings), action.metavar or action.dest)
                # An empty path must not be accepted, because Path("") is the current folder.
                raise PellucidError(f"{self.prog}: {name} is empty; see {self.prog} --help")
        args.skip = is_skipping
        return args

    def error(self, message: str) -> NoReturn:
        """Raise PellucidError."""
        raise PellucidError(f"{self.prog}: {message}; see {self.prog} --help")

    def model_argument(self) -> "Parser":
        """Add the positional argument MODEL."""
        self.add_argument("model", metavar="MODEL", help=MODEL_HELP)
        return self

    def json_flag(self) -> "Parser":
        """Add `--json`."""
        self.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        return self

    def html_option(self) -> "Parser":
        """Add `--html`; `html_output_path` in pellucid.command.files returns its file."""
        self.add_argument("--html", metavar="FILE", help="also write an HTML page")
        return self

    def data_option(self, help_text: str = "the folder that contains the data sets") -> "Parser":
        """Add `--data`."""
        self.add_argument(
            "--data",
            metavar="DIR",
            help=f"{help_text} (default: $PELLUCID_DATA, else ../shared/data, else the user's cache)",
        )
        return self

    def score_option(self) -> "Parser":
        """Add `--score`."""
        self.add_argument(
            "--score",
            metavar="X",
            type=float,
            help="the score, 0 to 1, from which an object or a label counts (default: the one that training chose on "
            "held-out images, otherwise 0.5)",
        )
        return self

    def device_option(self) -> "Parser":
        """Add `--device`."""
        help_text = "where to compute: cpu (default), cuda, cuda:N, mps, or auto for the fastest"
        self.add_argument("--device", metavar="NAME", help=help_text)
        return self

    def seed_option(self, help_text: str = "seed of every random draw", default: int | None = 0) -> "Parser":
        """Add `--seed`."""
        self.add_argument("--seed", type=seed, default=default, metavar="N", help=f"{help_text} (default: 0)")
        return self

    def _unknown_argument_message(self, word: str) -> str:
        """Return the error message for an argument that the parser does not define."""
        if not word.startswith("-"):
            return f"{self.prog}: one argument too many: {word!r}; see {self.prog} --help"
        options = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        hint = nearest(word.split("=", 1)[0], options)
        return f"{self.prog} has no option {word.split('=', 1)[0]!r}{hint or f'; see {self.prog} --help'}"


def seed(text: str) -> int:
    """Return the text as a seed; raise ArgumentTypeError unless it is a whole number from 0 to MAX_SEED."""
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed; give a whole number from 0 to {MAX_SEED}")
    return int(text)


def parse_sizes(text: str, option: str, *axes: str) -> tuple[int, ...]:
    """Return the size of each axis of a text such as "180x240"; raise PellucidError for any other text."""
    axis_texts = text.split("x")
    if len(axis_texts) != len(axes) or not all(
        re.fullmatch("0*[1-9][0-9]{0,4}", axis_text) for axis_text in axis_texts
    ):
        raise PellucidError(
            f"{option} {text!r} is not a size; write {', '.join(axes[:-1])} and {axes[-1]} as in "
            f"{'x'.join(('3', '180', '240')[-len(axes) :])}"
        )
    return tuple(map(int, axis_texts))


class Action(NamedTuple):
    """An action of a command: its description, a function that returns its parser, and a function that runs it."""

    about: str
    parser: Callable[[], Parser]
    handle: Callable[[argparse.Namespace], int]


class Actions:
    """The parser of a command that has actions, given by name."""

    def __init__(self, command: str, about: str, actions: Mapping[str, Action]) -> None:
        self.command, self.about, self.actions = command, about, actions

    def read(self, words: Sequence[str]) -> argparse.Namespace | None:
        """Parse the words after the command's name; the attribute `handle` of the result runs the action.

        For `--help`, print the help and return None. Raises PellucidError for an unknown action.
        """
        if not words or words[0] in ("--help", "-h"):
            print_text(self.usage())
            return None
        check_action(self.command, words[0], tuple(self.actions))
        action = self.actions[words[0]]
        args = action.parser().read(words[1:])
        if args is not None:
            args.handle = action.handle
        return args

    def usage(self) -> str:
        """Return the text for `--help`."""
        width = max(map(len, self.actions))
        rows_text = "\n".join(f"  {name:<{width}}  {about}" for name, (about, *_) in self.actions.items())
        hint = f"pellucid {self.command} ACTION --help explains one action."
        return f"usage: pellucid {self.command} ACTION ...\n\n{self.about}\n\n{rows_text}\n\n{hint}"


def check_action(command: str, action: str, known: Sequence[str]) -> None:
    """Raise PellucidError, with the nearest name, unless `action` is one of the `known` actions of the command."""
    check_known(f"pellucid {command} has no action", action, known)
