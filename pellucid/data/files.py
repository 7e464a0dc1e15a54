"""Image files as a source: decoded when a batch needs them, so memory does not grow with the data set."""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import is_picture
from pellucid.base.settings.arguments import Checked
from pellucid.base.text import plural, printable
from pellucid.data.class_folders import class_of, class_parts, files_of, part_classes, root_of
from pellucid.data.image_formats import ColourMode
from pellucid.data.images import (
    MAX_DARK_VALUE,
    MaskFormatError,
    OnError,
    attempt_all,
    check_format,
    check_on_error,
    decode,
    deep_maximum,
)
from pellucid.data.skipping import ADVICE, note_skipped_names, skips
from pellucid.data.source import Batch
from pellucid.data.tree import Tree, tree_at
from pellucid.ops.image_objects import Objects

N_SAMPLED_IMAGES = 100  # images that show whether a data set has images of 16 bits


def collate(examples: Sequence[tuple[Tensor, Any]], ignored: int | None = None) -> Batch:
    """Return one batch of examples (image, target).

    Images (C, H, W) of different sizes are padded with zeros, masks (H, W) with the class `ignored`, on the right and
    at the bottom, so coordinates do not change. Targets that are numbers become a tensor (N,), tensors of the same
    shape are stacked, and anything else stays a list; the masks of Objects are padded like their images. Raises
    PellucidError if masks must be padded but `ignored` is None.
    """
    images, targets = [image for image, _ in examples], [target for _, target in examples]
    stacked_images = pad_and_stack(images)
    if all(isinstance(target, int | float) for target in targets):
        return Batch(stacked_images, torch.tensor(targets))
    if not all(isinstance(target, Tensor) for target in targets):
        size = (stacked_images.shape[2], stacked_images.shape[3])
        padded_targets = [_pad_masks(target, size) if isinstance(target, Objects) else target for target in targets]
        return Batch(stacked_images, padded_targets)
    if len({target.shape for target in targets}) == 1:
        return Batch(stacked_images, torch.stack(targets))
    if all(target.shape == image.shape[-2:] for image, target in examples):
        if ignored is None:
            raise PellucidError("masks of different sizes are padded; give the class `ignored` that the loss ignores")
        return Batch(stacked_images, pad_and_stack(targets, ignored))
    return Batch(stacked_images, targets)


def _pad_masks(objects: Objects, size: tuple[int, int]) -> Objects:
    """Return objects whose masks, if they have any, are padded to `size` (H, W)."""
    if objects.masks is None or objects.masks.shape[1:] == size:
        return objects
    masks = objects.masks.new_zeros(len(objects), *size)
    masks[:, : objects.masks.shape[1], : objects.masks.shape[2]] = objects.masks
    return replace(objects, masks=masks)


def pad_and_stack(images: Sequence[Tensor], value: float = 0) -> Tensor:
    """Stack images or masks (..., H, W), padded with `value` to the largest height and width among them."""
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    if all(image.shape[-2:] == (height, width) for image in images):
        return torch.stack(list(images))
    stacked_images = images[0].new_full((len(images), *images[0].shape[:-2], height, width), value)
    for row, image in zip(stacked_images, images, strict=True):
        row[..., : image.shape[-2], : image.shape[-1]] = image
    return stacked_images


class ImageFiles(metaclass=Checked):
    """A source whose images are files in a folder or a zip; a subclass implements `example`.

    tree, names: the tree and the paths of the images in it; others: paths of additional files, such as masks. size,
    mode: see `load_folder`; without a size, images of different sizes are padded, see `collate`. classes: class names,
    None if targets are not classes. ignored: the class that pads masks.
    """

    def __init__(
        self,
        tree: Tree,
        names: Sequence[str],
        *,
        others: Sequence[str] = (),
        size: int | tuple[int, int] | None = None,
        mode: ColourMode = "RGB",
        classes: Sequence[str] | None = None,
        ignored: int | None = None,
    ) -> None:
        self.tree, self.names, self.others = tree, tuple(names), tuple(others)
        self.size: tuple[int, int] | None = check_format(size, mode)
        self.mode: ColourMode = mode
        self.classes = None if classes is None else tuple(classes)
        self.ignored = ignored
        self.skipped: tuple[str, ...] = ()  # names in messages of images that are left out
        self.is_checked = False  # whether all files have been decoded once on creation
        self._checksum = ""  # computed on first use

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def __repr__(self) -> str:
        """Return path, number of images, size and number of classes, on one line."""
        size_text = "" if self.size is None else f" of {self.size[0]}x{self.size[1]}"
        classes_text = "" if self.classes is None else f", {plural(len(self.classes), 'class', 'classes')}"
        path_text = str(self.tree.path)
        return printable(
            f"<{type(self).__name__} {path_text!r:.60}: {plural(len(self), 'image')}{size_text}{classes_text}>"
        )

    @abstractmethod
    def example(self, k: int) -> tuple[Tensor, Any]:
        """Return image k (C, H, W) and its target; raise PellucidError, naming the file, if it cannot be read."""

    def image(self, k: int) -> Tensor:
        """Return image k (C, H, W), uint8, resized to `size` if it is given."""
        name = self.names[k]
        return decode(self.tree.read(name), self.tree.where(name), self.size, self.mode)

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return the examples at `indices`; nothing is drawn from `rng`."""
        return collate([self.example(k) for k in indices], self.ignored)

    def refuse_unreadable(self, indices: Sequence[int] | None = None) -> None:
        """Decode the images at `indices`, by default all; raise PellucidError if any is unreadable."""
        checked_indices = range(len(self)) if indices is None else indices
        names = [self.names[k] for k in checked_indices]
        if self.is_checked:
            check_bits(self.tree, names)
            return
        check_images(self.tree, names)

    @property
    def checksum(self) -> str:
        """SHA-256 of size, mode, classes, and the name and fingerprint of each file, see `Tree.fingerprint`."""
        if not self._checksum:
            self._checksum = self._compute_checksum()
        return self._checksum

    def _compute_checksum(self) -> str:
        digest = hashlib.sha256(repr((self.size, self.mode, self.classes, self.ignored)).encode())
        for name in (*self.names, *self.others):
            # surrogateescape: a name that is not UTF-8 is hashed by its bytes on disk
            digest.update(f"\0{name}\0{self.tree.fingerprint(name)}".encode(errors="surrogateescape"))
        return digest.hexdigest()


class ImageFolder(ImageFiles):
    """Images in one folder per class, CLASS/IMAGE, in a folder or a .zip, decoded on demand.

    part: the folder that contains the class folders, such as "train", in any spelling; the classes are the class
    folders of the training part if there is one. size, mode: see `load_folder`. on_error="skip" decodes every image
    once on creation and leaves out unreadable ones, whose names are in `skipped`. labels: class indices (N,) int64.
    Raises PellucidError as `load_folder` does; with on_error="raise", an unreadable image raises it only when used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        part: str = "",
        size: int | tuple[int, int] | None = None,
        mode: ColourMode = "RGB",
        on_error: OnError = "raise",
    ) -> None:
        tree = tree_at(path)
        top = root_of(tree)
        training_part = class_parts(tree, top).train
        if not part and training_part is not None:
            raise PellucidError(
                f"{path} has a folder {training_part!r} beside class folders; give part={training_part!r} to stream it"
            )
        root, classes = part_classes(tree, top, part)
        super().__init__(tree, files_of(tree, root), size=size, mode=mode, classes=classes)
        if skips(check_on_error(on_error)):
            readable_indices, self.skipped = split_by_readability(tree, self.names, self.image)
            self.names = tuple(self.names[k] for k in readable_indices)
            self.is_checked = True
        label_by_class = {name: k for k, name in enumerate(classes)}
        self.labels = torch.tensor([label_by_class[class_of(name, root)] for name in self.names], dtype=torch.int64)

    def example(self, k: int) -> tuple[Tensor, int]:
        """Return image k and its class index."""
        return self.image(k), int(self.labels[k])


def refuse_unreadable(errors: Mapping[str, PellucidError]) -> None:
    """Raise PellucidError if there are errors, by file, so that training and evaluation skip no file silently.

    The message is the first error, with the number of the other files and the names of two of them.
    """
    if errors:
        (_, first_error), *other_errors = errors.items()
        names = ", ".join(
            [PurePosixPath(file).name for file, _ in other_errors[:2]] + ["..."] * (len(other_errors) > 2)
        )
        others_text = f" (and {len(other_errors):,} more: {names})" if other_errors else ""
        advice = "`pellucid data lint` lists the faults of the files"
        if not isinstance(first_error, MaskFormatError):  # usually all masks have the same format
            advice += f", and {ADVICE}"
        raise PellucidError(f"{first_error}{others_text}; {advice}") from first_error


def check_images(tree: Tree, names: Sequence[str]) -> None:
    """Decode images of a tree; raise PellucidError for those that cannot be read, see `refuse_unreadable`."""

    def check(name: str) -> None:  # returns None, since results computed ahead stay in memory
        decode(tree.read(name), tree.where(name), None, "RGB")

    with attempt_all(check, names) as results:
        refuse_unreadable({name: error for name, error in results if error is not None})
    check_bits(tree, names)


def readable_images(tree: Tree, names: Sequence[str]) -> Sequence[str]:
    """Return the images of a tree that can be read, inside `skipping`; otherwise raise the errors of `check_images`."""
    if not skips():
        check_images(tree, names)
        return names
    readable_indices, skipped_names = split_by_readability(
        tree, names, lambda k: decode(tree.read(names[k]), names[k], None, "RGB")
    )
    note_skipped_names(tree.path, skipped_names, len(names))
    return [names[k] for k in readable_indices]


def check_bits(tree: Tree, names: Sequence[str]) -> None:
    """Raise PellucidError if 16-bit images are among `names`, and those of the whole tree have 12 bits or fewer.

    Values are not scaled by the maximum of each image or part, which would make images of one set differ. Up to
    N_SAMPLED_IMAGES, evenly spaced, show whether there are 16-bit images; then all are read up to the first with larger
    values. Unreadable images are left out.
    """
    sampled_names = (
        [names[k * len(names) // N_SAMPLED_IMAGES] for k in range(N_SAMPLED_IMAGES)]
        if len(names) > N_SAMPLED_IMAGES
        else names
    )
    dark_maximums: dict[str, int] = {}
    all_names = [name for name in tree.names if is_picture(name)]  # such as those of another part
    for candidate_names in (sampled_names, names, all_names):
        with attempt_all(lambda name: deep_maximum(tree.read(name), tree.where(name)), candidate_names) as results:
            for name, maximum in results:
                if isinstance(maximum, int) and maximum > MAX_DARK_VALUE:
                    return
                if isinstance(maximum, int):
                    dark_maximums[name] = maximum
        if not dark_maximums:
            return
    name = max(dark_maximums, key=lambda name: dark_maximums[name])
    if dark_maximums[name] == 0:  # black images
        return
    # Above 8 bits, cameras have 10 or more.
    n_bits = 8 if dark_maximums[name] < 256 else max(10, dark_maximums[name].bit_length())
    raise PellucidError(
        f"{tree.where(name)}: the images of 16 bits have values of at most {dark_maximums[name]:,} of 65,535, so they "
        f"would be nearly black; if they have {n_bits} bits, multiply all of them by {1 << (16 - n_bits)}, or save "
        "them with 8 bits, scaled alike"
    )


def resized_size(size: tuple[int, int], target: int | tuple[int, int] | None) -> tuple[int, int]:
    """Return the size (H, W) of a resized image; target: this size, its longest side, or None for no change."""
    if not isinstance(target, int):
        return target or size
    factor = target / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def split_by_readability(
    tree: Tree, names: Sequence[str], read: Callable[[int], Any]
) -> tuple[list[int], tuple[str, ...]]:
    """Read every image once; return the indices of readable images, and the names in messages of the others.

    read: a function of an index that raises PellucidError for an unreadable image. Raises PellucidError if there is no
    readable image.
    """

    def attempt(k: int) -> None:  # returns None, since results computed ahead stay in memory
        read(k)

    readable_indices: list[int] = []
    skipped_names: list[str] = []
    with attempt_all(attempt, range(len(names))) as results:
        for k, error in results:
            if error is None:
                readable_indices.append(k)
            else:
                skipped_names.append(tree.where(names[k]))
    if not readable_indices:
        raise PellucidError(
            f"{tree.path}: none of its {len(skipped_names)} images can be read; replace {skipped_names[0]}"
        )
    return readable_indices, tuple(skipped_names)
