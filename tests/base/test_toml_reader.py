"""The reader of TOML: valid texts are read like tomllib reads them, and hostile ones are refused at once."""

import os
import random
import resource
import socket
import tomllib

import pytest

from pellucid.base.errors import PellucidError
from pellucid.base.limits import (
    MAX_TOML_BYTES,
    MAX_TOML_KEY_PARTS,
    MAX_TOML_KEYS,
    MAX_TOML_LEVELS,
    MAX_TOML_VALUES,
    MAX_TOML_WORD,
)
from pellucid.base.toml_reader import parse_toml, read_toml
from pellucid.recipe.recipe import load_recipe
from pellucid.shipped_files import recipe_file, recipe_names

# For each limit: the text for a count, the largest count that is read, and the message above it.
LIMITS = {
    "parts of a key": (lambda n: ".".join(["a"] * n) + " = 1", MAX_TOML_KEY_PARTS, "a key of more than 16 parts"),
    "parts in quotes": (lambda n: ".".join(['"a b"'] * n) + " = 1", MAX_TOML_KEY_PARTS, "a key of more than 16 parts"),
    "parts with spaces": (lambda n: " . ".join(["a"] * n) + " = 1", MAX_TOML_KEY_PARTS, "a key of more than 16 parts"),
    "parts of a table": (lambda n: f"[{'.'.join(['a'] * n)}]", MAX_TOML_KEY_PARTS, "a key of more than 16 parts"),
    "parts of tables in a list": (
        lambda n: f"[[{'.'.join(['a'] * n)}]]", MAX_TOML_KEY_PARTS, "a key of more than 16 parts"
    ),
    "parts in an inline table": (
        lambda n: f"x = {{ {'.'.join(['a'] * n)} = 1 }}", MAX_TOML_KEY_PARTS, "a key of more than 16 parts"
    ),
    "tables": (lambda n: "".join(f"[t{k}]\n" for k in range(n)), MAX_TOML_KEYS, "more than 10,000 keys"),
    "tables in a list": (lambda n: "[[t]]\n" * n, MAX_TOML_KEYS, "more than 10,000 keys"),
    "keys": (lambda n: "".join(f"k{k} = 1\n" for k in range(n)), MAX_TOML_KEYS, "more than 10,000 keys"),
    "keys of inline tables": (
        lambda n: f"x = [{','.join(['{a=1}'] * (n - 1))}]", MAX_TOML_KEYS, "more than 10,000 keys"
    ),
    "values": (lambda n: f"x = [{'1,' * n}]", MAX_TOML_VALUES, "more than 20,000 values"),
    "empty lists": (lambda n: f"x = [{'[],' * n}]", MAX_TOML_VALUES, "more than 20,000 values"),
    "nested lists": (lambda n: f"x = {'[' * n}{']' * n}", MAX_TOML_LEVELS, "lists nested in more than 32 levels"),
    "nested tables": (lambda n: f"x = {'{x=' * n}1{'}' * n}", MAX_TOML_LEVELS, "lists nested in more than 32 levels"),
    "lists over lines": (
        lambda n: "x = " + "[ # [\n" * n + "]" * n, MAX_TOML_LEVELS, "lists nested in more than 32 levels"
    ),
    "digits": (lambda n: f"x = {'1' * n}", MAX_TOML_WORD, "a number or a key of more than 128"),
    "digits with marks": (lambda n: f"x = 1{'_1' * ((n - 1) // 2)}", MAX_TOML_WORD - 1, "a number or a key"),
    "hexadecimal digits": (lambda n: f"x = 0x{'f' * (n - 2)}", MAX_TOML_WORD, "a number or a key of more than 128"),
    "digits of a fraction": (lambda n: f"x = 1.{'1' * n}", MAX_TOML_WORD, "a number or a key of more than 128"),
    "characters of a key": (lambda n: f"{'k' * n} = 1", MAX_TOML_WORD, "a number or a key of more than 128"),
    "bytes": (lambda n: "#" * n, MAX_TOML_BYTES, "more than 1,048,576 bytes"),
}  # fmt: skip
# Texts far above every limit, also of kinds that are no TOML; all end the reader at once.
HOSTILE = {
    "a long dotted key": ".".join(["a"] * 20_000) + "=1",
    "a long dotted table": f"[{'.'.join(['a'] * 20_000)}]",
    "300,000 tables": "".join(f"[t{k:x}]\n" for k in range(100_000)),
    "300,000 lists": "[[t]]\n" * 150_000,
    "many keys of many parts": "".join(f"k{k}{'.a' * 15}=1\n" for k in range(20_000)),
    "deep lists": "x=" + "[" * 400_000,
    "deep tables": "x=" + "{a=" * 300_000,
    "a long number": "x=" + "9" * 1_000_000,
    "a long float": "x=1." + "9" * 1_000_000,
    "no end of a string": 'x="""' + '\\"""' * 250_000,
    "no end of a literal": "x='''" + "''\n" * 300_000,
    "many quotes": '"' * 1_000_000,
    "many apostrophes": "'" * 1_000_000,
    "both quotes": "'''\"\"\"" * 170_000,
    "dots": "." * 1_000_000,
    "closed brackets": "]" * 1_000_000,
    "equal signs": "=" * 1_000_000,
    "line ends": "\n" * 1_000_000,
    "comments": "#\n" * 500_000,
    "escapes": 'x="' + "\\n" * 500_000 + '"',
    "words": "a " * 500_000,
    "too large": "#" * 50_000_000,
}
MAX_SECONDS = 3.0  # of processor time; a reader without limits takes from 6 s on for the first of these
MAX_MEMORY = 256 << 20  # bytes


@pytest.mark.parametrize("case", LIMITS)
def test_a_text_is_read_up_to_a_limit(case, tmp_path):
    make, limit, message = LIMITS[case]
    file = tmp_path / "mine.toml"
    file.write_text(make(limit))
    assert read_toml(file, "correct it") == (make(limit), tomllib.loads(make(limit)))
    file.write_text(make(limit + 1 + (case == "digits with marks")))
    with pytest.raises(PellucidError, match=rf"mine\.toml is not TOML \(it has {message}.*\); correct it"):
        read_toml(file, "correct it")


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_text_costs_little(case, tmp_path):
    file = tmp_path / "hostile.toml"
    file.write_text(HOSTILE[case])
    before = resource.getrusage(resource.RUSAGE_SELF)
    with pytest.raises(PellucidError) as error:
        load_recipe(file)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime - before.ru_utime < MAX_SECONDS
    assert (after.ru_maxrss - before.ru_maxrss) << 10 < MAX_MEMORY
    assert "\n" not in str(error.value)
    assert "hostile.toml" in str(error.value)


def random_toml(rng):
    """Return a random valid TOML text with strings and comments that look like syntax."""
    confusing = ["a.b.c", "[[x]]", "= 1", "# no", "{a=1}", ",,,", "'", "\\n", "é", "\U0001f600", "x" * 300, "9" * 300]
    values = ["1", "-2.5e-3", "inf", "true", "1979-05-27T07:32:00.5Z", "07:32:00", "0xdead_beef", "[]", "{}"]

    def text():
        return "".join(rng.choices(confusing, k=rng.randrange(4)))

    def string():
        content = text()
        kind = rng.randrange(4)
        if kind == 0:
            return '"' + content.replace("\\", "\\\\") + '"'
        if kind == 1:
            return "'" + content.replace("'", "") + "'"
        if kind == 2:
            inner = rng.choice(["", "\n", '"', '""\n', "\\\n   "])
            return '"""' + inner + content.replace("\\", "\\\\") + "x" + rng.choice(["", '"', '""']) + '"""'
        return "'''" + content.replace("'", "") + "x" + rng.choice(["", "'", "''", "\n"]) + "'''"

    def value(depth):
        kind = rng.randrange(6)
        if kind < 2:
            return rng.choice(values)
        if kind < 4 or depth > 4:
            return string()
        if kind == 4:
            comment = rng.choice(["", f"# {text()}\n"])
            return "[" + comment + ", ".join(value(depth + 1) for _ in range(rng.randrange(4))) + "]"
        return "{" + ", ".join(f"{key(k)} = {value(depth + 1)}" for k in range(rng.randrange(4))) + "}"

    def key(number):
        return rng.choice([f"k{number}", f'"{number}.é"', f"'{number} = '", f"k{number} . a.b", f"{number}-x_y"])

    lines = []
    for table in range(rng.randrange(5)):
        lines.append(rng.choice([f"[t{table}]", f"[[t{table}]]", f'[ t{table} . "a.b" ]']))
        for number in range(rng.randrange(5)):
            lines.append(f"{key(number)} = {value(0)} {rng.choice(['', '# ' + text()])}".rstrip("\\"))
            lines.append(rng.choice(["", "# [" + text()]))
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(300))
def test_valid_texts_are_read_like_tomllib_reads_them(seed):
    text = random_toml(random.Random(seed))
    assert parse_toml(text) == tomllib.loads(text)


def test_changed_texts_are_read_or_refused_like_tomllib_does():
    rng = random.Random(0)
    for _ in range(1000):
        characters = list(random_toml(rng))
        for _ in range(rng.randrange(1, 4)):
            position = rng.randrange(len(characters) + 1)
            characters[position : position + rng.randrange(3)] = rng.choices("[]{}=.,'\"\\\n# a1", k=rng.randrange(3))
        text = "".join(characters)
        try:
            expected = tomllib.loads(text)
        except ValueError:
            with pytest.raises(ValueError, match=r"\w"):
                parse_toml(text)
        else:
            assert parse_toml(text) == expected


def test_recipes_are_read():
    for name in recipe_names():
        text = recipe_file(name).read_text(encoding="utf-8")
        assert parse_toml(text) == tomllib.loads(text)
        complete = load_recipe(name).to_toml()
        assert parse_toml(complete) == tomllib.loads(complete)


def test_a_byte_order_mark_is_read(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert read_toml(file, "correct it") == ("x = 1\n", {"x": 1})


@pytest.mark.parametrize("data", [b"x = '\xff'", "x = 1".encode("utf-16"), b"x = 1\0", b"\0" * 100, bytes(range(256))])
def test_bytes_that_are_no_text_are_refused(data, tmp_path):
    (tmp_path / "mine.toml").write_bytes(data)
    with pytest.raises(PellucidError, match=r"mine\.toml is not TOML .*; correct it"):
        read_toml(tmp_path / "mine.toml", "correct it")


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@pytest.mark.parametrize("make", [make_pipe, make_socket, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_files_that_are_not_regular_are_refused_at_once(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "mine.toml")
    with pytest.raises(PellucidError, match=r"mine\.toml cannot be read \(.*\); correct it"):
        read_toml(tmp_path / "mine.toml", "correct it")


def test_links_are_followed_unless_a_run_contains_them(tmp_path):
    (tmp_path / "mine.toml").write_text("x = 1")
    link = tmp_path / "link.toml"
    link.symlink_to("mine.toml")
    assert read_toml(link, "correct it")[1] == {"x": 1}
    with pytest.raises(PellucidError, match=r"link\.toml cannot be read \(a symbolic link\); correct it"):
        read_toml(link, "correct it", follow_links=False)
