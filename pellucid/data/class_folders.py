"""Class folders in a tree of files, and the parts among them."""

import unicodedata
from pathlib import PurePosixPath

from pellucid.base.errors import PellucidError
from pellucid.base.files import is_picture
from pellucid.base.text import case_variants, note_once, plural
from pellucid.data.parts import TRAIN, PartUse, matching_part, parts_among, standard_part
from pellucid.data.tree import Tree

# Names of folders of masks, in lower case, which are unlikely to be classes.
MASK_FOLDERS = ("mask", "masks", "label", "labels", "gt", "ground_truth", "groundtruth", "annotation", "annotations",
                "segmentation", "segmentations")  # fmt: skip


def root_of(tree: Tree) -> str:
    """Return the single folder that contains all files, as a prefix such as "pets/"; "" if there is none."""
    folders = {tuple(name.split("/")[:2]) for name in tree.names}
    top_folders = {folder[0] for folder in folders}
    is_nested = all(name.count("/") >= 2 for name in tree.names)
    # A single part, such as train/, is not the root, unless its folders are parts, as in training_data/train.
    is_part = any(map(standard_part, top_folders)) and not all(standard_part(folder[-1]) for folder in folders)
    is_wrapped = len(top_folders) == 1 and is_nested and not is_part
    # CLASS/folder/IMAGE with a single class has the same structure, but one class cannot be learned.
    return f"{top_folders.pop()}/" if is_wrapped else ""


def class_parts(tree: Tree, root: str) -> PartUse:
    """Return the use of the folders below `root` that contain class folders.

    `train` is None if the class folders are directly below `root`. Raises PellucidError for parts without a part to
    train on.
    """
    subfolders: dict[str, set[str]] = {}
    flat_folders: set[str] = set()
    for name in tree.names:
        folders = name.removeprefix(root).split("/")[:-1]
        if len(folders) > 1:
            subfolders.setdefault(folders[0], set()).add(folders[1])
        elif folders and is_picture(name):
            flat_folders.add(folders[0])
    part_use = parts_among(subfolders)
    flat_folders -= {*subfolders}
    if part_use.train is not None:
        return part_use._replace(unused=tuple(sorted({*part_use.unused, *flat_folders})))
    named_folders = sorted(filter(standard_part, subfolders))
    have_same_classes = len(subfolders) > 1 and len(set(map(frozenset, subfolders.values()))) == 1
    have_same_classes = have_same_classes and all(len(names) > 1 for names in subfolders.values())
    if named_folders and (have_same_classes or len(named_folders) == len(subfolders) + len(flat_folders)):
        raise PellucidError(
            f"{tree.where(root)} has the folders {', '.join(named_folders):.100}, but no part to train on; name its "
            f"folder {TRAIN}"
        )
    inner_names = set[str]().union(*subfolders.values())
    if (inner_use := parts_among(inner_names)).train and inner_use.held_out and not inner_use.unused:
        raise PellucidError(
            f"{tree.where(root)}: the class folders contain the parts {', '.join(sorted(inner_names)):.100}; put the "
            f"parts outside, as {inner_use.train}/{min(subfolders)}/IMAGE"
        )
    if have_same_classes:
        shared_names = ", ".join(sorted(next(iter(subfolders.values()))))
        note_once(
            f"{tree.where(root)}: the classes are the folders {', '.join(sorted(subfolders)):.100}, each with the "
            f"subfolders {shared_names:.100}; if these are the classes, name the outer folders {TRAIN} and test"
        )
    return PartUse(None, None)


def note_class_folders(tree: Tree, root: str, part_use: PartUse) -> None:
    """Write notes on unused parts, and on files that are not read. part_use: of `class_parts`."""
    part_use.note_used_parts(tree.path)
    classes = {class_of(name, f"{root}{part_use.train}/" if part_use.train else root) for name in files_of(tree, root)}
    if masks := sorted(name for name in classes if name.lower() in MASK_FOLDERS):
        note_once(
            f"{tree.path}: the class folder {masks[0]!r} has a usual name of a folder of masks; masks are read from "
            "train/ and trainannot/"
        )
    if variants := case_variants(sorted(classes)):
        note_once(f"{tree.path}: {variants}")
    depth = 1 if part_use.train is None else 2  # of files in class folders
    in_classes = [name for name in tree.names if name.removeprefix(root).count("/") >= depth]
    other_files = [name for name in in_classes if not is_picture(name)]
    suffixes = sorted({PurePosixPath(name).suffix.lower() or "no suffix" for name in other_files})
    images_outside = [name for name in tree.names if name.removeprefix(root).count("/") < depth and is_picture(name)]
    images_outside = [name for name in images_outside if class_of(name, root) not in part_use.unused]
    counts = {
        f"in class folders without the suffix of an image ({', '.join(suffixes):.60})": ("file", len(other_files)),
        "outside class folders": ("image", len(images_outside)),
        "with a hidden name": ("image", len(tree.hidden_pictures)),
        "to a folder": ("link", len(tree.links)),
    }
    texts = [f"{plural(count, noun)} {where}" for where, (noun, count) in counts.items() if count]
    if texts:
        note_once(f"{tree.path}: not read: {', '.join(texts)}")


def classes_of(tree: Tree, root: str) -> tuple[str, ...]:
    """Return the class folders below `root`, sorted; raise PellucidError if there are none, or one is empty."""
    classes = sorted({class_of(name, root) for name in files_of(tree, root)})
    empty_folders = {
        name for name in tree.empty_folders if name.startswith(root) and "/" not in name.removeprefix(root)
    }
    empty_folders |= {root + class_of(name, root) for name in _nested_files(tree, root)} - {
        root + name for name in classes
    }
    if empty_folders:
        raise PellucidError(
            f"{tree.where(min(empty_folders))} is a class folder without images; add some, or remove it"
        )
    _refuse_copies(tree, root, classes)
    if not classes:
        raise PellucidError(f"{tree.where(root)} has no class folders; arrange the images as CLASS/IMAGE")
    return tuple(classes)


def _refuse_copies(tree: Tree, root: str, classes: list[str]) -> None:
    """Raise PellucidError for a class folder with the folders of two other classes, such as a data set in itself."""
    subfolders: dict[str, set[str]] = {}
    for name in files_of(tree, root):
        folder, *inner_folders = name.removeprefix(root).split("/")[:-1]
        subfolders.setdefault(folder, set()).update(inner_folders[:1])
    for folder, names in subfolders.items():
        if len(copies := sorted(names & {*classes})) > 1:
            raise PellucidError(
                f"{tree.where(root + folder)} is among the class folders and contains the folders "
                f"{', '.join(copies):.100} of other classes, as a copy of the data set in itself does; move it away"
            )


def part_classes(tree: Tree, root: str, part: str) -> tuple[str, tuple[str, ...]]:
    """Return the prefix of a part's files, and the classes: those of the training part if there is one.

    part: a folder of class folders in any spelling, "" for the tree itself. Raises PellucidError for a class that is
    not in the training part.
    """
    folders = {name.removeprefix(root).split("/", 1)[0] for name in tree.names}
    folder = matching_part(part, folders)
    prefix = f"{root}{folder}/" if part else root
    part_names = classes_of(tree, prefix)
    train = class_parts(tree, root).train if part else None
    if train is None or folder == train:
        return prefix, part_names
    classes = classes_of(tree, f"{root}{train}/")
    unknown = sorted(set(part_names) - set(classes))
    if unknown:
        raise PellucidError(f"{tree.where(prefix + unknown[0])} is a class that is not in {train}/; add it there")
    return prefix, classes


def files_of(tree: Tree, root: str) -> list[str]:
    """Return the images of the class folders below `root`, sorted."""
    return [name for name in _nested_files(tree, root) if is_picture(name)]


def _nested_files(tree: Tree, root: str) -> list[str]:
    return [name for name in tree.names if name.startswith(root) and "/" in name.removeprefix(root)]


def class_of(name: str, root: str) -> str:
    """Return the class of a file below `root`, its letters in the composed form, which not all systems write."""
    return unicodedata.normalize("NFC", name.removeprefix(root).split("/", 1)[0])
