"""Images with masks of classes as a source: the folders NAME and NAMEannot, and the file classes.txt."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import closing
from copy import copy
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor

from pellucid.data.colour_modes import ColourMode
from pellucid.data.files import ImageFiles, resized_size
from pellucid.data.images import check_format, decode, decode_mask, resized
from pellucid.data.parts import PartUse, parts_among, spelled
from pellucid.data.tree import Tree, root_of, tree_at
from pellucid.errors import PellucidError
from pellucid.files import decode_text, is_picture

MASK_SUFFIX = "annot"  # a folder of masks has the name of the folder of images with this suffix
CLASSES_FILE = "classes.txt"  # the names of the classes of masks


class MaskFolder(ImageFiles):
    """Images, each with a mask of class indices: PART/NAME.jpg and PARTannot/NAME.png, in a folder or a .zip.

    part: the folder of the images, such as "train", in any spelling. A mask is a grey or palette image of the same size
    as its image, whose values are class indices; in batches masks are int64 (N, H, W). size: (H, W), or the length of
    the longest side, which keeps the proportions; images are resized bilinearly, masks by nearest neighbour. classes:
    class names, by default the lines of the file classes.txt if there is one; if both are given, mask values are
    indices into the file and are mapped to `classes` by name. ignored: the class that pads masks in a batch of
    different sizes; pass it to the loss as `ignore` too. Raises PellucidError, naming the file, for an image without a
    mask, a mask without an image, and a class of classes.txt that is not in `classes`; and, when `example` or `batch`
    is called, for an unreadable file, a mask of another size, or a class that is not in `classes`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        part: str = "train",
        size: int | tuple[int, int] | None = None,
        mode: ColourMode = "RGB",
        classes: Sequence[str] | None = None,
        ignored: int | None = None,
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
            if unpaired:
                where = f"{mask_folder if others is masks else part}/"
                raise PellucidError(
                    f"{tree.where(unpaired)} has no {partner} {where}; add one with the same name, or remove the file"
                )
        mask_names = [masks[stem] for stem in images]
        file_classes = _read_classes_file(tree, top)
        class_names = file_classes if classes is None else classes
        self.listed = class_names if file_classes is None else file_classes  # class names by the values of masks
        if unknown := [name for name in self.listed or () if name not in (class_names or ())]:
            raise PellucidError(
                f"{tree.where(top + CLASSES_FILE)} names the class {unknown[0]!r}, which is not among "
                f"{', '.join(class_names or ())}; give data with these classes"
            )
        super().__init__(
            tree,
            [*images.values()],
            others=mask_names,
            size=None if isinstance(size, int) else size,
            mode=mode,
            classes=class_names,
            ignored=ignored,
        )
        self.longest = max(check_format(size, mode) or (0,)) if isinstance(size, int) else None

    def subset(self, indices: Sequence[int] | Tensor) -> "MaskFolder":
        """Return a source of the images at `indices`, in that order."""
        part, selected = copy(self), torch.as_tensor(indices).tolist()
        part.names, part.others = (tuple(files[k] for k in selected) for files in (self.names, self.others))
        part._checksum = ""
        return part

    def example(self, k: int) -> tuple[Tensor, Tensor]:
        """Return image k and its mask (H, W) of classes, int64."""
        name, mask_name = self.names[k], self.others[k]
        image = decode(self.tree.read(name), self.tree.where(name), None, self.mode)
        mask = decode_mask(self.tree.read(mask_name), self.tree.where(mask_name))
        if mask.shape != image.shape[1:]:
            raise PellucidError(
                f"{self.tree.where(mask_name)} is {mask.shape[0]}x{mask.shape[1]} but its image is "
                f"{image.shape[1]}x{image.shape[2]}; make them the same size"
            )
        if self.classes is not None and self.listed is not None:
            is_listed = mask < len(self.listed)
            unknown = mask[~is_listed & (mask != (-1 if self.ignored is None else self.ignored))]
            if unknown.numel():
                raise PellucidError(
                    f"{self.tree.where(mask_name)} contains the class {int(unknown[0])}, but there are "
                    f"{len(self.listed)} classes, counted from 0; name them all, or give ignored={int(unknown[0])}"
                )
            if self.listed != self.classes:
                indices = torch.tensor([self.classes.index(name) for name in self.listed], dtype=mask.dtype)
                mask = torch.where(is_listed, indices[mask.long().clamp(max=len(indices) - 1)], mask)
        size = resized_size((mask.shape[0], mask.shape[1]), self.size if self.longest is None else self.longest)
        return resized(image, size), resized(mask[None], size, smooth=False)[0].to(torch.int64)

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


def _read_classes_file(tree: Tree, top: str) -> tuple[str, ...] | None:
    """Return the lines of the file classes.txt, the name of class 0 first; None without such a file."""
    name = f"{top}{CLASSES_FILE}"
    if name not in tree.names:
        return None
    lines = decode_text(tree.document(name), tree.where(name)).splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if not names or len(set(names)) < len(names):
        raise PellucidError(f"{tree.where(name)} must have one class name per line, each once; correct it")
    return names


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
