"""The messages on the troubleshooting page occur in the code."""

import re
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.data import load
from tools import find_message
from tools.find_message import CODE, VALUE, common_length, matches, texts_of_code, texts_of_test

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
    place, text = matches(f"pellucid: {caught.value}", "pellucid/data")[0]
    file, line = place.split(":")
    source = (ROOT / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert text.replace(VALUE, "")
    assert any(piece in source for piece in text.split(VALUE) if piece)


@pytest.mark.parametrize(
    ("text", "message", "length"),
    [
        ("no part \0, only \0", "no part 'a', only 'b'", 15),  # code
        (r"no part 'a', only .*\.", "no part 'a', only b.", 18),  # a regular expression of a test
        ("no part ..., only ...", "no part 'a', only 'b'", 15),  # a page
        ("only \0 no part", "no part 'a', only 'b'", 7),  # one of the two, as they are not in this order
        ("\0 contains \0 (\0 of \0)", "norm: running_var contains infinity", 10),  # it ends in a value
        ("\0: along its \0 of \0 the input", "along its width of 1", 14),  # a value is a word
        ("dy has the shape \0; the", "has the shape (8, 5); the", 19),  # or a text with brackets
    ],
)
def test_texts_without_their_values_are_compared_with_a_message(text, message, length):
    assert common_length(text, message) == length


def test_every_fragment_of_a_message_finds_its_text():
    words = ["data", "has", "3", "inputs", "and", "2", "targets", "in", "'a';", "give", "one"]
    text = "\0 has \0 inputs and \0 targets in \0; give one"
    for start in range(1, len(words)):
        for end in range(start + 2, len(words) + 1):
            assert common_length(text, " ".join(words[start:end]))
    assert common_length(text, "has 3 targets and 2 inputs") < common_length(text, "has 3 inputs and 2 targets")


@pytest.mark.parametrize(
    "words",  # separate, so that these texts are not found themselves
    [
        ("NOT", "BETTER"),
        ("is", "NOT", "BETTER", "than that"),
        ("the most frequent class; the model is NOT", "BETTER than that: train"),
    ],
)
def test_a_fragment_and_a_whole_message_find_the_code_and_its_tests(words):
    code = matches(" ".join(words), "pellucid/recipe")
    assert code[0][0].startswith("pellucid/recipe/baseline.py:")
    tests = matches(" ".join(words), "tests/recipe", code_texts=[text for _, text in code])
    assert " ".join(("NOT", "BETTER")) in [text for _, text in tests[:2]]


@pytest.mark.parametrize(
    ("message", "folder", "file"),
    [
        (("no", "optimizer 'sdg'"), "pellucid/trace", "nudge.py"),  # the calls of checks, whose texts are completed
        (("Dense: units", "must be a whole number of at least 1, not 0"), "pellucid/layers", "dense.py"),
        (("summary: depth", "must be a whole number of at least 1, not 0"), "pellucid/network", "summary.py"),
        (("fit: epochs", "must be a whole number of at least 1, not 0"), "pellucid", "training/options.py"),
        (("pellucid: Dense: units", "must be a whole number of at least 1, not 0"), "pellucid", "layers/dense.py"),
        (("fit: verbose", "must be True or False, not 3"), "pellucid", "training/options.py"),
        (("top", "must be a whole number of at least 1, not 2.5"), "pellucid", "trace/explain.py"),  # a part
        (("resnet18 has 2 parameters,", "not 1"), "conformance", "networks/counts.py"),  # `find` searches it too
    ],
)
def test_the_code_of_a_message_that_is_completed_elsewhere_is_found(message, folder, file):
    assert folder.partition("/")[0] in CODE
    assert matches(" ".join(message), folder)[0][0].startswith(f"{folder}/{file}:")


@pytest.mark.parametrize("value", ["0", "-1", "2.5"])
def test_a_text_with_the_whole_message_comes_first_and_a_refused_call_is_found(monkeypatch, value):
    message = f"Gamma: power must be a number, not {value}"
    source = [f"raises({text!r})" for text in ("be a number and a number", f"a number, not {value}", f"In {message}")]
    entries = [(text, text, "") for _, text in texts_of_test("\n".join([*source, f"Gamma(power={value})"]))]
    monkeypatch.setattr(find_message, "texts", lambda *_: entries)
    found = matches(message, "tests", code_texts=["\0: \0 must be a number, not \0"])
    assert found[0][0] == f"In {message}"
    assert f"Gamma: power must \0, not {value}" in {text for _, text in found}


@pytest.mark.parametrize("values", [("2 rings", "1 bell"), ("40 rings", "3 bells"), ("1 ring", "none"), ("", "")])
def test_texts_with_other_values_are_found_too(monkeypatch, values):
    message, *others = [
        (f"{first} hold {second}; start at most one", f"hold={second} is no number")
        for first, second in [("3 rings", "2 bells"), values]
    ]
    for k, code_text in enumerate(["\0 hold \0; start at most one", "--rings: hold=\0 is no number; give one"]):
        entries = [(text, text, "") for text in (message[k], others[0][k], "no ring is an animal, and no bell either")]
        monkeypatch.setattr(find_message, "texts", lambda *_, entries=entries: entries)
        found = [text for _, text in matches(message[k], "tests", code_texts=[code_text])]
        assert found == [message[k], others[0][k]]


@pytest.mark.parametrize(("message", "compared"), [("a ring is", 1), ("a bell is", 2)])
def test_tests_are_compared_with_the_texts_that_hold_the_whole_message(monkeypatch, message, compared):
    code = [("a.py:1", "Gamma: a ring is lost"), ("b.py:1", "Return the weights.")]
    given = []
    monkeypatch.setattr(find_message, "matches", lambda *_, code_texts=(): given.append(code_texts) or code)
    find_message.find(message)
    assert given[1] == [text for _, text in code[:compared]]


@pytest.mark.parametrize(
    ("message", "place", "call"),
    [
        ("no model, recipe or network 'lenett'", "pellucid/cli/nets.py", "_check_exists(source, kinds_text, MODELS)"),
        ("no recipe 'digit'", "pellucid/shipped_files.py", '_file_named("recipes"'),
    ],
)
def test_texts_of_values_alone_are_found_with_their_calls(message, place, call):
    code = find_message.find(message)["code"]
    assert any(found.startswith(place) and VALUE in text for found, text in code)
    assert any(call in text for _, text in code)
