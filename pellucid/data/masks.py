"""Images with masks of classes as a source."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import closing
from copy import copy
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import is_picture
from pellucid.base.settings.tensors import as_indices
from pellucid.base.text import note_once, percent, plural
from pellucid.data.class_folders import root_of
from pellucid.data.files import ImageFiles, refuse_unreadable, resized_size, split_by_readability
from pellucid.data.image_formats import ColourMode
from pellucid.data.images import OnError, attempt_all, check_format, check_on_error, decode, resized
from pellucid.data.mask_checks import check_values, class_shares, described_values, plain_values
from pellucid.data.mask_classes import CLASSES_FILE, N_VALUES, note_other_lists, read_class_list
from pellucid.data.mask_colours import FOREGROUND, MaskReader, choose_reader, colour_name
from pellucid.data.mask_layouts import MaskPairs, mask_layout
from pellucid.data.parts import PartUse, matching_part, parts_among
from pellucid.data.skipping import ADVICE, skips
from pellucid.data.tree import Tree, tree_at

MAX_MARGIN_DIFFERENCE = 2  # pixels between the margins at the sides and those above and below a crop
BINARY_CLASSES = ("0", "255")  # names of the classes of masks with only these values, of which each may be an object


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
    another size (except of its image's proportions, if that is no square), or a value that no class has.
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
        parts = mask_layout(tree, top)
        part = matching_part(part, parts)
        pairs = parts.get(part, MaskPairs())
        if not pairs.images:
            raise PellucidError(f"{tree.where(f'{top}{part}')} contains no images; give the image folder as part=")
        unpaired_errors = _unpaired(tree, pairs)
        if unpaired_errors and not skips(check_on_error(on_error)):
            raise PellucidError(next(iter(unpaired_errors.values())))
        stems = [stem for stem in pairs.images if stem in pairs.masks]
        all_masks = [name for part_pairs in parts.values() for name in part_pairs.names]
        names_by_value, self.reader = _read_classes(tree, top, all_masks, classes)
        class_names = tuple(names_by_value.values() if classes is None else classes) or None
        if unknown := [name for name in names_by_value.values() if name not in (class_names or ())]:
            raise PellucidError(
                f"{_list_name(tree, top, all_masks)} names the class {unknown[0]!r}, which is not among "
                f"{', '.join(class_names or ())}; give data with these classes"
            )
        self.values = {value: (class_names or ()).index(name) for value, name in names_by_value.items()} or None
        self.mask_folder = pairs.mask_folder
        self.image_folder = pairs.image_folder
        super().__init__(
            tree,
            [pairs.images[stem] for stem in stems],
            others=[pairs.masks[stem] for stem in stems],
            size=None if isinstance(size, int) else size,
            mode=mode,
            classes=class_names,
            ignored=ignored,
        )
        self.longest = max(check_format(size, mode) or (0,)) if isinstance(size, int) else None
        if skips(on_error):
            readable, unreadable = split_by_readability(tree, self.names, self.read_pair)
            self.names, self.others = (tuple(files[k] for k in readable) for files in (self.names, self.others))
            self.skipped = (*map(tree.where, unpaired_errors), *unreadable)
            self.is_checked = True

    def subset(self, indices: Sequence[int] | Tensor) -> "MaskFolder":
        """Return a source of the images at `indices`, in that order."""
        subset = copy(self)
        selected_indices = as_indices(indices, len(self), f"subset of {self.tree.path}").tolist()
        subset.names, subset.others = (tuple(files[k] for k in selected_indices) for files in (self.names, self.others))
        subset._checksum = ""
        return subset

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
        mask = self.read_mask(k)
        size, mask_size = (image.shape[1], image.shape[2]), (mask.shape[0], mask.shape[1])
        if mask_size == size:
            return image, mask
        if not _is_scaled(mask_size, size):
            raise PellucidError(
                f"{self.tree.where(mask_name)} is {mask_size[0]}x{mask_size[1]} but its image is {size[0]}x{size[1]}; "
                f"make them the same size ({ADVICE})"
            )
        note_once(
            f"{self.tree.path}: masks that have the proportions of their image, and another size, are resized to it"
        )
        return image, resized(mask[None], size, smooth=False)[0]

    def read_mask(self, k: int) -> Tensor:
        """Return the values (H, W) of mask k, in the size of its file."""
        return self.reader.read(self.tree.read(self.others[k]), self.tree.where(self.others[k]))

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
                f"{described_values(values)}; name them all, or give ignored={int(unknown[0])}"
            )
        return indices.to(torch.uint8)

    def check_values(self, indices: Sequence[int] | None = None, training: bool = True) -> str:
        """Count the values of the masks at `indices`, by default all, and raise the errors of `check_values`.

        Returns what was recognized, in one line.
        """
        counts = self.count_values(self.others if indices is None else [self.others[k] for k in indices])
        values = self.values or plain_values(counts, None)
        void = check_values(
            counts, values, self.classes, str(self.tree.path), training=training, mask_with=self.mask_with
        )
        return self.recognized(counts, void, len(self if indices is None else indices))

    def mask_with(self, value: int) -> str:
        """Return the name of the first mask with a value."""
        return next(self.tree.where(name) for name in self.others if self._count_values(name)[value])

    def count_values(self, masks: Sequence[str]) -> Tensor:
        """Return the number of pixels of each value (256,) in some masks; raise PellucidError for unreadable ones.

        A note counts the pixels that were read as the nearest class.
        """
        counts, errors = torch.zeros(N_VALUES + 1, dtype=torch.int64), dict[str, PellucidError]()
        with attempt_all(self._count_values, masks) as results:
            for name, result in results:
                if isinstance(result, PellucidError):
                    errors[name] = result
                else:
                    counts += result
        refuse_unreadable(errors)
        n_nearest, n_pixels = int(counts[N_VALUES]), int(counts[:N_VALUES].sum())
        if n_nearest:
            note_once(
                f"{self.tree.path}: {n_nearest:,} of {n_pixels:,} pixels of the masks "
                f"({percent(n_nearest / n_pixels)}) have none of the values and colours of the classes, "
                "and are read as the nearest"
            )
        return counts[:N_VALUES]

    def _count_values(self, name: str) -> Tensor:
        """Return the number of pixels of each value of a mask, and of those that are read as the nearest (257,)."""
        mask, n_nearest = self.reader.read_counted(self.tree.read(name), self.tree.where(name))
        counts = torch.bincount(mask.flatten().long(), minlength=N_VALUES + 1)
        counts[N_VALUES] = n_nearest
        return counts

    def recognized(self, counts: Tensor, void: int | None, n_masks: int) -> str:
        """Return in one line what was recognized in some masks.

        counts: of their values; void: the value of pixels without a class; n_masks: their number.
        """
        kind = "values" if self.reader.codes is None or not self.reader.by_palette else "colours"
        values = self.values or plain_values(counts, None)
        names = [str(value) if self.classes is None else self.classes[index] for value, index in values.items()]
        codes = [*map(str, values)]
        if kind == "colours":
            colours = {value: colour_name(code) for code, value in (self.reader.codes or {}).items()}
            codes = [colours[value] for value in values]
        shares = class_shares(counts, values, names, codes, void, self.reader.ignored_text())
        place_text = "beside their images"
        if self.mask_folder != self.image_folder:
            place_text = f"in {self.mask_folder} for {self.image_folder or 'images'}"
        return f"{self.tree.path}: {plural(n_masks, 'mask')} {place_text}, read by {kind}: {shares}"

    def refuse_unreadable(self, indices: Sequence[int] | None = None) -> None:
        """Decode the images at `indices`, by default all, and their masks; raise PellucidError if any is unreadable."""
        super().refuse_unreadable(indices)
        if not self.is_checked:
            self.count_values(self.others if indices is None else [self.others[k] for k in indices])

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
        if self.reader != MaskReader():
            content += repr((sorted((self.reader.codes or {}).items()), sorted(self.reader.ignored), self.values))
        return content if self.longest is None else hashlib.sha256(f"{content}{self.longest}".encode()).hexdigest()


def mask_parts(path: str | os.PathLike[str]) -> list[str]:
    """Return the sorted names of the parts with masks, see `mask_layout`; [] without masks."""
    with closing(tree_at(path)) as tree:
        return sorted(mask_layout(tree, root_of(tree)))


def mask_split(path: str | os.PathLike[str]) -> PartUse:
    """Return the use of the parts with masks; folders of images without masks are unused too."""
    with closing(tree_at(path)) as tree:
        top = root_of(tree)
        layout = mask_layout(tree, top)
        pictures = {name for name in tree.names if is_picture(name) and "/" in name.removeprefix(top)}
    part_use = parts_among(layout)
    used_names = {name for pairs in layout.values() for name in (*pairs.images.values(), *pairs.masks.values())}
    folders = {name.removeprefix(top).split("/", 1)[0] for name in pictures}
    without_masks = folders - {name.removeprefix(top).split("/", 1)[0] for name in used_names}
    return part_use._replace(unused=tuple(sorted({*part_use.unused, *without_masks})))


def has_masks(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder or .zip contains images with masks of classes."""
    return bool(mask_parts(path))


def _is_scaled(mask_size: tuple[int, int], image_size: tuple[int, int]) -> bool:
    """Return whether a mask (H, W) has the proportions of its image, up to one pixel, and not those of a crop of it.

    Of a square, a smaller copy and the middle have the same proportions, so neither is accepted.
    """
    proportional_height = image_size[0] * mask_size[1] / image_size[1]
    margins = [abs(image_side - mask_side) for image_side, mask_side in zip(image_size, mask_size, strict=True)]
    return abs(mask_size[0] - proportional_height) <= 1 and abs(margins[0] - margins[1]) > MAX_MARGIN_DIFFERENCE


def _unpaired(tree: Tree, pairs: MaskPairs) -> dict[str, str]:
    """Return the images without a mask, and the masks without an image, with the errors that say so."""
    errors: dict[str, str] = {}
    files_and_partners = (
        (pairs.images, pairs.masks, "mask", pairs.mask_folder),
        (pairs.masks, pairs.images, "image", pairs.image_folder),
    )
    for files, partner_files, partner_noun, folder in files_and_partners:
        for stem, name in files.items():
            if stem not in partner_files:
                folder_text = f" in {folder}" if folder else ""
                errors[name] = (
                    f"{tree.where(name)} has no {partner_noun}{folder_text}; add one with the same name, or remove the "
                    f"file ({ADVICE})"
                )
    return errors


def _read_classes(
    tree: Tree, top: str, masks: Sequence[str], classes: Sequence[str] | None
) -> tuple[dict[int, str], MaskReader]:
    """Return the names of classes by the values of masks, {} without names, and the reader of these values."""
    class_list = read_class_list(tree, top, masks)
    if not class_list.where and classes is None:
        note_other_lists(tree, top)
    reader, names_by_value = choose_reader(tree, masks, class_list)
    if not names_by_value and classes is not None:
        names_by_value = dict(enumerate(classes))
    is_plain = reader.codes is None and [*names_by_value] in ([], [0, 1])
    if is_plain and _are_binary(tree, masks, reader):
        names = [*(names_by_value.values() or BINARY_CLASSES)]
        names_by_value: dict[int, str] = {0: names[0], FOREGROUND: names[1]}
        note_once(
            f"{tree.path}: the masks have only the values 0 and {FOREGROUND}; {FOREGROUND} is read as the class "
            f"{names[1]!r}, and 0 as {names[0]!r} ({CLASSES_FILE} with lines such as `{FOREGROUND}: NAME` names them)"
        )
    return names_by_value, reader


def _list_name(tree: Tree, top: str, masks: Sequence[str]) -> str:
    """Return the name of the list of classes, or of the data without one, for messages."""
    return read_class_list(tree, top, masks).where or str(tree.path)


def _are_binary(tree: Tree, names: Sequence[str], reader: MaskReader) -> bool:
    """Return whether masks have exactly the values 0 and 255; unreadable masks do not count.

    Masks are read up to the first one with another value.
    """
    total_counts = torch.zeros(N_VALUES, dtype=torch.int64)

    def count(name: str) -> Tensor:
        return torch.bincount(reader.read(tree.read(name), name).flatten().long(), minlength=N_VALUES)

    with attempt_all(count, names) as results:
        for _, counts in results:
            if isinstance(counts, PellucidError):
                continue
            total_counts += counts
            if bool(counts[1:FOREGROUND].any()):
                return False
    return bool(total_counts[0]) and bool(total_counts[FOREGROUND])
