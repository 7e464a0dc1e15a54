"""The files of a YOLO data set: its images and label files by part, and the folders that data.yaml names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text
from pellucid.base.limits import MAX_YAML_BYTES
from pellucid.base.text import note_once
from pellucid.data.annotations.images import ImageIndex, group_images_by_part, part_of
from pellucid.data.annotations.yolo_lines import parse_word
from pellucid.data.parts import HELD_OUT_PARTS, TRAIN, TRAINVAL, standard_part
from pellucid.data.tree import YAML_SUFFIXES, Tree

LABELS_FOLDER = "labels"
LABEL_SUFFIX = ".txt"
# names of files with one class name per line
CLASS_LIST_FILES = ("classes.txt", "obj.names", "classes.names")
_SETTINGS_FILES = ("data.yaml", "data.yml", "dataset.yaml")
_NAMES_KEY = re.compile(rb"^['\"]?names['\"]?\s*:", re.MULTILINE)  # of the classes, in a settings file of any name
_MIN_NUMBERS = 5  # of a line: the class and a box
_N_PATH_FOLDERS = 2  # at the end of a path in data.yaml that may name its part, as in images/train and train/images


def class_file(tree: Tree) -> str | None:
    """Return the file with the names of the classes, None without one.

    It is the settings file whose path was given, otherwise a file of a usual name, otherwise the only YAML file with
    the key `names`.
    """
    if tree.settings:
        return tree.settings
    for name in tree.names:
        if PurePosixPath(name).name in (*CLASS_LIST_FILES, *_SETTINGS_FILES):
            return name
    candidates = [name for name in tree.names if name.endswith(YAML_SUFFIXES) and tree.size(name) <= MAX_YAML_BYTES]
    files_with_names = [name for name in candidates if _NAMES_KEY.search(tree.document(name))]
    return files_with_names[0] if len(files_with_names) == 1 else None


def label_file(image: str) -> str:
    """Return the path of an image's label file: in labels/ instead of images/, or in the image's folder."""
    path = PurePosixPath(image).with_suffix(LABEL_SUFFIX)
    indices = [k for k, folder in enumerate(path.parts[:-1]) if folder == "images"]
    if not indices:
        return str(path)
    return str(PurePosixPath(*path.parts[: indices[-1]], LABELS_FOLDER, *path.parts[indices[-1] + 1 :]))


def find_parts(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Return the images of a tree by part; {} for a tree without class names or without label files.

    For a label file with objects but without an image, the path of the label file is returned. The training part is
    returned even if none of its images has a label file, so that its reader can refuse it.
    """
    if class_file(tree) is None:
        return {}
    images, paths = ImageIndex(tree).images, set(tree.names)
    labelled_images = [name for name in images if label_file(name) in paths]
    if not labelled_images:
        return {}
    folders = {_folder(name) for name in labelled_images}
    labelled_parts = {part_of(folder) for folder in folders}
    for folder in sorted({_folder(name) for name in images} - folders):
        part = part_of(folder)
        has_labels = part in labelled_parts or not labelled_parts - {""}
        if part in (TRAIN, TRAINVAL) and not (has_labels or {TRAIN, TRAINVAL} & labelled_parts):
            folders.add(folder)
        elif part in HELD_OUT_PARTS and not has_labels:
            note_once(
                f"{tree.where(folder)} is not used, since none of its images has a label file in "
                f"{_labels_folder(folder)}"
            )
    used_images = [name for name in images if _folder(name) in folders]
    return group_images_by_part([*used_images, *_labels_without_image(tree, images, labelled_images)])


def missing_labels(tree: Tree, images: Sequence[str]) -> str:
    """Return a message if these images are in a folder for training and none has a label file; "" otherwise."""
    paths = set(tree.names)
    is_training = bool(images) and part_of(_folder(images[0])) in (TRAIN, TRAINVAL)
    if not is_training or any(name in paths for name in map(label_file, images)):
        return ""
    subject_text = "its image has" if len(images) == 1 else f"none of its {len(images):,} images has"
    labels = tree.where(_labels_folder(_folder(images[0])))
    return f"{subject_text} a label file in {labels}; add the label files there, or remove the folder of images"


def path_faults(settings: Mapping[str, Any], tree: Tree) -> Iterator[str]:
    """Yield a message for each key train, val and test of data.yaml whose paths all name another part of the tree.

    `val: images/test` is valid, since both are held out, as is a path to a part that has no folder of its own.
    """
    for key in ("train", "val", "test"):
        value = settings.get(key)
        paths = [path for path in (value if isinstance(value, list) else [value]) if isinstance(path, str)]
        named_keys = [_yaml_key(_part_of_path(path)) for path in paths]
        if not named_keys or key in named_keys or (key, {*named_keys}) == ("val", {"test"}):
            continue
        # Not before, since it looks at all files.
        existing_keys = {_yaml_key(standard_part(part)) for part in find_parts(tree)}
        if {key, *named_keys} <= existing_keys:
            yield (
                f"{key}: {', '.join(paths):.200} names the part {named_keys[0]!r}, but parts are read by the names of "
                f"their folders; give the folder of {key!r}, or rename the folders"
            )


def label_files(tree: Tree) -> list[str]:
    """Return the label files of a tree, also those without class names or images; [] if none has objects."""
    labels_of_images = {label_file(name) for name in ImageIndex(tree).images}
    candidates = [
        name
        for name in tree.names
        if name in labels_of_images or (name.endswith(LABEL_SUFFIX) and LABELS_FOLDER in name.split("/")[:-1])
    ]
    return candidates if any(_has_objects(tree, name) for name in candidates) else []


def _labels_without_image(tree: Tree, images: Sequence[str], labelled_images: Sequence[str]) -> list[str]:
    """Return the label files with objects, in folders like those of the labelled images, that no image has."""
    labels_of_images = {label_file(name) for name in images}
    labelled_folders = {_folders_without_parts(label_file(name)) for name in labelled_images}
    other_labels = [name for name in tree.names if name.endswith(LABEL_SUFFIX) and name not in labels_of_images]
    return [
        name for name in other_labels if _folders_without_parts(name) in labelled_folders and _has_objects(tree, name)
    ]


def _folders_without_parts(label: str) -> tuple[str, ...]:
    """Return the folders of a label file without "labels" and without the names of parts."""
    folders = label.split("/")[:-1]
    return tuple(folder for folder in folders if folder != LABELS_FOLDER and not standard_part(folder))


def _has_objects(tree: Tree, name: str) -> bool:
    """Return whether a file has at least one line, and each is a class and the numbers of a box or a polygon."""
    try:
        lines = decode_text(tree.document(name), tree.where(name)).splitlines()
    except PellucidError:
        return False
    rows = [line.split() for line in lines if line.strip()]
    return bool(rows) and all(len(row) >= _MIN_NUMBERS and None not in map(parse_word, row) for row in rows)


def _part_of_path(path: str) -> str:
    """Return the part that the last folders of a path, or the name of its list of images, mean; "" for others."""
    words = path.replace("\\", "/").removesuffix(LABEL_SUFFIX).split("/")
    folders = [word for word in words if word not in ("", ".", "..")]
    return part_of("/".join(folders[-_N_PATH_FOLDERS:]))


def _yaml_key(part: str) -> str:
    """Return the key of data.yaml for a part: "train", "val", "test", or "" for none."""
    return {TRAINVAL: TRAIN, "valid": "val", "validation": "val"}.get(part, part)


def _labels_folder(folder: str) -> str:
    """Return the folder of the label files of the images in `folder`."""
    return _folder(label_file(f"{folder}/image"))


def _folder(name: str) -> str:
    return str(PurePosixPath(name).parent)
