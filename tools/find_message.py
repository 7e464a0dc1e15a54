"""Print the lines of code, tests and pages with a message, given as it was printed, the longest common text first:

`python tools/find_message.py "x has 3 inputs and 2 targets; give a list of one target for each input"`
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]  # of the checkout, also where tools is a link
VALUE = "\0"  # a value in a text, or what a test leaves open
MIN_LENGTH = 10  # characters of a text without its values; shorter ones are parts of too many messages
MAX_PRINTED = 6  # lines of each folder


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


def common_length(text: str, message: str) -> int:
    """Return the number of characters of a text without its values if the message contains them in order, else 0."""
    # Tests match messages by regular expressions, pages write "..." for values.
    fixed = [piece for piece in re.split(rf"{VALUE}|\.\*|\.\.\.", text.replace("\\", "")) if piece]
    return sum(map(len, fixed)) if re.search(".*".join(map(re.escape, fixed)), message) else 0


def lines_with(message: str, folder: str) -> list[str]:
    """Return FILE:LINE: TEXT for the texts in a folder that the message contains, the longest first."""
    found: list[tuple[int, str]] = []
    for path in sorted((ROOT / folder).rglob("*.md" if folder == "docs" else "*.py")):
        source = path.read_text(encoding="utf-8")
        for line, text in texts_of_page(source) if folder == "docs" else texts_of_code(source):
            place = f"{path.relative_to(ROOT).as_posix()}:{line}"
            found.append((common_length(text, message), f"{place}: {text.replace(VALUE, '...')}"))
    found.sort(key=lambda entry: -entry[0])
    min_length = max(MIN_LENGTH, found[0][0] / 2)
    return [text for length, text in found[:MAX_PRINTED] if length >= min_length]


if __name__ == "__main__":
    for name in ("pellucid", "tests", "docs"):
        print(*lines_with(sys.argv[1], name), sep="\n")
