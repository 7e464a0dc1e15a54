"""Whether the values of masks are those of classes, and what was recognized, in words."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_once, plural
from pellucid.data.mask_classes import CLASSES_FILE

VOID = 255  # the value of pixels without a class, unless the classes have names, as in Pascal VOC
MAX_LISTED_VALUES = 8  # in a message
RARE_SHARE = 0.001  # of all pixels; values and colours of fewer pixels may be those of smoothed edges
LOSSY_ADVICE = (
    "JPEG compression and smooth resizing change the values of masks: save the original ones as PNG, or set "
    "data.mask_nearest=true to read each pixel as the nearest class"
)
MAX_LISTED_CLASSES = 12  # with their shares
MAX_UNNAMED_VALUES = 8  # more values without a class than this, and than classes, are no classes


def plain_values(counts: Tensor, classes: Sequence[str] | None) -> dict[int, int]:
    """Return the index of the class of each value of masks whose values are class indices, see `check_values`.

    Without names of classes, every value up to the largest one is a class, except VOID.
    """
    if classes is not None:
        return {value: value for value in range(len(classes))}
    present_values = counts[:VOID].nonzero()[:, 0].tolist()
    return {value: value for value in range(max(present_values, default=0) + 1)}


def check_values(
    counts: Tensor,
    values: Mapping[int, int],
    classes: Sequence[str] | None,
    name: str,
    training: bool = True,
    mask_with: Callable[[int], str] | None = None,
) -> int | None:
    """Return the value of pixels without a class in masks, None if there is none.

    counts: (256,), the number of pixels of each value. values: the index of the class of each value. classes: the names
    of the classes, None if the values themselves are the classes. name: of the data, in messages. mask_with: returns
    the name of a mask with a value, for messages. Raises PellucidError for several values without a class, and if no
    class occurs. For a training, two classes must occur, and a note names those that do not.
    """
    present_values = [int(value) for value in counts.nonzero()[:, 0]]
    names = {value: f"class {index}" if classes is None else repr(classes[index]) for value, index in values.items()}
    unnamed_values = [value for value in present_values if value not in values]
    missing_values = [value for value in values if value not in present_values]
    n_found = len(values) - len(missing_values)
    value_texts = [f"{value} ({names.get(value, 'no class')})" for value in present_values[:MAX_LISTED_VALUES]]
    if len(present_values) > len(value_texts):
        value_texts.append("...")
    found_text = f"the masks have {plural(len(present_values), 'value')}: {', '.join(value_texts)}"
    advice = f"state the value of each class in {CLASSES_FILE}, in lines such as `{present_values[-1]}: NAME`"
    if len(unnamed_values) > max(len(values), MAX_UNNAMED_VALUES):
        advice = LOSSY_ADVICE
    rare_values = [value for value in present_values if counts[value] < RARE_SHARE * counts.sum()]
    is_counted_from_0 = [*values] == [*range(len(values))]
    reason = ""
    if len(unnamed_values) > 1:
        reason = f"there are {len(values)} classes, {described_values(values)}, and one further value may mean no class"
    elif n_found == 0:
        reason = "no pixel of the masks has a class"
    elif training and n_found < 2:
        reason = "the masks have one class only, and a training needs two, such as background and object"
    elif is_counted_from_0 and missing_values[:1] == [0] and unnamed_values == [len(values)]:
        reason = "the values of classes are counted from 0"
    elif classes is None and len(rare_values) > max(len(present_values) / 2, MAX_UNNAMED_VALUES):
        reason = f"{len(rare_values)} of the values are on few pixels"
        advice = LOSSY_ADVICE
    elif classes is None and len(missing_values) > n_found:
        reason = f"most of the {len(values)} classes, counted from 0, do not occur"
    elif unnamed_values and unnamed_values[0] < len(values):
        reason = f"the value {unnamed_values[0]} has no name"
    if reason:
        example_text = (
            f"; {mask_with(unnamed_values[0])} has the value {unnamed_values[0]}"
            if unnamed_values and mask_with is not None
            else ""
        )
        raise PellucidError(f"{name}: {reason}; {found_text}{example_text}; {advice}")
    if missing_values and (training or n_found == 1):
        absent_text = ", ".join(names[value] for value in missing_values[:MAX_LISTED_VALUES])
        note_once(f"{name}: no pixel has {absent_text:.200}; {found_text}")
    return unnamed_values[0] if unnamed_values else None


def class_shares(
    counts: Tensor,
    values: Mapping[int, int],
    names: Sequence[str],
    codes: Sequence[str],
    void: int | None,
    ignored: str = "",
) -> str:
    """Return the classes of masks with their values or colours and shares of all pixels, and the ignored share.

    counts: (256,), the number of pixels of each value. values: the index of the class of each value. names, codes: the
    name, and the value or colour as text, of each. void: the value of pixels without a class, None if there are none.
    ignored: the values or colours of these pixels in the files, by default void.
    """
    n_pixels = max(int(counts.sum()), 1)
    rows = [*zip(values, names, codes, strict=True)]
    if len(rows) > MAX_LISTED_CLASSES:
        rows.sort(key=lambda row: -int(counts[row[0]]))
    share_texts: list[str] = []
    for value, name, code in rows[:MAX_LISTED_CLASSES]:
        label = name if name == code else f"{name} ({code})"
        share_texts.append(f"{label} {100 * int(counts[value]) / n_pixels:.1f} %")
    if len(rows) > len(share_texts):
        share_texts.append(f"and {len(rows) - len(share_texts)} more classes")
    n_void = 0 if void is None else int(counts[void])
    void_text = "no pixel is ignored"
    if n_void:
        void_text = f"{ignored or void}, {100 * n_void / n_pixels:.1f} % of the pixels, has no class"
    return f"{', '.join(share_texts)}; {void_text}"


def described_values(values: Mapping[int, int]) -> str:
    """Return which values the classes have."""
    if [*values] == [*range(len(values))]:
        return "counted from 0"
    return f"with the values {', '.join(map(str, values)):.100}"
