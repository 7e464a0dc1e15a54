"""The reader of small files of runs: valid files are read, and hostile ones are refused in one line, at once."""

import json
import os
import socket
from typing import Literal, NamedTuple

import pytest

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_RUN_JSON_BYTES, MAX_RUN_JSON_DIGITS, MAX_RUN_JSON_LEVELS, MAX_RUN_LINE_BYTES
from pellucid.run.records import read_line, read_object, to_record

ADVICE = "remove it"


def nested(levels, value=1):
    """Return an object with values on so many levels below it."""
    for k in range(levels):
        value = {"a": value} if k == levels - 1 or k % 2 else [value]
    return value


VALID_OBJECTS = {
    "empty": {},
    "numbers": {"a": 0, "b": -1.5, "c": 2**63, "d": -(2**63), "e": 1e308, "f": None, "g": True},
    "names": {"é": "\U0001f600", "": "\n", "a" * 1000: "\x1b[2J", "\u2028": "\0"},
    "deep": nested(MAX_RUN_JSON_LEVELS),
    "wide": {str(k): [k] * 3 for k in range(50_000)},
    "a confusion matrix": {"classes": ["a"] * 1000, "counts": [[12345] * 1000] * 1000},
}
INVALID_TEXTS = {
    "nothing": (b"", "Expecting value"),
    "spaces": (b"  \n", "Expecting value"),
    "half": (b'{"a": 1', "delimiter"),
    "two": (b"{} {}", "Extra data"),
    "a list": (b"[]", r"contains \[\], not a JSON object"),
    "null": (b"null", "contains None, not a JSON object"),
    "a number": (b"3", "contains 3, not a JSON object"),
    "a text": (b'"a"', "contains 'a', not a JSON object"),
    "bytes": (b"\xff\xfe\xfd", "codec can't decode"),
    "half of a pair": (b'{"a": "\\ud800"}', "surrogates not allowed"),
    "half of a pair as a name": (b'{"a": [{"\\udfff": 1}]}', "surrogates not allowed"),
    "too deep": (
        json.dumps(nested(MAX_RUN_JSON_LEVELS + 1)).encode(),
        f"nested in more than {MAX_RUN_JSON_LEVELS} levels",
    ),
    "much too deep": (b'{"a":' * 500 + b"1" + b"}" * 500, f"nested in more than {MAX_RUN_JSON_LEVELS} levels"),
    "deeper than the stack": (b"[" * 100_000, f"nested in more than {MAX_RUN_JSON_LEVELS} levels"),
    "objects deeper than the stack": (b'{"a":' * 100_000, f"nested in more than {MAX_RUN_JSON_LEVELS} levels"),
    "digits": (b'{"a": ' + b"9" * (MAX_RUN_JSON_DIGITS + 1) + b"}", f"more than {MAX_RUN_JSON_DIGITS} digits"),
    "negative digits": (b'{"a": -' + b"9" * MAX_RUN_JSON_DIGITS + b"}", f"more than {MAX_RUN_JSON_DIGITS} digits"),
    "32 digits": (b'{"a": [' + b"1" * 32 + b"]}", f"more than {MAX_RUN_JSON_DIGITS} digits"),
    "more digits than Python reads": (b'{"a": ' + b"9" * 5000 + b"}", f"more than {MAX_RUN_JSON_DIGITS} digits"),
    "too large": (b" " * (MAX_RUN_JSON_BYTES + 1), "more than 16,777,216 bytes"),
}
INVALID_LINES = {
    "nothing": (b"", "it does not contain one line of text"),
    "an empty line": (b"\n\n", "it does not contain one line of text"),
    "two lines": (b"a\nb\n", "it does not contain one line of text"),
    "a control character": (b"a\x1b[2J", "it does not contain one line of text"),
    "a line separator": ("a\u2028b".encode(), "it does not contain one line of text"),
    "bytes": (b"\xff", "codec can't decode"),
    "a NUL character": (b"a\0", "it does not contain one line of text"),
    "too long": (b"a" * (MAX_RUN_LINE_BYTES + 1), "more than 4,096 bytes"),
}


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)


def link_to_a_file(path):
    path.with_name("other").write_text("{}")
    path.symlink_to("other")


NOT_REGULAR = {
    "a pipe": os.mkfifo,
    "a socket": make_socket,
    "a folder": os.mkdir,
    "a link to a file": link_to_a_file,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
}


@pytest.mark.parametrize("name", VALID_OBJECTS)
def test_objects_are_read(name, tmp_path):
    for text in (json.dumps(VALID_OBJECTS[name]), json.dumps(VALID_OBJECTS[name], ensure_ascii=False, indent=1)):
        (tmp_path / "a.json").write_text(text, encoding="utf-8")
        assert read_object(tmp_path / "a.json", ADVICE) == VALID_OBJECTS[name]


@pytest.mark.parametrize("name", INVALID_TEXTS)
def test_other_texts_are_refused(name, tmp_path):
    text, message = INVALID_TEXTS[name]
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(PellucidError, match=rf"a\.json .*{message}.*; remove it") as error:
        read_object(tmp_path / "a.json", ADVICE)
    assert str(error.value).isprintable()


def test_lines_are_read(tmp_path):
    for line in ("a", "digits-2", "é ü", "a" * MAX_RUN_LINE_BYTES):
        (tmp_path / "a.txt").write_text(line, encoding="utf-8")
        assert read_line(tmp_path / "a.txt", ADVICE) == line
    (tmp_path / "a.txt").write_text(" digits-2 \r\n")
    assert read_line(tmp_path / "a.txt", ADVICE) == "digits-2"


@pytest.mark.parametrize("name", INVALID_LINES)
def test_other_lines_are_refused(name, tmp_path):
    text, message = INVALID_LINES[name]
    (tmp_path / "a.txt").write_bytes(text)
    with pytest.raises(PellucidError, match=rf"a\.txt cannot be read \(.*{message}.*\); remove it"):
        read_line(tmp_path / "a.txt", ADVICE)


def test_missing_files_are_none(tmp_path):
    assert read_object(tmp_path / "a.json", ADVICE) is None
    assert read_line(tmp_path / "a.txt", ADVICE) is None
    assert read_object(tmp_path / "none/a.json", ADVICE) is None


@pytest.mark.parametrize("name", NOT_REGULAR)
@pytest.mark.parametrize("read", [read_object, read_line])
def test_only_regular_files_are_read(read, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    NOT_REGULAR[name](tmp_path / "a.json")
    with pytest.raises(PellucidError, match=r"a\.json cannot be read \(.*\); remove it"):
        read(tmp_path / "a.json", ADVICE)


class Record(NamedTuple):
    number: int
    kind: Literal["a", "b"]
    parts: tuple[int, ...] = ()
    value: float | None = None
    is_done: bool = False
    text: str = ""
    values: dict[str, float] = {}  # noqa: RUF012


VALID = {"number": 1, "kind": "a"}


@pytest.mark.parametrize(
    "change",
    [
        {}, {"parts": [1, 2]}, {"value": 1}, {"value": 1.5}, {"value": None}, {"is_done": True}, {"text": "a\nb"},
        {"values": {"a": 1}}, {"kind": "b"}, {"number": -(2**63)},
    ],
)  # fmt: skip
def test_records_of_their_types_are_read(change):
    record = to_record({**VALID, **change}, Record, "a.json")
    for name, value in change.items():
        assert getattr(record, name) == (tuple(value) if name == "parts" else value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({"number": value}, "number must be a whole number") for value in (None, True, 1.5, "1", [], {}, [1])),
        *(({"kind": value}, "kind must be one of 'a', 'b'") for value in (None, 0, "c", "A", [], ["a"])),
        *(({"parts": value}, "parts must be a list of whole numbers") for value in (None, 1, "1", {}, [1.5], [[1]])),
        *(({"value": value}, "value must be a number or 'null'") for value in (True, "1", [], {}, float("nan"))),
        *(({"is_done": value}, "is_done must be true or false") for value in (None, 0, 1, "true", [])),
        *(({"text": value}, "text must be text") for value in (None, 0, True, [], {})),
        *(({"values": value}, "values must be values by name") for value in (None, 0, [], {"a": "b"}, "a")),
        ({"kinds": "a"}, "unknown key 'kinds'; did you mean 'kind'?"),
        ({"": 1}, "unknown key ''"),
        ({"a" * 1000: 1}, "unknown key 'aaaa"),
    ],
)
def test_records_of_other_types_and_keys_are_refused(change, message):
    with pytest.raises(PellucidError) as error:
        to_record({**VALID, **change}, Record, "a.json")
    assert str(error.value).startswith(f"a.json: {message}")
    assert len(str(error.value)) < 300


def test_records_that_lack_a_key_are_refused():
    for missing in VALID:
        with pytest.raises(PellucidError, match=f"a.json: {missing} is missing"):
            to_record({key: VALID[key] for key in VALID if key != missing}, Record, "a.json")
