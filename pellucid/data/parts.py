"""The parts of a data set: the spellings of their names, and which part is used for what."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pellucid.base.text import note_once, plural

TRAIN, TRAINVAL = "train", "trainval"
HELD_OUT_PARTS = ("test", "val", "valid", "validation")  # the first that exists is the held-out part
# The part that a word in a name means, in lower case.
PART_OF_WORD: Mapping[str, str] = {
    **{name: name for name in (TRAIN, TRAINVAL, *HELD_OUT_PARTS)},
    "training": TRAIN,
    "trn": TRAIN,
    "testing": "test",
    "tst": "test",
}
_OTHER_WORDS = ("dataset", "set", "data", "split", "part", "images", "image", "imgs", "img")  # beside the part's name
_WORD = re.compile("[a-z]+")


def standard_part(folder: str) -> str:
    """Return the part that a folder's name means, such as "train" for Train, training or train_set1; "" for others.

    Case, digits and the words of _OTHER_WORDS do not matter. A name with any other word, such as "test tube", may be
    the name of a class.
    """
    name_letters = "".join(word for word in _WORD.findall(folder.lower()) if word not in _OTHER_WORDS)
    suffix = next((word for word in _OTHER_WORDS if name_letters.endswith(word)), "")  # of "trainset"
    return PART_OF_WORD.get(name_letters, "") or PART_OF_WORD.get(name_letters.removesuffix(suffix), "")


def part_words(name: str) -> list[str]:
    """Return the parts that the words of a name mean, in order: "train" for instances_train2017."""
    return [part for part in map(standard_part, _WORD.findall(name.lower())) if part]


def matching_part(part: str, names: Iterable[str]) -> str:
    """Return `part` if it is one of `names`, otherwise the first of them that means the same part, if there is one."""
    names = sorted(names)
    meant_part = standard_part(part)
    return (
        part
        if part in names or not meant_part
        else next((name for name in names if standard_part(name) == meant_part), part)
    )


class PartUse(NamedTuple):
    """The use of the parts of a data set: the names of the training part, the held-out part and all unused parts.

    A name is a folder, or the part of annotation files, "" for files without a part. None: there is no such part.
    """

    train: str | None
    held_out: str | None
    unused: tuple[str, ...] = ()

    def note_used_parts(self, path: object, files: Mapping[str, Sequence[str]] | None = None) -> None:
        """Write a note on the use of all parts if some are unused or nameless. files: of each part, to name one."""
        is_plain = self.train != "" or self.held_out is None
        if not self.unused and is_plain:
            return

        def described(name: str) -> str:
            part_files = (files or {}).get(name)
            if not name and part_files is None:
                return "the images without a part"
            part_files = part_files or ("",)
            return repr(name) if name else f"{plural(len(part_files), 'file')} without a part, such as {part_files[0]}"

        uses = (("training", self.train), ("testing", self.held_out))
        text = " and ".join(f"{described(name)} for {use}" for use, name in uses if name is not None)
        if self.unused:
            names = ", ".join(map(described, self.unused))
            text += f"; not used: {names:.300} (parts have names such as train, val and test)"
        note_once(f"{path}: {text}")


def parts_among(names: Iterable[str]) -> PartUse:
    """Return the use of the parts with these names.

    The training part is "train" in any spelling (`standard_part`), otherwise "trainval", otherwise the files without a
    part. The held-out part is the first of HELD_OUT_PARTS in any spelling; beside "trainval", which contains the images
    of "val", only "test". Of several spellings of one part, the usual one is used, otherwise the first in alphabetical
    order.
    """
    names = sorted(names)

    def first_present(parts: Sequence[str]) -> str | None:
        names_of_parts = (matching_part(part, names) for part in parts)
        return next((name for name in names_of_parts if name in names), None)

    train = first_present((TRAIN, TRAINVAL))
    if train is None and "" in names:
        train = ""
    held_out = first_present(HELD_OUT_PARTS[:1] if train and standard_part(train) == TRAINVAL else HELD_OUT_PARTS)
    return PartUse(train, held_out, tuple(name for name in names if name not in (train, held_out)))
