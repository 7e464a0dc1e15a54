"""The findings in a collection: as warnings, as lines of text, and as JSON values."""

from collections.abc import Sequence
from typing import Any

from pellucid.tasks.gestures.collection import Collection, imbalance
from pellucid.text import aligned, plural

MIN_PICTURES = 10  # training pictures of a class, below which results are unreliable
IMBALANCED = 3.0  # times as many pictures in the largest class as in the smallest
MAX_SHOWN = 5  # files of each kind, in text
MAX_ROWS = 60  # classes of the table, in text
MAX_LISTED = 10_000  # files of each kind, in JSON


def warnings(collection: Collection) -> tuple[str, ...]:
    """Return a line for each problem of the data that makes the result worse, or too optimistic."""
    classes, counts = collection.classes, collection.train.counts()
    found: list[str] = []
    few = [f"{name} ({n})" for name, n in zip(classes, counts, strict=True) if n < MIN_PICTURES]
    if few:
        found.append(
            f"few pictures to learn from in {_listed(few, 'class', 'classes')}; give each {MIN_PICTURES} or more"
        )
    if imbalance(counts) >= IMBALANCED:
        most, least = counts.index(max(counts)), counts.index(min(counts))
        found.append(
            f"{classes[most]} has {counts[most]:,} pictures and {classes[least]} {counts[least]:,}; in training each "
            "class has the same weight, but more pictures of the rare ones would help more"
        )
    untested = [name for name, n in zip(classes, collection.test.counts(), strict=True) if not n]
    if untested:
        found.append(f"no held-out picture of {_listed(untested, 'class', 'classes')}, so these are not measured")
    if collection.leaked:
        found.append(
            f"{_count(collection.leaked, 'held-out picture')} nearly the same as a training or validation picture, so "
            "that the result will be too optimistic; remove them on one side"
        )
    mixed = [copy for copy in collection.copies if copy.classes[0] != copy.classes[1]]
    if mixed:
        one = mixed[0]
        found.append(
            f"{_count(len(mixed), 'pair')} of near duplicates in two classes, such as {one.first} and {one.second}; "
            "one of the two is wrong"
        )
    return tuple(found)


def lines(collection: Collection) -> list[str]:
    """Return the lines that are shown before the training."""
    total = sum(map(len, (part.files for part in collection.parts().values())))
    source = "as in its folders" if collection.has_test_folder else "split here, near duplicates on one side"
    sizes = ", ".join(f"{name} {len(part.files):,}" for name, part in collection.parts().items())
    result = [f"{collection.path}: {total:,} images of {len(collection.classes)} classes; {sizes} ({source})"]
    rows = list(
        zip(collection.classes, *(map(str, part.counts()) for part in collection.parts().values()), strict=True)
    )
    table = aligned([("class", *collection.parts()), *rows[:MAX_ROWS]], right=range(1, len(collection.parts()) + 1))
    result += [f"  {row}" for row in table.split("\n")] + _how_many_more(len(rows), MAX_ROWS, "class", "classes")
    corrupt = [f"{one.file} {one.reason}" for one in collection.corrupt]
    result += _section(f"{left_out(len(corrupt))}:", corrupt, "file")
    exact = sum(copy.exact for copy in collection.copies)
    same = f", {plural(exact, 'pair')} with the same bytes" if exact else ""
    images = len(collection.copies) + collection.groups
    worst = sorted(collection.copies, key=lambda one: (len({*one.classes}) == 1, len({*one.parts}) == 1))
    pairs = [
        f"{one.first}  {one.second}  {'same bytes' if one.exact else f'correlation {one.similarity:.3f}'}"
        for one in worst
    ]
    result += _section(
        f"{images:,} images in {plural(collection.groups, 'group')} of near duplicates{same}:", pairs, "pair"
    )
    blurry = [f"{one.file}  sharpness {one.sharpness:.2f}" for one in collection.blurry]
    heading = f"{plural(len(blurry), 'image')} {'looks' if len(blurry) == 1 else 'look'} blurry:"
    return result + _section(heading, blurry, "image") + [f"warning: {text}" for text in collection.warnings]


def _section(heading: str, rows: Sequence[str], what: str) -> list[str]:
    """Return a heading with the first rows below it; an empty list without rows."""
    return (
        [heading, *(f"  {row}" for row in rows[:MAX_SHOWN]), *_how_many_more(len(rows), MAX_SHOWN, what, f"{what}s")]
        if rows
        else []
    )


def findings_to_json(collection: Collection) -> dict[str, Any]:
    """Return all findings as JSON values, at most MAX_LISTED of each kind, with their counts."""
    parts = collection.parts()
    return {
        "path": collection.path,
        "given_parts": collection.has_test_folder,
        "images": {name: len(part.files) for name, part in parts.items()},
        "classes": [
            {"class": name, **dict(zip(parts, counts, strict=True))}
            for name, *counts in zip(collection.classes, *(part.counts() for part in parts.values()), strict=True)
        ],
        "corrupt": len(collection.corrupt),
        "corrupt_files": [{"file": one.file, "reason": one.reason} for one in collection.corrupt[:MAX_LISTED]],
        "duplicate_groups": collection.groups,
        "duplicate_images": len(collection.copies) + collection.groups,
        "duplicates": [
            {
                "files": [copy.first, copy.second],
                "classes": [*copy.classes],
                "parts": [*copy.parts],
                "similarity": round(copy.similarity, 4),
                "exact": copy.exact,
            }
            for copy in collection.copies[:MAX_LISTED]
        ],
        "leaked": collection.leaked,
        "blurry": len(collection.blurry),
        "blurry_files": [
            {"file": one.file, "sharpness": round(one.sharpness, 4)} for one in collection.blurry[:MAX_LISTED]
        ],
        "warnings": [*collection.warnings],
        "held_out_files": [*collection.test.files],
        "validation_files": [] if collection.validation is None else [*collection.validation.files],
    }


def _listed(names: list[str], singular: str, plural_noun: str) -> str:
    """Return the first names as text, after the noun `singular` or `plural_noun`."""
    remark = "" if len(names) <= MAX_SHOWN else f" and {len(names) - MAX_SHOWN} more"
    return f"{singular if len(names) == 1 else plural_noun} {', '.join(names[:MAX_SHOWN])}{remark}"


def _how_many_more(n: int, shown: int, singular: str, plural_noun: str) -> list[str]:
    left = n - shown
    return [f"  and {left:,} more {singular if left == 1 else plural_noun}"] if left > 0 else []


def _count(n: int, what: str) -> str:
    return f"{plural(n, what)} {'is' if n == 1 else 'are'}"


def left_out(n: int) -> str:
    """Return a sentence, without the period, about n files that were not read."""
    return f"{plural(n, 'file')} cannot be read and {'is' if n == 1 else 'are'} left out"
