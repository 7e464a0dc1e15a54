"""The file classes.txt beside masks: the names of classes by the values of masks."""

import re

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text
from pellucid.base.text import note_once
from pellucid.data.annotations.labelme import IGNORE
from pellucid.data.tree import Tree

CLASSES_FILE = "classes.txt"  # the names of the classes of masks
N_VALUES = 256  # number of values of a uint8 mask
# Usual names of lists of classes, in lower case, which are not read.
OTHER_LISTS = ("labels.txt", "labelmap.txt", "label_map.txt", "names.txt", "class_names.txt", "classes.csv",
               "labels.csv", CLASSES_FILE)  # fmt: skip
_COMMENT = "#"
_VALUE_LINE = re.compile(r"([0-9]{1,9})\s*[:,;=\t](.*\S.*)")


def read_classes_file(tree: Tree, top: str) -> dict[int, str] | None:
    """Return the class names in the file classes.txt by the values of masks; None without such a file.

    Each line is the name of the next class, from 0, or each is `VALUE: NAME`, also with a comma, a semicolon, a tab or
    an equals sign. Empty lines, and lines that begin with #, are not read. A list of labelme begins with IGNORE, its
    name for pixels without a class, which is not counted.
    """
    name = f"{top}{CLASSES_FILE}"
    if name not in tree.names:
        return None
    where = tree.where(name)
    text_lines = decode_text(tree.document(name), where).splitlines()
    stripped = {number: line.strip() for number, line in enumerate(text_lines, start=1)}
    lines = {number: line for number, line in stripped.items() if line and not line.startswith(_COMMENT)}
    first = next(iter(lines), None)
    if first is not None and lines[first] == IGNORE:
        del lines[first]
    if not lines:
        raise PellucidError(f"{where} must have one class name per line, each once; add them, or remove the file")
    matches = {number: _VALUE_LINE.fullmatch(line) for number, line in lines.items()}
    stated = {number: (int(match[1]), match[2].strip()) for number, match in matches.items() if match}
    entries = dict(zip(lines, enumerate(lines.values()), strict=True))
    if len(stated) == len(lines):
        entries = stated
    classes = _without_repetitions(entries, where)
    if (stated and len(stated) < len(lines)) or max(classes) >= N_VALUES:
        raise PellucidError(
            f"{where} must have one class name per line, or in each line a value from 0 to 255 and a name, "
            "such as `255: cell`; correct it"
        )
    return classes


def _without_repetitions(entries: dict[int, tuple[int, str]], where: str) -> dict[int, str]:
    """Return the names by value of entries (value, name) by line; raise PellucidError if one stands twice."""
    classes: dict[int, str] = {}
    for number, (value, name) in entries.items():
        if name in classes.values():
            raise PellucidError(f"{where}, line {number}: the class {name!r:.80} stands twice; give each name once")
        if value in classes:
            raise PellucidError(f"{where}, line {number}: the value {value} stands twice; give each value once")
        classes[value] = name
    return classes


def note_other_lists(tree: Tree, top: str) -> None:
    """Write a note on lists of classes with another name than classes.txt beside masks, which are not read."""
    found = [name for name in tree.names if name.removeprefix(top).lower() in OTHER_LISTS]
    if found:
        note_once(
            f"{tree.where(found[0])} is not read: the names of the classes of masks are those in {CLASSES_FILE}, one "
            "per line; rename it to read them"
        )
