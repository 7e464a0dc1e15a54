"""The messages on the troubleshooting page occur in the code."""

import re
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.data import load
from tools.find_message import common_length, lines_with, texts_of_code

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^- `([^`]+)`", PAGE, re.MULTILINE)


@pytest.mark.slow
def test_every_message_is_in_the_code():
    """Messages are compared in pieces, since some are joined from several strings."""
    files = (ROOT / "pellucid").rglob("*.py")
    all_strings = "\n".join(text for file in files for _, text in texts_of_code(file.read_text(encoding="utf-8")))
    pieces = {(message, piece.strip()) for message in MESSAGES for piece in message.split("...")}
    assert len(MESSAGES) >= 30
    assert [(message, piece) for message, piece in sorted(pieces) if piece not in all_strings] == []


def test_the_code_of_a_message_is_found_from_the_printed_text():
    with pytest.raises(PellucidError) as caught:
        load("no such data")
    place, text = lines_with(f"pellucid: {caught.value}", "pellucid")[0].split(": ", 1)
    file, line = place.split(":")
    source = (ROOT / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert text.replace("...", "")
    assert any(piece in source for piece in text.split("...") if piece)


@pytest.mark.parametrize(
    ("text", "message", "length"),
    [
        ("no part \0, only \0", "no part 'a', only 'b'", 15),  # code
        (r"no part 'a', only .*\.", "no part 'a', only b.", 19),  # a regular expression of a test
        ("no part ..., only ...", "no part 'a', only 'b'", 15),  # a page
        ("only \0 no part", "no part 'a', only 'b'", 0),
    ],
)
def test_texts_without_their_values_are_compared_with_a_message(text, message, length):
    assert common_length(text, message) == length
