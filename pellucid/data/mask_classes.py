"""The classes of masks: names by value or by colour, from the lists that people keep beside masks."""

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text
from pellucid.base.limits import MAX_CLASS_LIST_BYTES
from pellucid.base.text import note_once
from pellucid.data.mask_settings import mask_settings
from pellucid.data.tree import Tree

CLASS_COLOURS_FILE = "class_dict.csv"
CLASSES_FILE = "classes.txt"  # the names of the classes of masks
N_VALUES = 256  # number of values of a uint8 mask
# Usual names of lists of classes, in lower case, which are not read.
OTHER_LISTS = ("labels.txt", "labelmap.txt", "label_map.txt", "names.txt", "class_names.txt", "classes.csv",
               "labels.csv", CLASSES_FILE)  # fmt: skip
IGNORE = "__ignore__"  # labelme's label of pixels without a class
VOID_NAMES = ("void", "ignore", IGNORE)  # of colours for pixels without a class, in lower case
VOC_BORDER = (224, 224, 192)  # the colour of pixels without a class in Pascal VOC, at the edges of objects
_COMMENT = "#"
_VALUE_LINE = re.compile(r"([0-9]{1,9})\s*[:,;=\t](.*\S.*)")
_COLOUR_LINE = re.compile(r"([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*[:;=\t](.*\S.*)")
_COLOUR_FIRST_LINE = re.compile(r"([0-9]{1,3})[\s,;]+([0-9]{1,3})[\s,;]+([0-9]{1,3})[\s,;:]+(\S.*)")
_LABELMAP_LINE = re.compile(r"([^:]*):\s*([0-9]{1,3}),\s*([0-9]{1,3}),\s*([0-9]{1,3})\s*(?::[^:]*){0,2}")
# Cityscapes: the 19 classes of its benchmark by the value in _labelIds; all other values have no class.
CITYSCAPES = {7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
              20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car",
              27: "truck", 28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle"}  # fmt: skip

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassList:
    """The names of classes by value, and by colour if the list has colours; ignored: values or colours of no class.

    where: the file, for messages.
    """

    where: str = ""
    values: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[Colour, str] = field(default_factory=dict)
    ignored_values: frozenset[int] = frozenset()
    ignored_colours: frozenset[Colour] = frozenset()


def read_class_list(tree: Tree, top: str, masks: Sequence[str] = ()) -> ClassList:
    """Return the classes that are stated for masks: by the settings, a list beside them, or the names of the masks.

    Lists: classes.txt (also class_names.txt of labelme), see `read_lines`; labelmap.txt of Pascal VOC and CVAT, with
    lines NAME:R,G,B:PARTS:ACTIONS; label_colors.txt of CamVid, with lines R G B NAME; class_dict.csv with the columns
    name, r, g, b; and _classes.csv of Roboflow with the columns Pixel Value, Class. A list may also be in the folders
    of parts, if all are the same. masks: files, whose names say whether they are Cityscapes'. Raises PellucidError for
    lists that cannot be read, and for two lists that differ.
    """
    settings = mask_settings()
    if settings.mask_classes:
        return _with_ignored(read_lines(settings.mask_classes, "data.mask_classes"))
    chosen_list: ClassList | None = None
    for file_name, read_list in _READERS.items():
        names = [name for name in tree.names if PurePosixPath(name).name.lower() == file_name]
        if file_name == CLASSES_FILE:
            names = [name for name in names if name == f"{top}{CLASSES_FILE}"]
        list_by_file = {
            name: class_list
            for name in names
            if (class_list := read_list(_text(tree, name), tree.where(name))) is not None
        }
        for name, class_list in list_by_file.items():
            first_list = next(iter(list_by_file.values()))
            if (class_list.values, class_list.colours) != (first_list.values, first_list.colours):
                raise PellucidError(
                    f"{tree.where(name)} and {first_list.where} name different classes; make them the same"
                )
        class_list = next(iter(list_by_file.values()), None)
        if chosen_list is None or (class_list is not None and class_list.colours and not chosen_list.colours):
            # the colours of labelmap.txt say more than the names of classes.txt
            chosen_list = class_list or chosen_list
    if chosen_list is None and masks and all(PurePosixPath(name).stem.endswith("_labelIds") for name in masks):
        chosen_list = ClassList("Cityscapes", CITYSCAPES, {}, frozenset(range(N_VALUES)) - CITYSCAPES.keys())
    if chosen_list is None and masks and all(PurePosixPath(name).stem.endswith("_labelTrainIds") for name in masks):
        chosen_list = ClassList("Cityscapes", dict(enumerate(CITYSCAPES.values())), {}, frozenset((255,)))
    return _with_ignored(chosen_list or ClassList())


def _text(tree: Tree, name: str) -> str:
    if tree.size(name) > MAX_CLASS_LIST_BYTES:
        raise PellucidError(
            f"{tree.where(name)} has {tree.size(name):,} bytes, above the limit of {MAX_CLASS_LIST_BYTES:,} for a list "
            "of classes; shorten it"
        )
    return decode_text(tree.document(name), tree.where(name))


def _with_ignored(classes: ClassList) -> ClassList:
    """Return classes with the ignored values and colours of the settings."""
    values, colours = set(classes.ignored_values), set(classes.ignored_colours)
    for text in map(str, mask_settings().mask_ignored):
        numbers = [
            int(number_text) if number_text.isdecimal() and len(number_text) < 4 else N_VALUES
            for number_text in re.split(r"\s*,\s*", text)
        ]
        if len(numbers) not in (1, 3) or max(numbers) >= N_VALUES:
            raise PellucidError(f"data.mask_ignored: {text!r:.60} is no value and no colour; give 255 or '0,0,0'")
        if len(numbers) == 1:
            values.add(numbers[0])
        else:
            colours.add((numbers[0], numbers[1], numbers[2]))
    names_by_value = {value: name for value, name in classes.values.items() if value not in values}
    names_by_colour = {colour: name for colour, name in classes.colours.items() if colour not in colours}
    return ClassList(classes.where, names_by_value, names_by_colour, frozenset(values), frozenset(colours))


def read_lines(text_lines: Iterable[str], where: str) -> ClassList:
    """Return the classes of lines that are each the name of the next class, from 0, or `VALUE: NAME`, or `R,G,B: NAME`.

    A comma, a semicolon, a tab or an equals sign may replace the colon after a value. Empty lines, and lines that begin
    with #, are not read. A list of labelme begins with IGNORE, its name for pixels without a class, which is not
    counted.
    """
    line_by_number = {number: line.strip() for number, line in enumerate(text_lines, start=1)}
    lines = {number: line for number, line in line_by_number.items() if line and not line.startswith(_COMMENT)}
    first_number = next(iter(lines), None)
    if first_number is not None and lines[first_number] == IGNORE:
        del lines[first_number]
    if not lines:
        raise PellucidError(f"{where} must have one class name per line, each once; add them, or remove the file")
    if all(_COLOUR_LINE.fullmatch(line) for line in lines.values()):
        return _coloured(_colour_rows(lines, _COLOUR_LINE), where)
    matches = {number: _VALUE_LINE.fullmatch(line) for number, line in lines.items()}
    stated_entries = {number: (int(match[1]), match[2].strip()) for number, match in matches.items() if match}
    entries = dict(zip(lines, enumerate(lines.values()), strict=True))
    if len(stated_entries) == len(lines):
        entries = stated_entries
    classes = _without_repetitions(entries, where)
    if (stated_entries and len(stated_entries) < len(lines)) or max(classes) >= N_VALUES:
        raise PellucidError(
            f"{where} must have one class name per line, or in each line a value from 0 to 255 and a name, "
            "such as `255: cell`; correct it"
        )
    return ClassList(where, classes)


def _read_classes(text: str, where: str) -> ClassList:
    return read_lines(text.splitlines(), where)


def _read_labelmap(text: str, where: str) -> ClassList | None:
    """Return the classes of Pascal VOC's or CVAT's labelmap.txt; None for a list in another form."""
    lines = {number: line.strip() for number, line in enumerate(text.splitlines(), start=1)}
    lines = {number: line for number, line in lines.items() if line and not line.startswith(_COMMENT)}
    matches = {number: _LABELMAP_LINE.fullmatch(line) for number, line in lines.items()}
    if not any(matches.values()):
        return None
    rows: list[tuple[int, str, Colour]] = []
    for number, match in matches.items():
        if match is None:
            raise PellucidError(f"{where}, line {number}: no NAME:R,G,B, such as cell:128,0,0::; correct it")
        rows.append((number, match[1].strip(), (int(match[2]), int(match[3]), int(match[4]))))
    classes = _coloured(rows, where)
    is_border_unused = VOC_BORDER not in classes.colours
    ignored = classes.ignored_colours | {VOC_BORDER} if is_border_unused else classes.ignored_colours
    return ClassList(where, classes.values, classes.colours, classes.ignored_values, ignored)


def _read_label_colours(text: str, where: str) -> ClassList | None:
    """Return the classes of CamVid's label_colors.txt; None for a list in another form."""
    lines = {number: line.strip() for number, line in enumerate(text.splitlines(), start=1) if line.strip()}
    if not any(_COLOUR_FIRST_LINE.fullmatch(line) for line in lines.values()):
        return None
    bad_line = next((number for number, line in lines.items() if not _COLOUR_FIRST_LINE.fullmatch(line)), None)
    if bad_line is not None:
        raise PellucidError(f"{where}, line {bad_line}: no R G B NAME, such as 64 128 64 Animal; correct it")
    return _coloured(_colour_rows(lines, _COLOUR_FIRST_LINE), where)


def _read_table(text: str, where: str) -> ClassList | None:
    """Return the classes of a .csv with the columns name, r, g, b, or Pixel Value, Class; None for other columns."""
    lines = text.splitlines()
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    try:
        rows_of_cells = csv.reader(lines, delimiter=delimiter)
        table = [[cell.strip() for cell in row] for row in rows_of_cells if any(map(str.strip, row))]
    except csv.Error as error:
        raise PellucidError(f"{where} is no table of comma-separated values ({error}); correct it") from error
    if not table:
        return None
    header = [cell.lower() for cell in table[0]]
    columns = ("name", "r", "g", "b") if {"r", "g", "b"} <= {*header} else ("class", "pixel value")
    column_indices = [header.index(column) for column in columns if column in header]
    if len(column_indices) < len(columns):
        if where.lower().endswith(CLASS_COLOURS_FILE):
            raise PellucidError(f"{where} has no columns name, r, g and b; correct it, or remove it")
        return None
    rows: list[tuple[int, str, list[int]]] = []
    for number, row in enumerate(table[1:], start=2):
        cells = [row[k] if k < len(row) else "" for k in column_indices]
        if not cells[0] or not all(cell.isascii() and cell.isdecimal() and len(cell) < 4 for cell in cells[1:]):
            raise PellucidError(f"{where}, row {number}: no name and {' '.join(columns[1:])} from 0 to 255; correct it")
        rows.append((number, cells[0], [int(cell) for cell in cells[1:]]))
    if len(columns) == 4:
        return _coloured(
            [(number, name, (numbers[0], numbers[1], numbers[2])) for number, name, numbers in rows], where
        )
    if not rows or max(numbers[0] for _, _, numbers in rows) >= N_VALUES:
        raise PellucidError(f"{where} has no classes with values from 0 to 255; correct it")
    return ClassList(where, _without_repetitions({number: (numbers[0], name) for number, name, numbers in rows}, where))


def _colour_rows(lines: Mapping[int, str], pattern: re.Pattern[str]) -> list[tuple[int, str, Colour]]:
    matches = ((number, pattern.fullmatch(line)) for number, line in lines.items())
    return [
        (number, match[4].strip(), (int(match[1]), int(match[2]), int(match[3]))) for number, match in matches if match
    ]


def _coloured(rows: Sequence[tuple[int, str, Colour]], where: str) -> ClassList:
    """Return classes by colour, from rows of a line, a name and a colour; VOID_NAMES are the colours of no class.

    The values of the classes are their places in the list, for masks of values.
    """
    colours: dict[Colour, str] = {}
    values: dict[int, str] = {}
    ignored: set[Colour] = set()
    for index, (number, name, colour) in enumerate(rows):
        if max(colour) >= N_VALUES:
            raise PellucidError(f"{where}, line {number}: a colour has numbers from 0 to 255; correct it")
        if not name:
            raise PellucidError(f"{where}, line {number}: a colour has no name; add it")
        if colour in colours or colour in ignored:
            raise PellucidError(
                f"{where}, line {number}: the colour {','.join(map(str, colour))} stands twice; give each colour once"
            )
        if name in values.values():
            raise PellucidError(f"{where}, line {number}: the class {name!r:.80} stands twice; give each name once")
        if name.lower() in VOID_NAMES:
            ignored.add(colour)
            continue
        colours[colour] = name
        values[index] = name
    if len(values) >= N_VALUES or not values:
        raise PellucidError(f"{where} names {len(values)} classes; give from 1 to 255")
    return ClassList(where, values, colours, frozenset(), frozenset(ignored))


def _without_repetitions(entries: Mapping[int, tuple[int, str]], where: str) -> dict[int, str]:
    """Return the names by value of entries (value, name) by line; raise PellucidError if one stands twice."""
    classes: dict[int, str] = {}
    for number, (value, name) in entries.items():
        if name in classes.values():
            raise PellucidError(f"{where}, line {number}: the class {name!r:.80} stands twice; give each name once")
        if value in classes:
            raise PellucidError(f"{where}, line {number}: the value {value} stands twice; give each value once")
        classes[value] = name
    return classes


_READERS: Mapping[str, Callable[[str, str], ClassList | None]] = {
    CLASSES_FILE: _read_classes,
    "class_names.txt": _read_classes,
    "labelmap.txt": _read_labelmap,
    "label_colors.txt": _read_label_colours,
    CLASS_COLOURS_FILE: _read_table,
    "_classes.csv": _read_table,
}


def note_other_lists(tree: Tree, top: str) -> None:
    """Write a note on lists of classes with another name or form beside masks, which are not read."""
    other_lists = [name for name in tree.names if name.removeprefix(top).lower() in OTHER_LISTS]
    if other_lists:
        note_once(
            f"{tree.where(other_lists[0])} is not read: the names of the classes of masks are those in {CLASSES_FILE}, "
            "one per line; rename it to read them"
        )
