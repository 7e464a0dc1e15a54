"""Print the lines of code, tests and pages with a message as it was printed, or a part of it, the best matches first:

`python tools/find_message.py "x has 3 inputs and 2 targets; give a list of one target for each input"`
"""

import ast
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from textwrap import shorten

ROOT = Path(__file__).absolute().parents[1]  # of the checkout, also where tools is a link
VALUE = "\0"  # a value in a text, or what a test leaves open
MIN_LENGTH = 10  # characters of a text without its values; shorter ones are parts of too many messages
MAX_PRINTED = 6  # lines of each folder
MAX_CHARACTERS = 160  # of a text when printed


def texts_of_code(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each string of a module, of an f-string with VALUE in place of each value."""
    nodes = [*ast.walk(ast.parse(source))]
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(part.value if isinstance(part, ast.Constant) else VALUE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def texts_of_page(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each quotation of a page."""
    for number, line in enumerate(source.splitlines(), 1):
        yield from ((number, quoted) for quoted in re.findall("`([^`]+)`", line))


def overlap(end: str, start: str) -> int:
    """Return the largest number of characters at the end of one text that another text starts with."""
    return max((n for n in range(1, min(len(end), len(start)) + 1) if end.endswith(start[:n])), default=0)


def common_length(text: str, message: str) -> int:
    """Return the number of characters, without values, that a text and a message share.

    The message may be a fragment: it may begin and end anywhere in the text, also in a value.
    """
    # Tests match messages by regular expressions, pages write "..." for values.
    text = text.replace("\\", "")
    fixed = [piece for piece in re.split(rf"{VALUE}|\.\*|\.\.\.", text) if piece]
    if any(message in piece for piece in fixed):
        return len(message)
    return max((_length_from(fixed[first:], message) for first in range(len(fixed))), default=0)


def _length_from(pieces: list[str], message: str) -> int:
    """Return the number of characters of the pieces, from the first on, that are in the message in order."""
    # The message begins in the first piece, or before it.
    end = length = 0 if pieces[0] in message else overlap(pieces[0], message)
    for piece in pieces[1:] if length else pieces:
        start = message.find(piece, end)
        if start < 0:
            return length + overlap(message[end:], piece)
        end = start + len(piece)
        length += len(piece)
    return length


def matches(message: str, folder: str, code_texts: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return the place, as FILE:LINE, and the text of each match in a folder, the best first.

    Texts that match one of `code_texts` are kept and come first: a test may quote only a few words of the message.
    """
    found: list[tuple[int, int, str, str]] = []
    for path in sorted((ROOT / folder).rglob("*.md" if folder == "docs" else "*.py")):
        source = path.read_text(encoding="utf-8")
        for line, text in texts_of_page(source) if folder == "docs" else texts_of_code(source):
            # A message has several words; a name such as "running_var" is none.
            if (" " in text or " " not in message) and (length := common_length(text, message)):
                in_code = max((common_length(text, code_text) for code_text in code_texts), default=0)
                place = f"{path.relative_to(ROOT).as_posix()}:{line}"
                found.append((in_code if in_code >= MIN_LENGTH else 0, length, place, text))
    # Of texts that share as much, messages before docstrings, which end with a full stop, and the shortest first.
    found.sort(key=lambda entry: (-entry[0], -entry[1], entry[3].endswith("."), len(entry[3])))
    min_length = max(min(MIN_LENGTH, len(message)), max((length for _, length, _, _ in found), default=0) / 2)
    return [(place, text) for in_code, length, place, text in found if in_code or length >= min_length]


def print_matches(message: str) -> None:
    """Print FILE:LINE: TEXT for the best matches in the code, the tests and the pages."""
    code = matches(message, "pellucid")
    code_texts = [text for _, text in code[:MAX_PRINTED]]
    for name, found in [
        ("pellucid", code),
        *((name, matches(message, name, code_texts)) for name in ("tests", "docs")),
    ]:
        for place, text in found[:MAX_PRINTED]:
            print(f"{place}: {shorten(text.replace(VALUE, '...'), MAX_CHARACTERS, placeholder=' ...')}")
        if len(found) > MAX_PRINTED or not found:
            print(f"{name}: {len(found) - MAX_PRINTED} more" if found else f"{name}: no such text")


if __name__ == "__main__":
    print_matches(sys.argv[1])
