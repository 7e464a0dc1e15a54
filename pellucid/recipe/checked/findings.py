"""The findings in a collection: as warnings, as lines of text, and as JSON values."""

from collections.abc import Sequence
from typing import Any

from pellucid.base.text import aligned, plural
from pellucid.recipe.checked.collection import Collection, imbalance

MIN_PICTURES = 10  # training pictures of a class, below which results are unreliable
MIN_IMBALANCE = 3.0  # size of the largest class divided by the smallest, from which classes are imbalanced
MAX_SHOWN = 5  # files of each kind in the text
MAX_ROWS = 60  # classes in the table of the text
MAX_LISTED = 10_000  # files of each kind in the JSON values


def data_warnings(collection: Collection, noun: str = "picture") -> tuple[str, ...]:
    """Return a line for each problem of the data that makes the model worse, or its evaluation too optimistic.

    noun: what the training pictures are called.
    """
    classes, counts = collection.classes, collection.train.counts()
    messages: list[str] = []
    small_classes = [f"{name} ({count})" for name, count in zip(classes, counts, strict=True) if count < MIN_PICTURES]
    if small_classes:
        messages.append(
            f"few {noun}s to learn from in {_names_text(small_classes, 'class', 'classes')}; give each "
            f"{MIN_PICTURES} or more"
        )
    if imbalance(counts) >= MIN_IMBALANCE:
        largest_index, smallest_index = counts.index(max(counts)), counts.index(min(counts))
        messages.append(
            f"{classes[largest_index]} has {counts[largest_index]:,} {noun}s and {classes[smallest_index]} "
            f"{counts[smallest_index]:,}; in training each class has the same weight, but more {noun}s of the "
            "rare ones would help more"
        )
    untested_classes = [name for name, count in zip(classes, collection.test.counts(), strict=True) if not count]
    if untested_classes:
        messages.append(
            f"no held-out picture of {_names_text(untested_classes, 'class', 'classes')}, so these are not measured"
        )
    if collection.n_leaked:
        messages.append(
            f"{_count_text(collection.n_leaked, 'held-out picture')} nearly the same as a training or validation "
            "picture, so that the result will be too optimistic; remove them on one side"
        )
    cross_class_pairs = [pair for pair in collection.duplicates if pair.classes[0] != pair.classes[1]]
    if cross_class_pairs:
        pair = cross_class_pairs[0]
        messages.append(
            f"{_count_text(len(cross_class_pairs), 'pair')} of near duplicates in two classes, such as {pair.first} "
            f"and {pair.second}; one of the two is wrong"
        )
    return tuple(messages)


def finding_lines(collection: Collection) -> list[str]:
    """Return the lines that are printed before the training: the sizes of the parts, and all findings."""
    n_files = sum(map(len, (part.files for part in collection.parts().values())))
    split_text = "as in its folders" if collection.has_test_folder else "split here, near duplicates on one side"
    sizes_text = ", ".join(f"{name} {len(part.files):,}" for name, part in collection.parts().items())
    result = [
        f"{collection.path}: {n_files:,} images of {len(collection.classes)} classes; {sizes_text} ({split_text})"
    ]
    class_rows = list(
        zip(collection.classes, *(map(str, part.counts()) for part in collection.parts().values()), strict=True)
    )
    table = aligned(
        [("class", *collection.parts()), *class_rows[:MAX_ROWS]], right=range(1, len(collection.parts()) + 1)
    )
    result += [f"  {row}" for row in table.split("\n")] + _remaining_line(len(class_rows), MAX_ROWS, "class", "classes")
    corrupt_lines = [f"{item.file} {item.reason}" for item in collection.corrupt]
    result += _section(f"{unreadable_text(len(corrupt_lines))}:", corrupt_lines, "file")
    n_exact = sum(pair.exact for pair in collection.duplicates)
    exact_text = f", {plural(n_exact, 'pair')} with the same bytes" if n_exact else ""
    n_images = len(collection.duplicates) + collection.n_groups
    sorted_pairs = sorted(collection.duplicates, key=lambda item: (len({*item.classes}) == 1, len({*item.parts}) == 1))
    pair_lines = [
        f"{item.first}  {item.second}  {'same bytes' if item.exact else f'correlation {item.similarity:.3f}'}"
        for item in sorted_pairs
    ]
    result += _section(
        f"{n_images:,} images in {plural(collection.n_groups, 'group')} of near duplicates{exact_text}:",
        pair_lines,
        "pair",
    )
    blurry_lines = [f"{item.file}  sharpness {item.sharpness:.2f}" for item in collection.blurry]
    heading = f"{plural(len(blurry_lines), 'image')} {'looks' if len(blurry_lines) == 1 else 'look'} blurry:"
    return result + _section(heading, blurry_lines, "image") + [f"warning: {text}" for text in collection.warnings]


def _section(heading: str, rows: Sequence[str], noun: str) -> list[str]:
    """Return a heading followed by the first rows, [] if there are no rows."""
    return (
        [heading, *(f"  {row}" for row in rows[:MAX_SHOWN]), *_remaining_line(len(rows), MAX_SHOWN, noun, f"{noun}s")]
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
        "corrupt_files": [{"file": item.file, "reason": item.reason} for item in collection.corrupt[:MAX_LISTED]],
        "duplicate_groups": collection.n_groups,
        "duplicate_images": len(collection.duplicates) + collection.n_groups,
        "duplicates": [
            {
                "files": [pair.first, pair.second],
                "classes": [*pair.classes],
                "parts": [*pair.parts],
                "similarity": round(pair.similarity, 4),
                "exact": pair.exact,
            }
            for pair in collection.duplicates[:MAX_LISTED]
        ],
        "leaked": collection.n_leaked,
        "blurry": len(collection.blurry),
        "blurry_files": [
            {"file": item.file, "sharpness": round(item.sharpness, 4)} for item in collection.blurry[:MAX_LISTED]
        ],
        "warnings": [*collection.warnings],
        "held_out_files": [*collection.test.files],
        "validation_files": [] if collection.validation is None else [*collection.validation.files],
    }


def _names_text(class_names: list[str], singular: str, plural_noun: str) -> str:
    """Return the noun `singular` or `plural_noun`, followed by the first names."""
    more_text = "" if len(class_names) <= MAX_SHOWN else f" and {len(class_names) - MAX_SHOWN} more"
    return f"{singular if len(class_names) == 1 else plural_noun} {', '.join(class_names[:MAX_SHOWN])}{more_text}"


def _remaining_line(count: int, n_shown: int, singular: str, plural_noun: str) -> list[str]:
    n_hidden = count - n_shown
    return [f"  and {n_hidden:,} more {singular if n_hidden == 1 else plural_noun}"] if n_hidden > 0 else []


def _count_text(count: int, noun: str) -> str:
    return f"{plural(count, noun)} {'is' if count == 1 else 'are'}"


def unreadable_text(n_files: int) -> str:
    """Return a sentence, without the period, about n files that cannot be read."""
    return f"{plural(n_files, 'file')} cannot be read and {'is' if n_files == 1 else 'are'} left out"
