"""Read a collection from a folder or zip of class folders."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from pellucid.data.colour_modes import ColourMode
from pellucid.data.dataset import make_dataset
from pellucid.data.folder import TEST_FRACTION
from pellucid.data.quality import Groups, SimilarPair, Survey, blurry, exact_duplicates, near_duplicates, survey
from pellucid.data.tree import HELD_OUT, TRAIN, Tree, class_of, classes_of, files_of, open_tree, parts_of, root_of
from pellucid.errors import PellucidError
from pellucid.tasks.gestures.collection import Blurry, Collection, Copies, SplitFiles
from pellucid.tasks.gestures.findings import warnings
from pellucid.tasks.splitting import hold_out

TEST_SEED = 0  # the same pictures are held out for any seed of the training, so that trainings can be compared
VALIDATION = ("val", "valid", "validation")  # names of the validation part beside test/
ReadingProgress = Callable[[str, int, int], None]  # progress: "reading" or "comparing", the finished number, the total
KEY_BYTES = 8  # bytes of a digest: 64 bits, from which the order of a split is computed


@dataclass(frozen=True)
class _File:
    part: str  # "train", "validation" or "test"; "" before the split
    label: int


def read_collection(
    path: str | os.PathLike[str],
    size: int,
    mode: ColourMode = "RGB",
    validation: float = 0.0,
    seed: int = 0,
    progress: ReadingProgress | None = None,
) -> Collection:
    """Read CLASS/IMAGE files, or train/CLASS/IMAGE with test/ or val/ or both beside it, from a folder or a .zip.

    All pictures are resized to `size` x `size`; files that cannot be read are left out and listed. Without parts, a
    fifth of each class is held out as the test part, and of the rest the fraction `validation`, if not 0, by `seed`.
    Near duplicates are kept in one part. The order of the split is computed from the files' bytes, so that added
    pictures move few others to another part. Given parts are not changed.
    progress: is called with the number of files read, then of pairs compared. Raises PellucidError if training is
    impossible: fewer than two classes, a class without pictures, or with one if it must be split, or no picture that
    can be held out.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() != ".zip":
        raise PellucidError(f"{path} is a file; give a folder with one folder of pictures for each class, or a .zip")
    with open_tree(path) as tree:
        classes, files = _files(tree)
        _check_classes(path, classes, [file.label for file in files.values()], "file")
        surveyed = survey(tree, list(files), (size, size), mode, progress and partial(progress, "reading"))
    usable = [files[name] for name in surveyed.files]
    train_labels = [file.label for file in usable if file.part in ("", "train")]
    _check_classes(path, classes, train_labels, "readable image", _reason(surveyed, files))
    given_parts = [file.part for file in usable]
    unreadable = sorted({file.part for file in files.values()} - set(given_parts))
    if unreadable:
        raise PellucidError(f"{path}: none of the files of its {unreadable[0]} part can be read; replace them")
    pairs, groups = _copies(surveyed, progress and partial(progress, "comparing"))
    labels = [file.label for file in usable]
    keys = [int.from_bytes(digest[:KEY_BYTES], "big") for digest in surveyed.digests]
    parts = _split(str(path), classes, labels, groups, keys, given_parts, validation, seed)
    return _collect(str(path), classes, surveyed, labels, parts, "test" in given_parts, pairs, groups)


def _files(tree: Tree) -> tuple[tuple[str, ...], dict[str, _File]]:
    """Return the classes, and the files of all parts."""
    if not tree.names:
        raise PellucidError(f"{tree.path} is empty; put a folder of pictures into it for each class")
    root = root_of(tree)
    parts = parts_of(tree, root)
    if TRAIN not in parts:
        classes = classes_of(tree, root)
        return classes, {name: _File("", classes.index(class_of(name, root))) for name in files_of(tree, root)}
    test = next((part for part in HELD_OUT if part in parts), None)
    validation = next((part for part in VALIDATION if part in parts and part != test), None)
    classes = classes_of(tree, f"{root}{TRAIN}/")
    files: dict[str, _File] = {}
    for folder, part in ((TRAIN, "train" if test else ""), (validation, "validation"), (test, "test")):
        below = f"{root}{folder}/"
        for name in files_of(tree, below) if folder else ():
            label = class_of(name, below)
            if label not in classes:
                raise PellucidError(f"{tree.where(below + label)} is a class that {TRAIN}/ lacks; add it there")
            files[name] = _File(part, classes.index(label))
    return classes, files


def _check_classes(path: Path, classes: Sequence[str], labels: Sequence[int], what: str, why: str = "") -> None:
    """Raise PellucidError unless there are at least two classes, each with a picture or file."""
    if len(classes) < 2:
        raise PellucidError(f"{path} has one class only, {classes[0]!r}; add a folder for each other class")
    count = Counter(labels)
    empty = next((name for k, name in enumerate(classes) if not count[k]), None)
    if empty is not None:
        raise PellucidError(f"{path}: class {empty!r} has no {what}{why}; add pictures, or remove its folder")


def _reason(surveyed: Survey, files: dict[str, _File]) -> str:
    """Return the reason, in parentheses, why the first file of a class without readable files cannot be read."""
    empty_classes = {files[one.file].label for one in surveyed.corrupt} - {files[name].label for name in surveyed.files}
    first = next((one for one in surveyed.corrupt if files[one.file].label in empty_classes), None)
    return f" ({first.file} {first.reason})" if first else ""


def _copies(surveyed: Survey, progress: Callable[[int, int], None] | None) -> tuple[list[SimilarPair], list[int]]:
    """Return the pairs of exact and near duplicates, and for each picture the index of the first one in its group."""
    exact = exact_duplicates(surveyed.digests)
    repeated = {pair.second for pair in exact}
    unique = [i for i in range(len(surveyed.files)) if i not in repeated]
    near = [
        SimilarPair(unique[p.first], unique[p.second], p.similarity)
        for p in near_duplicates(surveyed.small[unique], progress)
    ]
    groups = Groups(len(surveyed.files))
    for pair in (*exact, *near):
        groups.join(pair.first, pair.second)
    return [*exact, *near], [groups.first(i) for i in range(len(surveyed.files))]


def _split(
    path: str,
    classes: Sequence[str],
    labels: Sequence[int],
    groups: Sequence[int],
    keys: Sequence[int],
    given_parts: Sequence[str],
    validation: float,
    seed: int,
) -> list[str]:
    """Return the part of each picture: the given one, or the result of a split that keeps groups together."""
    parts = list(given_parts)

    def divide(indices: list[int], part: str, fraction: float, seed: int) -> None:
        first: dict[int, int] = {}
        local_groups = [first.setdefault(groups[i], k) for k, i in enumerate(indices)]
        for k in hold_out([labels[i] for i in indices], local_groups, [keys[i] for i in indices], fraction, seed):
            parts[indices[k]] = part

    if "test" not in given_parts:
        indices = [i for i, part in enumerate(parts) if not part]
        count = Counter(labels[i] for i in indices)
        single = next((name for k, name in enumerate(classes) if count[k] == 1), None)
        if single is not None:
            raise PellucidError(
                f"{path}: class {single!r} has one readable image, and training and testing need one each; add more"
            )
        divide(indices, "test", TEST_FRACTION, TEST_SEED)
        parts = [part or "train" for part in parts]
        if "test" not in parts:
            raise PellucidError(
                f"{path}: all images of each class are near duplicates of each other, so none can be held out "
                "for the evaluation; add pictures of other scenes"
            )
    if validation and "validation" not in parts:
        indices = [i for i, part in enumerate(parts) if part == "train"]
        divide(indices, "validation", validation, seed)
    return parts


def _collect(
    path: str,
    classes: Sequence[str],
    surveyed: Survey,
    labels: Sequence[int],
    parts: Sequence[str],
    has_test_folder: bool,
    pairs: Sequence[SimilarPair],
    groups: Sequence[int],
) -> Collection:
    y = torch.tensor(labels)

    def part(name: str) -> SplitFiles:
        indices = [i for i, name_of_part in enumerate(parts) if name_of_part == name]
        skipped = tuple(name_of_part.file for name_of_part in surveyed.corrupt) if name == "train" else ()
        images = make_dataset(path, surveyed.x[indices], y[indices], classes, skipped)
        files, digests = tuple(surveyed.files[i] for i in indices), tuple(surveyed.digests[i] for i in indices)
        return SplitFiles(files, images, digests, tuple(groups[i] for i in indices))

    def copies(pair: SimilarPair) -> Copies:
        i, j = pair.first, pair.second
        same = surveyed.digests[i] == surveyed.digests[j]
        class_pair = (classes[labels[i]], classes[labels[j]])
        return Copies(surveyed.files[i], surveyed.files[j], pair.similarity, same, class_pair, (parts[i], parts[j]))

    train_groups = {groups[i] for i, name in enumerate(parts) if name == "train"}
    earlier_groups = train_groups | {groups[i] for i, name in enumerate(parts) if name == "validation"}
    earlier = {"train": set[int](), "validation": train_groups, "test": earlier_groups}
    blurred = torch.nonzero(blurry(surveyed.sharpness)).flatten().tolist()
    result = Collection(
        path=path,
        has_test_folder=has_test_folder,
        train=part("train"),
        validation=part("validation") if "validation" in parts else None,
        test=part("test"),
        corrupt=surveyed.corrupt,
        copies=tuple(copies(pair) for pair in sorted(pairs, key=lambda pair: (pair.first, pair.second))),
        groups=sum(n > 1 for n in Counter(groups).values()),
        leaked=sum(groups[i] in earlier[name] for i, name in enumerate(parts)),
        blurry=tuple(Blurry(surveyed.files[i], float(surveyed.sharpness[i])) for i in blurred),
        warnings=(),
    )
    return replace(result, warnings=warnings(result))
