"""Read a collection from a folder or zip of class folders."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.text import note
from pellucid.data.catalogue import CATALOGUE
from pellucid.data.class_folders import class_of, class_parts, classes_of, files_of, note_class_folders, root_of
from pellucid.data.dataset import arrays_checksum
from pellucid.data.files import check_bits
from pellucid.data.folder import TEST_FRACTION
from pellucid.data.image_formats import ColourMode
from pellucid.data.parts import standard_part
from pellucid.data.quality import (
    DisjointSets,
    SimilarPair,
    Survey,
    exact_duplicates,
    is_blurry,
    near_duplicates,
    survey,
)
from pellucid.data.splitting import hold_out
from pellucid.data.tree import Tree, open_tree
from pellucid.recipe.checked.collection import (
    HELD_OUT_KEY,
    BlurryPicture,
    CheckedPart,
    Collection,
    DuplicatePair,
    short_digest,
)
from pellucid.recipe.checked.findings import data_warnings, finding_lines
from pellucid.recipe.material import SHAPES
from pellucid.task import task_for, tasks

if TYPE_CHECKING:
    from pellucid.recipe.recipe import Recipe
    from pellucid.recipe.tables import Data

MIN_SIDE = 16  # pixels, the minimum of data.size
TEST_SEED = 0  # the test pictures are the same for any seed of the training, so that trainings can be compared
VALIDATION_PARTS = ("val", "valid", "validation")  # names of the validation part if there is a test part too
ReadingProgress = Callable[[str, int, int], None]  # arguments: "reading" or "comparing", the finished number, the total
KEY_BYTES = 8  # bytes of a file's digest (64 bits) from which the order of a split is computed


@dataclass(frozen=True)
class _File:
    part: str  # "train", "validation" or "test"; "" before the split
    label: int


def checked_data(recipe: "Recipe") -> Collection:
    """Return the checked class folders of a recipe, with notes of what was left out and of other findings.

    Raises PellucidError for a recipe of another task than classification.
    """
    task = task_for(recipe.training_objective())
    if task is not tasks()[-1]:  # classification, which takes what no other task does
        raise PellucidError(f"data.check reads class folders, for classifiers, not for {task.name}; leave it out")
    collection = read_checked(recipe)
    for line in finding_lines(collection)[1:]:
        note(line.strip())
    return collection


def read_checked(recipe: "Recipe", progress: ReadingProgress | None = None) -> Collection:
    """Read the collection in the folder of a recipe with data.check; see `check_table` and `read_collection`."""
    data = recipe.data
    check_table(data)
    return read_collection(data.name, data.size, data.mode, data.validation, recipe.recipe.seed, progress)


def check_table(data: "Data") -> None:
    """Raise PellucidError if a [data] table with data.check cannot be used with a folder of pictures."""
    if data.name in (*CATALOGUE, *SHAPES):
        raise PellucidError(f"data.check is for a folder or zip of class folders, not for {data.name}; leave it out")
    if data.size < MIN_SIDE:
        raise PellucidError(
            f"data.size is {data.size}, but the pictures of a folder vary in size; set {MIN_SIDE} or more"
        )
    if data.stream:
        raise PellucidError("data.stream: pictures that are checked are read into memory; leave it out")
    if data.limit:
        raise PellucidError("data.limit has no effect on a folder of pictures; leave it out")


def read_collection(
    path: str | os.PathLike[str],
    size: int,
    mode: ColourMode = "RGB",
    validation: float = 0.0,
    seed: int = 0,
    progress: ReadingProgress | None = None,
) -> Collection:
    """Read CLASS/IMAGE files, or train/CLASS/IMAGE together with test/ or val/ or both, from a folder or a .zip.

    All pictures are resized to `size` x `size`; files that cannot be read are left out and listed. Without a test part,
    a fifth of each class is held out as the test part. Without a validation part, the fraction `validation` of the
    other pictures, chosen by `seed`, becomes the validation part. Near duplicates are kept in one part. The order of
    the split is computed from the files' bytes, so that adding pictures moves few others to another part. Existing
    parts are not changed.
    progress: called with the number of files read, then of pairs compared. Raises PellucidError if training is
    impossible: for fewer than two classes, for a class without pictures or with a single one that must be split, or if
    no picture can be held out.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() != ".zip":
        raise PellucidError(f"{path} is a file; give a folder with one folder of pictures for each class, or a .zip")
    with open_tree(path) as tree:
        classes, files_by_name = _files_by_name(tree)
        _check_classes(path, classes, [file.label for file in files_by_name.values()], "file")
        pictures = survey(tree, list(files_by_name), (size, size), mode, progress and partial(progress, "reading"))
        check_bits(tree, [*files_by_name])
    usable_files = [files_by_name[name] for name in pictures.files]
    train_labels = [file.label for file in usable_files if file.part in ("", "train")]
    _check_classes(path, classes, train_labels, "readable image", _unreadable_reason(pictures, files_by_name))
    folder_parts = [file.part for file in usable_files]
    unreadable_parts = sorted({file.part for file in files_by_name.values()} - set(folder_parts))
    if unreadable_parts:
        raise PellucidError(f"{path}: none of the files of its {unreadable_parts[0]} part can be read; replace them")
    pairs, groups = _find_duplicates(pictures, progress and partial(progress, "comparing"))
    labels = [file.label for file in usable_files]
    split_keys = [int.from_bytes(digest[:KEY_BYTES], "big") for digest in pictures.digests]
    parts = _split(str(path), classes, labels, groups, split_keys, folder_parts, validation, seed)
    return _build_collection(str(path), classes, pictures, labels, parts, "test" in folder_parts, pairs, groups)


def _files_by_name(tree: Tree) -> tuple[tuple[str, ...], dict[str, _File]]:
    """Return the class names, and the part and label of each file by name."""
    if not tree.names:
        raise PellucidError(f"{tree.path} is empty; put a folder of pictures into it for each class")
    root = root_of(tree)
    parts = class_parts(tree, root)
    validation = next((name for name in parts.unused if standard_part(name) in VALIDATION_PARTS), None)
    unused_parts = tuple(name for name in parts.unused if name != validation)
    if parts.train is None:
        classes = classes_of(tree, root)
        note_class_folders(tree, root, parts)
        return classes, {name: _File("", classes.index(class_of(name, root))) for name in files_of(tree, root)}
    train, test = parts.train, parts.held_out
    classes = classes_of(tree, f"{root}{train}/")
    files: dict[str, _File] = {}
    for folder, part in ((train, "train" if test else ""), (validation, "validation"), (test, "test")):
        class_root = f"{root}{folder}/"
        for name in files_of(tree, class_root) if folder else ():
            label = class_of(name, class_root)
            if label not in classes:
                raise PellucidError(f"{tree.where(class_root + label)} is a class that {train}/ lacks; add it there")
            files[name] = _File(part, classes.index(label))
    note_class_folders(tree, root, parts._replace(unused=unused_parts))
    return classes, files


def _check_classes(path: Path, classes: Sequence[str], labels: Sequence[int], noun: str, reason: str = "") -> None:
    """Raise PellucidError unless there are at least two classes, and each class index occurs in `labels`.

    noun, reason: what a class lacks, and why, for the message.
    """
    if len(classes) < 2:
        raise PellucidError(f"{path} has one class only, {classes[0]!r}; add a folder for each other class")
    counts = Counter(labels)
    empty_class = next((name for k, name in enumerate(classes) if not counts[k]), None)
    if empty_class is not None:
        raise PellucidError(f"{path}: class {empty_class!r} has no {noun}{reason}; add pictures, or remove its folder")


def _unreadable_reason(pictures: Survey, files: dict[str, _File]) -> str:
    """Return the reason, in parentheses, why the first file of a class without readable files cannot be read."""
    empty_classes = {files[file.file].label for file in pictures.corrupt} - {
        files[name].label for name in pictures.files
    }
    first_unreadable = next((file for file in pictures.corrupt if files[file.file].label in empty_classes), None)
    return f" ({first_unreadable.file} {first_unreadable.reason})" if first_unreadable else ""


def _find_duplicates(
    pictures: Survey, progress: Callable[[int, int], None] | None
) -> tuple[list[SimilarPair], list[int]]:
    """Return the pairs of exact and near duplicates, and for each picture the index of the first one in its group."""
    exact_pairs = exact_duplicates(pictures.digests)
    repeated_indices = {pair.second for pair in exact_pairs}
    unique_indices = [i for i in range(len(pictures.files)) if i not in repeated_indices]
    near_pairs = [
        SimilarPair(unique_indices[pair.first], unique_indices[pair.second], pair.similarity)
        for pair in near_duplicates(pictures.thumbnails[unique_indices], progress)
    ]
    groups = DisjointSets(len(pictures.files))
    for pair in (*exact_pairs, *near_pairs):
        groups.join(pair.first, pair.second)
    return [*exact_pairs, *near_pairs], [groups.first(i) for i in range(len(pictures.files))]


def _split(
    path: str,
    classes: Sequence[str],
    labels: Sequence[int],
    groups: Sequence[int],
    split_keys: Sequence[int],
    folder_parts: Sequence[str],
    validation: float,
    seed: int,
) -> list[str]:
    """Return the part of each picture: the part of its folder, or the result of a split that keeps groups together."""
    parts = list(folder_parts)

    def assign_part(indices: list[int], part: str, fraction: float, seed: int) -> None:
        first_index: dict[int, int] = {}
        local_groups = [first_index.setdefault(groups[i], k) for k, i in enumerate(indices)]
        for k in hold_out([labels[i] for i in indices], local_groups, [split_keys[i] for i in indices], fraction, seed):
            parts[indices[k]] = part

    if "test" not in folder_parts:
        indices = [i for i, part in enumerate(parts) if not part]
        counts = Counter(labels[i] for i in indices)
        single_class = next((name for k, name in enumerate(classes) if counts[k] == 1), None)
        if single_class is not None:
            raise PellucidError(
                f"{path}: class {single_class!r} has one readable image, and training and testing need one each; "
                "add more"
            )
        assign_part(indices, "test", TEST_FRACTION, TEST_SEED)
        parts = [part or "train" for part in parts]
        if "test" not in parts:
            raise PellucidError(
                f"{path}: all images of each class are near duplicates of each other, so none can be held out "
                "for the evaluation; add pictures of other scenes"
            )
    if validation and "validation" not in parts:
        indices = [i for i, part in enumerate(parts) if part == "train"]
        assign_part(indices, "validation", validation, seed)
    return parts


def _build_collection(
    path: str,
    classes: Sequence[str],
    pictures: Survey,
    labels: Sequence[int],
    parts: Sequence[str],
    has_test_folder: bool,
    pairs: Sequence[SimilarPair],
    groups: Sequence[int],
) -> Collection:
    y = torch.tensor(labels)
    test_digests = {
        short_digest(digest) for digest, part in zip(pictures.digests, parts, strict=True) if part == "test"
    }
    preprocess = {} if has_test_folder else {HELD_OUT_KEY: sorted(test_digests)}

    def checked_part(name: str) -> CheckedPart:
        indices = [i for i, part_of_file in enumerate(parts) if part_of_file == name]
        images, class_indices = pictures.x[indices], y[indices]
        return CheckedPart(
            images,
            class_indices,
            classes=tuple(classes),
            checksum=arrays_checksum(images, class_indices),
            name=path,
            skipped=tuple(corrupt.file for corrupt in pictures.corrupt) if name == "train" else (),
            files=tuple(pictures.files[i] for i in indices),
            groups=tuple(groups[i] for i in indices),
            preprocess=preprocess,
        )

    def duplicate_pair(pair: SimilarPair) -> DuplicatePair:
        i, j = pair.first, pair.second
        is_exact = pictures.digests[i] == pictures.digests[j]
        class_pair = (classes[labels[i]], classes[labels[j]])
        return DuplicatePair(
            pictures.files[i], pictures.files[j], pair.similarity, is_exact, class_pair, (parts[i], parts[j])
        )

    train_groups = {groups[i] for i, name in enumerate(parts) if name == "train"}
    train_and_validation_groups = train_groups | {groups[i] for i, name in enumerate(parts) if name == "validation"}
    earlier_groups = {"train": set[int](), "validation": train_groups, "test": train_and_validation_groups}
    blurry_indices = torch.nonzero(is_blurry(pictures.sharpness)).flatten().tolist()
    result = Collection(
        path=path,
        has_test_folder=has_test_folder,
        train=checked_part("train"),
        validation=checked_part("validation") if "validation" in parts else None,
        test=checked_part("test"),
        corrupt=pictures.corrupt,
        duplicates=tuple(duplicate_pair(pair) for pair in sorted(pairs, key=lambda pair: (pair.first, pair.second))),
        n_groups=sum(group_size > 1 for group_size in Counter(groups).values()),
        n_leaked=sum(groups[i] in earlier_groups[name] for i, name in enumerate(parts)),
        blurry=tuple(BlurryPicture(pictures.files[i], float(pictures.sharpness[i])) for i in blurry_indices),
    )
    return replace(result, warnings=data_warnings(result))
