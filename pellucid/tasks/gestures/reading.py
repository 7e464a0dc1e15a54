"""Read a collection from a folder or zip of class folders."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from pellucid.data.dataset import make_dataset
from pellucid.data.folder import TEST_FRACTION
from pellucid.data.images import Mode
from pellucid.data.quality import Groups, Pair, Survey, blurry, exact_duplicates, near_duplicates, survey
from pellucid.data.tree import HELD_OUT, TRAIN, Tree, class_of, classes_of, files_of, open_tree, parts_of, root_of
from pellucid.errors import PellucidError
from pellucid.tasks.gestures.collection import Blurry, Collection, Copies, Part
from pellucid.tasks.gestures.findings import warnings
from pellucid.tasks.splitting import hold_out

TEST_SEED = 0  # the same pictures are held out for any seed of the training, so that trainings can be compared
VALIDATION = ("val", "valid", "validation")  # beside test/
Told = Callable[[str, int, int], None]  # of progress: "reading" or "comparing", the number done, the total
KEY = 8  # bytes of a digest: the 64 bits that the order of a split is drawn from


@dataclass(frozen=True)
class _File:
    part: str  # "train", "validation" or "test"; "" until it is split
    label: int


def read_collection(
    path: str | os.PathLike[str],
    size: int,
    mode: Mode = "RGB",
    validation: float = 0.0,
    seed: int = 0,
    progress: Told | None = None,
) -> Collection:
    """Read CLASS/IMAGE files, or train/CLASS/IMAGE with test/ or val/ or both beside it, from a folder or a .zip.

    All are resized to `size` x `size`; files that cannot be read are left out and listed. Without parts a fifth of
    each class is held out as the test part, and of the rest the share `validation`, if not 0, by `seed`: near
    duplicates are kept on one side, in an order drawn from the files' bytes, so that added pictures move few others.
    Given parts are not changed.
    progress: is called with the number of files read, then of pairs compared. Raises PellucidError where training is
    impossible: fewer than two classes, a class with no picture, or with one where it must be split, or no picture that
    can be held out.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() != ".zip":
        raise PellucidError(f"{path} is a file; give a folder with one folder of pictures for each class, or a .zip")
    with open_tree(path) as tree:
        classes, files = _files(tree)
        _check_classes(path, classes, [file.label for file in files.values()], "file")
        seen = survey(tree, list(files), (size, size), mode, progress and partial(progress, "reading"))
    kept = [files[name] for name in seen.files]
    of_train = [file.label for file in kept if file.part in ("", "train")]
    _check_classes(path, classes, of_train, "readable image", _reason(seen, files))
    given = [file.part for file in kept]
    gone = sorted({file.part for file in files.values()} - set(given))
    if gone:
        raise PellucidError(f"{path}: none of the files of its {gone[0]} part can be read; replace them")
    pairs, groups = _copies(seen, progress and partial(progress, "comparing"))
    labels = [file.label for file in kept]
    keys = [int.from_bytes(digest[:KEY], "big") for digest in seen.digests]
    parts = _split(str(path), classes, labels, groups, keys, given, validation, seed)
    return _collect(str(path), classes, seen, labels, parts, "test" in given, pairs, groups)


def _files(tree: Tree) -> tuple[tuple[str, ...], dict[str, _File]]:
    """Return the classes, and the files of all parts."""
    if not tree.names:
        raise PellucidError(f"{tree.path} is empty; put a folder of pictures into it for each class")
    root = root_of(tree)
    there = parts_of(tree, root)
    if TRAIN not in there:
        classes = classes_of(tree, root)
        return classes, {name: _File("", classes.index(class_of(name, root))) for name in files_of(tree, root)}
    test = next((part for part in HELD_OUT if part in there), None)
    middle = next((part for part in VALIDATION if part in there and part != test), None)
    classes = classes_of(tree, f"{root}{TRAIN}/")
    found: dict[str, _File] = {}
    for folder, part in ((TRAIN, "train" if test else ""), (middle, "validation"), (test, "test")):
        below = f"{root}{folder}/"
        for name in files_of(tree, below) if folder else ():
            label = class_of(name, below)
            if label not in classes:
                raise PellucidError(f"{tree.where(below + label)} is a class that {TRAIN}/ lacks; add it there")
            found[name] = _File(part, classes.index(label))
    return classes, found


def _check_classes(path: Path, classes: Sequence[str], labels: Sequence[int], what: str, why: str = "") -> None:
    """Raise PellucidError unless there are two classes with something in each."""
    if len(classes) < 2:
        raise PellucidError(f"{path} has one class only, {classes[0]!r}; add a folder for each other class")
    count = Counter(labels)
    none = next((name for k, name in enumerate(classes) if not count[k]), None)
    if none is not None:
        raise PellucidError(f"{path}: class {none!r} has no {what}{why}; add pictures, or remove its folder")


def _reason(seen: Survey, files: dict[str, _File]) -> str:
    """Return the reason why a class has no readable file: that of the first such file."""
    lost = {files[one.file].label for one in seen.corrupt} - {files[name].label for name in seen.files}
    first = next((one for one in seen.corrupt if files[one.file].label in lost), None)
    return f" ({first.file} {first.reason})" if first else ""


def _copies(seen: Survey, progress: Callable[[int, int], None] | None) -> tuple[list[Pair], list[int]]:
    """Return the pairs of copies, exact and near, and for each picture the first of its group."""
    exact = exact_duplicates(seen.digests)
    again = {pair.second for pair in exact}
    once = [i for i in range(len(seen.files)) if i not in again]
    near = [Pair(once[p.first], once[p.second], p.similarity) for p in near_duplicates(seen.small[once], progress)]
    joined = Groups(len(seen.files))
    for pair in (*exact, *near):
        joined.join(pair.first, pair.second)
    return [*exact, *near], [joined.first(i) for i in range(len(seen.files))]


def _split(
    path: str,
    classes: Sequence[str],
    labels: Sequence[int],
    groups: Sequence[int],
    keys: Sequence[int],
    given: Sequence[str],
    validation: float,
    seed: int,
) -> list[str]:
    """Return the part of each picture: the given one, or that of a split which keeps groups together."""
    parts = list(given)

    def divide(some: list[int], part: str, fraction: float, seed: int) -> None:
        first: dict[int, int] = {}
        together = [first.setdefault(groups[i], k) for k, i in enumerate(some)]
        for k in hold_out([labels[i] for i in some], together, [keys[i] for i in some], fraction, seed):
            parts[some[k]] = part

    if "test" not in given:
        some = [i for i, part in enumerate(parts) if not part]
        count = Counter(labels[i] for i in some)
        lonely = next((name for k, name in enumerate(classes) if count[k] == 1), None)
        if lonely is not None:
            raise PellucidError(
                f"{path}: class {lonely!r} has one readable image, and training and testing need one each; add more"
            )
        divide(some, "test", TEST_FRACTION, TEST_SEED)
        parts = [part or "train" for part in parts]
        if "test" not in parts:
            raise PellucidError(
                f"{path}: all images of each class are near duplicates of one another, so that none can be held out "
                "to measure by; add pictures of other scenes"
            )
    if validation and "validation" not in parts:
        some = [i for i, part in enumerate(parts) if part == "train"]
        divide(some, "validation", validation, seed)
    return parts


def _collect(
    path: str,
    classes: Sequence[str],
    seen: Survey,
    labels: Sequence[int],
    parts: Sequence[str],
    given: bool,
    pairs: Sequence[Pair],
    groups: Sequence[int],
) -> Collection:
    y = torch.tensor(labels)

    def part(name: str) -> Part:
        places = [i for i, one in enumerate(parts) if one == name]
        skipped = tuple(one.file for one in seen.corrupt) if name == "train" else ()
        images = make_dataset(path, seen.x[places], y[places], classes, skipped)
        files, digests = tuple(seen.files[i] for i in places), tuple(seen.digests[i] for i in places)
        return Part(files, images, digests, tuple(groups[i] for i in places))

    def copies(pair: Pair) -> Copies:
        i, j = pair.first, pair.second
        same = seen.digests[i] == seen.digests[j]
        named = (classes[labels[i]], classes[labels[j]])
        return Copies(seen.files[i], seen.files[j], pair.similarity, same, named, (parts[i], parts[j]))

    learnt = {groups[i] for i, name in enumerate(parts) if name == "train"}
    chosen = learnt | {groups[i] for i, name in enumerate(parts) if name == "validation"}
    earlier = {"train": set[int](), "validation": learnt, "test": chosen}
    soft = torch.nonzero(blurry(seen.sharpness)).flatten().tolist()
    found = Collection(
        path=path,
        given=given,
        train=part("train"),
        validation=part("validation") if "validation" in parts else None,
        test=part("test"),
        corrupt=seen.corrupt,
        copies=tuple(copies(pair) for pair in sorted(pairs, key=lambda pair: (pair.first, pair.second))),
        groups=sum(n > 1 for n in Counter(groups).values()),
        leaked=sum(groups[i] in earlier[name] for i, name in enumerate(parts)),
        blurry=tuple(Blurry(seen.files[i], float(seen.sharpness[i])) for i in soft),
        warnings=(),
    )
    return replace(found, warnings=warnings(found))
