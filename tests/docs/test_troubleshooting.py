"""The messages on the troubleshooting page occur in the code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^- `([^`]+)`", PAGE, re.MULTILINE)


def strings_of(tree: ast.AST) -> list[str]:
    """Return the string literals of a module, with "..." in place of each value in an f-string."""
    result: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
            result.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            result.append(node.value)
    return result


@pytest.mark.slow
def test_every_message_is_in_the_code():
    """Messages are compared in pieces, since some are joined from several strings."""
    files = (ROOT / "pellucid").rglob("*.py")
    all_strings = "\n".join(text for file in files for text in strings_of(ast.parse(file.read_text(encoding="utf-8"))))
    pieces = {(message, piece.strip()) for message in MESSAGES for piece in message.split("...")}
    assert len(MESSAGES) >= 30
    assert [(message, piece) for message, piece in sorted(pieces) if piece not in all_strings] == []
