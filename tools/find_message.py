"""Print the lines of code, tests and pages with a message as it was printed, or a part of it, the best matches first:

`python tools/find_message.py "x has 3 inputs and 2 targets; give a list of one target for each input"`
"""

import ast
import re
import sys
from collections.abc import Collection, Iterator
from difflib import SequenceMatcher
from functools import cache
from itertools import pairwise
from math import log
from pathlib import Path
from textwrap import shorten

ROOT = Path(__file__).absolute().parents[1]  # of the checkout, also where tools is a link
CODE = ("pellucid", "conformance", "benchmarks", "tools")
TESTS = ("tests", "benchmarks/fuzz")  # where messages are read
CHECKS = ROOT / "pellucid/base/settings/checks.py"  # whose functions complete "... must be ..., not ..."
VALUE = "\0"  # a value in a text, or what a test leaves open
MAX_FILES = 100  # of code, tests and pages each whose texts are compared: those that share most with the message
MIN_LENGTH = 8  # characters of a text without its values; shorter ones are parts of too many messages
MAX_FIXED = 20  # characters shared without values that are enough for a test with long values
MAX_PRINTED = 20  # lines of each kind
MAX_CODE_TEXTS = 2  # the best in the code, with which texts of tests are compared
CONTEXT = 3  # lines before and after a text in which a test names what the message is about
MAX_CHARACTERS = 160  # of a text when printed


def text_of(node: ast.AST) -> str:
    """Return a string, an f-string with VALUE in place of each value, or "" for another expression."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or VALUE for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def name_of_call(call: ast.Call) -> str:
    """Return the name of the called function, without that of its module; "" for another expression."""
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


@cache
def _requirements() -> dict[str, str]:
    """Return what the message of each check requires, such as "be True or False", by the check's name."""
    tree = ast.parse(CHECKS.read_text(encoding="utf-8"))
    functions = {node.name: [*ast.walk(node)] for node in tree.body if isinstance(node, ast.FunctionDef)}

    def requirement(name: str) -> str:
        calls = [node for node in functions[name] if isinstance(node, ast.Call)]
        in_text = [text for node in functions[name] if (text := text_of(node)).startswith("be ")]
        in_check = [f"be {text_of(call.args[2]) or VALUE}" for call in calls if name_of_call(call) == "check"]
        in_helper = [requirement(helper) for call in calls if (helper := name_of_call(call)) == "_check_at_least"]
        return [*in_text, *in_check, *in_helper, VALUE][0]

    return {name: requirement(name) for name in functions}


def _texts_of_check(call: ast.Call, requirement: str, owner: str) -> Iterator[str]:
    """Yield what a call of a check prints: "OWNER: NAME must ...", "SUBJECT must be ..." or "no SUBJECT 'NAME'"."""
    owner = text_of(call.args[0]) or owner if call.args else owner
    yield from (f"{owner}{VALUE}: {keyword.arg} must {requirement}, not {VALUE}" for keyword in call.keywords)
    if texts := [text for argument in call.args if (text := text_of(argument))]:
        yield f"{texts[0]} must {f'be {texts[1]}' if len(texts) > 1 else requirement}, not {VALUE}"
        yield f"no {texts[0].removeprefix('no ')} {VALUE}"


def texts_of_code(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each string of a module, and of the messages of its calls of checks."""
    tree = ast.parse(source)
    nodes = [*ast.walk(tree)]
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    owners = {id(node): owner.name for owner in nodes if isinstance(owner, ast.ClassDef) for node in ast.walk(owner)}
    for node in nodes:
        if isinstance(node, ast.expr) and id(node) not in parts and (text := text_of(node)):
            yield node.lineno, text
        if isinstance(node, ast.Call) and (requirement := _requirements().get(name_of_call(node))):
            yield from ((node.lineno, text) for text in _texts_of_check(node, requirement, owners.get(id(node), VALUE)))


def texts_of_test(source: str) -> Iterator[tuple[int, str]]:
    """Yield the texts of a test, and for `Hinge(power=3)`, which may be refused, "Hinge: power must ..., not 3"."""
    yield from texts_of_code(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (name := name_of_call(node))[:1].isupper():
            for keyword in node.keywords:
                yield node.lineno, f"{name}: {keyword.arg} must {VALUE}, not {ast.unparse(keyword.value)}"


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
    fixed = [piece for piece in re.split(rf"{VALUE}|\.\*|\.\.\.|\[0-9]\+", text) if any(map(str.isalpha, piece))]
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


def words_of(text: str) -> set[str]:
    """Return the words of a text that are not as common as "must" and "not"."""
    return {word for word in re.findall(r"\w+", text) if len(word) > 3 and word != "must"}


def shared_length(text: str, message: str) -> int:
    """Return `common_length`, or the number of characters of a long part that both contain, if it is larger."""
    length = common_length(text, message)
    if len(words_of(text) & words_of(message)) < 3:  # no long part
        return length
    return max(length, SequenceMatcher(None, text, message, autojunk=False).find_longest_match().size)


@cache
def sources(folder: str) -> dict[Path, str]:
    """Return the texts of the files of code, or of the pages, in a folder by their paths."""
    files = sorted((ROOT / folder).rglob("*.md" if folder == "docs" else "*.py"))
    return {path: path.read_text(encoding="utf-8") for path in files}


def texts(message: str, *folders: str) -> Iterator[tuple[str, str, str]]:
    """Yield each string of code, or quotation of a page, in the likeliest files: its place, text and context."""
    found = {path: source for folder in folders for path, source in sources(folder).items()}
    words = message.split()
    # Weights of what a file may contain: of a check, such as `integer(top, "trace.explain: top", 1)`, the subject most.
    weights = dict.fromkeys((*words_of(message), *map(" ".join, pairwise(words))), 1)
    weights |= {f"class {word}": 1 for word in words_of(message) if word[0].isupper()}  # "Dense: units must ..."
    weights[f'{message.partition(" must ")[0].split(": ")[-1]}",'] = 3
    scores = dict.fromkeys(found, 0.0)
    for piece, weight in weights.items():
        paths = [path for path, source in found.items() if piece in source]
        for path in paths:
            scores[path] += weight * log(1 + len(found) / len(paths))  # rare pieces tell more
    for path in sorted(filter(scores.get, scores), key=lambda path: -scores[path])[:MAX_FILES]:
        lines = found[path].splitlines()
        read = {"docs": texts_of_page, "tests": texts_of_test}.get(path.relative_to(ROOT).parts[0], texts_of_code)
        for number, text in read(found[path]):
            context = "\n".join(lines[max(0, number - CONTEXT - 1) : number + CONTEXT])
            yield f"{path.relative_to(ROOT).as_posix()}:{number}", text, context


def matches(message: str, *folders: str, code_texts: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return the place, as FILE:LINE, and the text of each match in the folders, the best first.

    Texts that contain the whole message come first. Those that match one of `code_texts` are kept: a test may quote
    only a few words of the message, or other values.
    """
    words = words_of(message)
    subject = message.partition(" must ")[0].removeprefix("pellucid: ")
    found: list[tuple[bool, int, str, str]] = []
    same: set[str] = set()  # places of tests of the same message, with other values
    for place, text, context in texts(" ".join([message, *code_texts]).replace(VALUE, " "), *folders):
        # A message has several words; a name such as "running_var" is none.
        called = {word for word in words if f"{word}(" in context or f"{word}=" in context}
        if (" " in text or " " not in message) and (not words or called or words & words_of(text)):
            length = shared_length(text, message)
            plain_text = text.replace("\\", "")
            if length and f" {subject} must" in f" {plain_text}".replace(VALUE, ""):
                length += len(message)  # many messages require the same of other subjects
            if code_texts and " must " not in message:
                fixed_length = max(common_length(code_text, plain_text) for code_text in code_texts)
                if fixed_length >= max(MIN_LENGTH, min(len(plain_text) / 2, MAX_FIXED)):
                    same.add(place)
                    length = length or fixed_length
            if length and code_texts:
                length += max(shared_length(text, code_text) for code_text in code_texts)
                # A test calls what the message names, and its text is found in the message.
                length += sum(len(word) for word in called if word not in text)
                length += len(plain_text) if plain_text in message else 0
            found.append((message in plain_text, length, place, text))
    # Of texts that share as much, messages before docstrings, which end with a full stop, and the shortest first.
    found.sort(key=lambda entry: (not entry[0], -entry[1], entry[3].endswith("."), len(entry[3])))
    min_length = max(min(MIN_LENGTH, len(message)), max((length for _, length, _, _ in found), default=0) / 2)
    return [(place, text) for whole, length, place, text in found if whole or length >= min_length or place in same]


def matches_of_values(message: str) -> list[tuple[str, str]]:
    """Return the places of texts of one word and values, such as f"no {kind} {name!r}", and of their calls."""
    word, *_ = message.split() or [""]
    found: list[tuple[str, str]] = []
    for path, source in sources("pellucid").items():
        if f'f"{word} {{' not in source:
            continue
        for function in ast.walk(ast.parse(source)):
            for node in ast.walk(function) if isinstance(function, ast.FunctionDef) else ():
                text = text_of(node)
                if text.startswith(f"{word} {VALUE}") and len(re.sub(r"\W", "", text)) < MIN_LENGTH:
                    found.append((f"{path.relative_to(ROOT).as_posix()}:{node.lineno}", text))
                    found += _calls(function.name)
    return found


def _calls(name: str) -> Iterator[tuple[str, str]]:
    """Yield the places and the lines of the calls of a function."""
    for path, source in sources("pellucid").items():
        for number, line in enumerate(source.splitlines(), 1):
            if re.search(rf"(?<!def )\b{name}\(", line):
                yield f"{path.relative_to(ROOT).as_posix()}:{number}", line.strip()


def find(message: str) -> dict[str, list[tuple[str, str]]]:
    """Return the matches in the code, the tests and the pages."""
    message = re.sub(r"; did you mean [^?]*\??", "", message)  # which pellucid.base.errors completes
    code = matches(message, *CODE)
    whole_texts = [text for _, text in code if message in text]
    code_texts = (whole_texts or [text for _, text in code])[:MAX_CODE_TEXTS]
    code += [entry for entry in matches_of_values(message) if entry not in code]
    readers = {"tests": TESTS, "docs": ("docs",)}
    return {"code": code} | {
        name: matches(message, *folders, code_texts=code_texts) for name, folders in readers.items()
    }


if __name__ == "__main__":
    for name, found in find(sys.argv[1]).items():
        for place, text in found[:MAX_PRINTED]:
            print(f"{place}: {shorten(text.replace(VALUE, '...'), MAX_CHARACTERS, placeholder=' ...')}")
        if len(found) > MAX_PRINTED or not found:
            print(f"{name}: {len(found) - MAX_PRINTED} more" if found else f"{name}: no such text")
