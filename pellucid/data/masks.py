"""Images with masks of classes as a source: the folders NAME and NAMEannot, and the file classes.txt."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from copy import copy
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import is_picture
from pellucid.base.settings.tensors import as_indices
from pellucid.base.text import note_once, plural
from pellucid.data.class_folders import root_of
from pellucid.data.colour_modes import ColourMode
from pellucid.data.files import ImageFiles, refuse_unreadable, resized_size, split_by_readability
from pellucid.data.images import OnError, attempt_all, check_format, check_on_error, decode, decode_mask, resized
from pellucid.data.mask_classes import CLASSES_FILE, N_VALUES, note_other_lists, read_classes_file
from pellucid.data.parts import PartUse, parts_among, spelled
from pellucid.data.skipping import ADVICE, skips
from pellucid.data.tree import Tree, tree_at

MASK_SUFFIX = "annot"  # a folder of masks has the name of the folder of images with this suffix
VOID = 255  # the value of pixels without a class, unless the classes have names, as in Pascal VOC
FOREGROUND = 255  # the value of class 1 in masks that have only the values 0 and 255
BINARY_CLASSES = ("background", "foreground")  # of such masks without names
MAX_LISTED_VALUES = 8  # in a message
MAX_UNNAMED_VALUES = 8  # more values without a class than this, and than classes, are no classes


class MaskFolder(ImageFiles):
    """Images, each with a mask of class indices: PART/NAME.jpg and PARTannot/NAME.png, in a folder or a .zip.

    A mask is a grey or palette image of the same size as its image, whose values are class indices; in batches masks
    are int64 (N, H, W). part: the folder of the images, such as "train", in any spelling. size: (H, W), or the length
    of the longest side, which keeps the proportions; images are resized bilinearly, masks by nearest neighbour.
    classes: class names, by default those of the file classes.txt if there is one, see `read_classes_file`; if both
    are given, the classes of the file are mapped to `classes` by name. If the masks of all parts have only the values 0
    and 255, and there are two classes or no names, 255 is read as class 1, with a note. values: the index of the class
    of each value of a mask, None without names. ignored: the class that pads masks in a batch of different sizes; pass
    it to the loss as `ignore` too. on_error="skip" reads every image and mask once on creation, and leaves out pairs of
    which one is missing or unreadable, whose names are in `skipped`.
    Raises PellucidError, naming the file, for an image without a mask, a mask without an image, and a class of
    classes.txt that is not in `classes`; and, when `example` or `batch` is called, for an unreadable file, a mask of
    another size, or a value that no class has.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        part: str = "train",
        size: int | tuple[int, int] | None = None,
        mode: ColourMode = "RGB",
        classes: Sequence[str] | None = None,
        ignored: int | None = None,
        on_error: OnError = "raise",
    ) -> None:
        tree = tree_at(path)
        top = root_of(tree)
        mask_folders = _mask_folders(tree, top)
        part = spelled(part, mask_folders)
        mask_folder = mask_folders.get(part, part + MASK_SUFFIX)
        images, masks = (_images_by_stem(tree, f"{top}{folder}/") for folder in (part, mask_folder))
        if not images:
            raise PellucidError(f"{tree.where(f'{top}{part}')} contains no images; give the image folder as part=")
        for files, others, partner in ((images, masks, "mask in"), (masks, images, "image in")):
            unpaired = next((name for stem, name in files.items() if stem not in others), None)
            if unpaired and not skips(check_on_error(on_error)):
                where = f"{mask_folder if others is masks else part}/"
                raise PellucidError(
                    f"{tree.where(unpaired)} has no {partner} {where}; add one with the same name, or remove the file "
                    f"({ADVICE})"
                )
        stems = [stem for stem in images if stem in masks]
        mask_names = [masks[stem] for stem in stems]
        listed = read_classes_file(tree, top)  # class names by the values of masks
        if listed is None and classes is None:
            note_other_lists(tree, top)
        if listed is None:
            listed = {} if classes is None else dict(enumerate(classes))
        if [*listed] in ([], [0, 1]) and _are_binary(tree, [f"{top}{folder}/" for folder in mask_folders.values()]):
            listed = dict(zip((0, FOREGROUND), listed.values() or BINARY_CLASSES, strict=True))
            note_once(
                f"{path}: the masks have only the values 0 and {FOREGROUND}; {FOREGROUND} is read as the class "
                f"{listed[FOREGROUND]!r} ({CLASSES_FILE} with the line `{FOREGROUND}: NAME` names it)"
            )
        class_names = tuple(listed.values() if classes is None else classes) or None
        if unknown := [name for name in listed.values() if name not in (class_names or ())]:
            raise PellucidError(
                f"{tree.where(top + CLASSES_FILE)} names the class {unknown[0]!r}, which is not among "
                f"{', '.join(class_names or ())}; give data with these classes"
            )
        self.values = {value: (class_names or ()).index(name) for value, name in listed.items()} or None
        super().__init__(
            tree,
            [images[stem] for stem in stems],
            others=mask_names,
            size=None if isinstance(size, int) else size,
            mode=mode,
            classes=class_names,
            ignored=ignored,
        )
        self.longest = max(check_format(size, mode) or (0,)) if isinstance(size, int) else None
        if skips(on_error):
            readable, unreadable = split_by_readability(tree, self.names, self.read_pair)
            self.names, self.others = (tuple(files[k] for k in readable) for files in (self.names, self.others))
            unpaired = [name for stem, name in {**masks, **images}.items() if not (stem in masks and stem in images)]
            self.skipped = (*map(tree.where, unpaired), *unreadable)
            self.is_checked = True

    def subset(self, indices: Sequence[int] | Tensor) -> "MaskFolder":
        """Return a source of the images at `indices`, in that order."""
        part = copy(self)
        selected = as_indices(indices, len(self), f"subset of {self.tree.path}").tolist()
        part.names, part.others = (tuple(files[k] for k in selected) for files in (self.names, self.others))
        part._checksum = ""
        return part

    def example(self, k: int) -> tuple[Tensor, Tensor]:
        """Return image k and its mask (H, W) of classes, int64."""
        image, mask = self.read_pair(k)
        if self.values is not None:
            mask = self._class_indices(mask, self.others[k])
        size = resized_size((mask.shape[0], mask.shape[1]), self.size if self.longest is None else self.longest)
        return resized(image, size), resized(mask[None], size, smooth=False)[0].to(torch.int64)

    def read_pair(self, k: int) -> tuple[Tensor, Tensor]:
        """Return image k, and the values (H, W) of its mask, in the size of their files."""
        name, mask_name = self.names[k], self.others[k]
        image = decode(self.tree.read(name), self.tree.where(name), None, self.mode)
        mask = decode_mask(self.tree.read(mask_name), self.tree.where(mask_name))
        if mask.shape != image.shape[1:]:
            raise PellucidError(
                f"{self.tree.where(mask_name)} is {mask.shape[0]}x{mask.shape[1]} but its image is "
                f"{image.shape[1]}x{image.shape[2]}; make them the same size"
            )
        return image, mask

    def _class_indices(self, mask: Tensor, name: str) -> Tensor:
        """Return the indices of the classes in a mask; raise PellucidError for a value of no class."""
        values = self.values or {}
        ignored: dict[int, int] = {}
        if self.ignored is not None and 0 <= self.ignored < N_VALUES:  # other values are in no mask
            ignored[self.ignored] = self.ignored
        table = torch.full((N_VALUES,), -1, dtype=torch.int16)
        for value, index in (ignored | values).items():
            table[value] = index
        indices = table[mask.long()]
        unknown = mask[indices < 0]
        if unknown.numel():
            raise PellucidError(
                f"{self.tree.where(name)} contains the class {int(unknown[0])}, but there are {len(values)} classes, "
                f"{_counted(values)}; name them all, or give ignored={int(unknown[0])}"
            )
        return indices.to(torch.uint8)

    def check_values(self, indices: Sequence[int] | None = None, training: bool = True) -> None:
        """Count the values of the masks at `indices`, by default all, and raise the errors of `check_values`."""
        counts = self.count_values(self.others if indices is None else [self.others[k] for k in indices])
        values = self.values or plain_values(counts, None)
        check_values(counts, values, self.classes, str(self.tree.path), training, self.mask_with)

    def mask_with(self, value: int) -> str:
        """Return the name of the first mask with a value."""
        return next(self.tree.where(name) for name in self.others if _count_values(self.tree, name)[value])

    def count_values(self, masks: Sequence[str]) -> Tensor:
        """Return the number of pixels of each value (256,) in some masks; raise PellucidError for unreadable ones."""
        counts, errors = torch.zeros(N_VALUES, dtype=torch.int64), dict[str, PellucidError]()
        with attempt_all(partial(_count_values, self.tree), masks) as results:
            for name, result in results:
                if isinstance(result, PellucidError):
                    errors[name] = result
                else:
                    counts += result
        refuse_unreadable(errors)
        return counts

    @property
    def sizes_vary(self) -> bool:
        """Whether images may have different sizes, because they are resized to a longest side."""
        return self.longest is not None

    @property
    def preprocess(self) -> dict[str, Any]:
        """The longest side of the images, if they are resized to it."""
        return {} if self.longest is None else {"size": self.longest}

    def _compute_checksum(self) -> str:
        content = super()._compute_checksum()
        return content if self.longest is None else hashlib.sha256(f"{content}{self.longest}".encode()).hexdigest()


def mask_parts(path: str | os.PathLike[str]) -> list[str]:
    """Return the sorted names of folders with masks, NAME for which NAMEannot exists, in a folder or a .zip."""
    with closing(tree_at(path)) as tree:
        return sorted(_mask_folders(tree, root_of(tree)))


def mask_split(path: str | os.PathLike[str]) -> PartUse:
    """Return the use of the folders with masks; folders of images without masks are unused too."""
    with closing(tree_at(path)) as tree:
        top = root_of(tree)
        mask_folders = _mask_folders(tree, top)
        picture_folders = {name.removeprefix(top).split("/", 1)[0] for name in tree.names if is_picture(name)}
    parts = parts_among(mask_folders)
    without_masks = picture_folders - {*mask_folders, *mask_folders.values()}
    without_masks = {folder for folder in without_masks if not is_picture(folder)}  # files beside the folders
    return parts._replace(unused=tuple(sorted({*parts.unused, *without_masks})))


def _mask_folders(tree: Tree, top: str) -> dict[str, str]:
    """Return the folders of masks by the folder of their images; case and the spelling of parts do not matter."""
    names = (name.removeprefix(top) for name in tree.names)
    folders = sorted({name.split("/", 1)[0] for name in names if "/" in name})
    mask_folders: dict[str, str] = {}
    for mask_folder in folders:
        if not mask_folder.lower().endswith(MASK_SUFFIX):
            continue
        name = mask_folder[: -len(MASK_SUFFIX)].rstrip("_- ")
        name = next((folder for folder in folders if folder.lower() == name.lower()), spelled(name, folders))
        if name in folders:
            mask_folders.setdefault(name, mask_folder)
    return mask_folders


def plain_values(counts: Tensor, classes: Sequence[str] | None) -> dict[int, int]:
    """Return the index of the class of each value of masks whose values are class indices, see `check_values`.

    Without names of classes, every value up to the largest one is a class, except VOID.
    """
    if classes is not None:
        return {value: value for value in range(len(classes))}
    present = counts[:VOID].nonzero()[:, 0].tolist()
    return {value: value for value in range(max(present, default=0) + 1)}


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
    present = [int(value) for value in counts.nonzero()[:, 0]]
    names = {value: f"class {index}" if classes is None else repr(classes[index]) for value, index in values.items()}
    unnamed = [value for value in present if value not in values]
    missing = [value for value in values if value not in present]
    n_found = len(values) - len(missing)
    shown = [f"{value} ({names.get(value, 'no class')})" for value in present[:MAX_LISTED_VALUES]]
    if len(present) > len(shown):
        shown.append("...")
    found = f"the masks have {plural(len(present), 'value')}: {', '.join(shown)}"
    advice = f"state the value of each class in {CLASSES_FILE}, in lines such as `{present[-1]}: NAME`"
    if len(unnamed) > max(len(values), MAX_UNNAMED_VALUES):
        advice = "JPEG compression and smooth resizing change the values of masks: save the original ones as PNG"
    is_counted = [*values] == [*range(len(values))]
    reason = ""
    if len(unnamed) > 1:
        reason = f"there are {len(values)} classes, {_counted(values)}, and one further value may mean no class"
    elif n_found == 0:
        reason = "no pixel of the masks has a class"
    elif training and n_found < 2:
        reason = "the masks have one class only, and a training needs two, such as background and object"
    elif is_counted and missing[:1] == [0] and unnamed == [len(values)]:
        reason = "the values of classes are counted from 0"
    elif classes is None and len(missing) > n_found:
        reason = f"most of the {len(values)} classes, counted from 0, do not occur"
    elif unnamed and unnamed[0] < len(values):
        reason = f"the value {unnamed[0]} has no name"
    if reason:
        example = f"; {mask_with(unnamed[0])} has the value {unnamed[0]}" if unnamed and mask_with is not None else ""
        raise PellucidError(f"{name}: {reason}; {found}{example}; {advice}")
    if missing and (training or n_found == 1):
        absent = ", ".join(names[value] for value in missing[:MAX_LISTED_VALUES])
        note_once(f"{name}: no pixel has {absent:.200}; {found}")
    return unnamed[0] if unnamed else None


def _counted(values: Mapping[int, int]) -> str:
    """Return which values the classes have."""
    if [*values] == [*range(len(values))]:
        return "counted from 0"
    return f"with the values {', '.join(map(str, values)):.100}"


def _count_values(tree: Tree, name: str) -> Tensor:
    mask = decode_mask(tree.read(name), tree.where(name))
    return torch.bincount(mask.flatten().long(), minlength=N_VALUES)


def _are_binary(tree: Tree, folders: Sequence[str]) -> bool:
    """Return whether the masks below some folders have exactly the values 0 and 255; unreadable masks do not count.

    Masks are read up to the first one with another value.
    """
    names = [name for name in tree.names if name.startswith(tuple(folders)) and is_picture(name)]
    total = torch.zeros(N_VALUES, dtype=torch.int64)
    with attempt_all(partial(_count_values, tree), names) as results:
        for _, counts in results:
            if isinstance(counts, PellucidError):
                continue
            total += counts
            if bool(counts[1:FOREGROUND].any()):
                return False
    return bool(total[0]) and bool(total[FOREGROUND])


def _images_by_stem(tree: Tree, root: str) -> dict[str, str]:
    """Return the images below a folder by path without suffix; raise PellucidError if two paths are then equal."""
    files: dict[str, str] = {}
    for name in tree.names:
        if name.startswith(root) and is_picture(name):
            stem = str(PurePosixPath(name.removeprefix(root)).with_suffix(""))
            if stem in files:
                raise PellucidError(
                    f"{tree.where(name)} and {tree.where(files[stem])} differ only in their suffix; remove one"
                )
            files[stem] = name
    return files
