"""Image folders and zips loaded into memory: one subfolder per class, or a mask for each image."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_DATA_BYTES
from pellucid.base.settings.arguments import checked
from pellucid.base.settings.tensors import as_indices
from pellucid.data.class_folders import class_of, class_parts, files_of, note_class_folders, part_classes, root_of
from pellucid.data.dataset import Dataset, Splits, arrays_checksum, make_dataset
from pellucid.data.files import check_bits, refuse_unreadable
from pellucid.data.image_formats import ColourMode
from pellucid.data.images import OnError, attempt_all, check_format, check_on_error, decode, pillow_warnings_as_errors
from pellucid.data.mask_layouts import mask_layout
from pellucid.data.masks import MaskFolder
from pellucid.data.skipping import note_skipped, skips
from pellucid.data.tree import Tree, open_tree

TEST_FRACTION = 0.2  # held out without a test part: of each class, or of all images with masks or objects


@checked
def load_folder(
    path: str | os.PathLike[str],
    size: int | tuple[int, int] | None = None,
    mode: ColourMode = "RGB",
    on_error: OnError = "raise",
) -> Dataset:
    """Load images from class folders, CLASS/IMAGE, in a folder or a .zip, as one data set in sorted order.

    Every image file in a class folder, at any depth, is read; files without the suffix of an image, files
    outside the class folders, hidden files and system files such as Thumbs.db are ignored. size: (H, W) to resize to,
    or one number for a square; by default all images must have the same size. on_error="skip" omits unreadable
    images and lists them in `skipped`.
    Raises PellucidError, which names the files, for unreadable images, and for a folder without classes.
    """
    check_on_error(on_error)
    size = check_format(size, mode)
    with open_tree(path) as tree:
        root = root_of(tree)
        training_part = class_parts(tree, root).train
        if training_part is not None:
            raise PellucidError(f"{path} has a folder {training_part!r} beside class folders; load it with load_splits")
        for part, pairs in mask_layout(tree, root).items():
            raise PellucidError(
                f"{path} has masks in {pairs.mask_folder.rstrip('/') or path} for the images in "
                f"{pairs.image_folder.rstrip('/') or path}; read them with "
                f"load_masks({str(path)!r}, {part!r}) or MaskFolder"
            )
        images = _load_part(tree, root, "", size, mode, on_error)
        note_skipped(path, images)
        return images


@checked
def load_splits(
    path: str | os.PathLike[str],
    size: int | tuple[int, int] | None = None,
    mode: ColourMode = "RGB",
    on_error: OnError = "raise",
) -> Splits[Dataset]:
    """Load an image folder (see `load_folder`) in two parts.

    With train/CLASS/IMAGE, the test part is the first of test/, val/, valid/ and validation/ that exists, else a fifth
    of each class of train/. Parts may be spelled otherwise, such as Training or test1; other folders are named in a
    note. A tree CLASS/IMAGE is split in the same ratio. Raises PellucidError as `load_folder` does,
    and for a class that exists only in the test part.
    """
    check_on_error(on_error)
    size = check_format(size, mode)
    with open_tree(path) as tree:
        root = root_of(tree)
        part_use = class_parts(tree, root)
        train = _load_part(tree, root, part_use.train or "", size, mode, on_error)
        test = None if part_use.held_out is None else _load_part(tree, root, part_use.held_out, size, mode, on_error)
        note_skipped(path, train, test)
        note_class_folders(tree, root, part_use)
    if test is None:
        return train.split(TEST_FRACTION)
    if train.x.shape[1:] != test.x.shape[1:]:
        raise PellucidError(
            f"{path}: training images are {_size_text(train.x)} but test images are {_size_text(test.x)}; give a size"
        )
    return Splits(train, test)


@dataclass(frozen=True, eq=False, repr=False)
class MaskDataset(Dataset):
    """Images with a class label for each pixel.

    x: (N, C, H, W), y: (N, H, W), both uint8; y: indices into `classes`, or `ignored` for pixels without a class.
    files: the path of each image in the folder or zip.
    """

    ignored: int | None = None
    files: tuple[str, ...] = ()

    def subset(self, indices: Sequence[int] | Tensor) -> Self:
        """Return the examples at `indices`, in that order; raises PellucidError for an index out of range."""
        subset = super().subset(indices)
        selected_indices = as_indices(indices, len(self), f"subset of {self.name}").tolist()
        return replace(subset, files=tuple(self.files[k] for k in selected_indices))


@checked
def load_masks(
    path: str | os.PathLike[str],
    part: str = "train",
    classes: Sequence[str] | None = None,
    ignored: int | None = None,
    mode: ColourMode = "RGB",
) -> MaskDataset:
    """Load images PART/NAME.jpg and masks PARTannot/NAME.png from a folder or a .zip into memory, see `MaskFolder`.

    classes: the class names, by default the lines of classes.txt, or without this file "0", "1", ... up to the largest
    class index except `ignored`. mode: of the images. Raises PellucidError as `MaskFolder` does, and for images of
    different sizes.
    """
    source = MaskFolder(path, part, mode=mode, classes=classes, ignored=ignored)
    classes = source.classes
    images: list[Tensor] = []
    masks: list[Tensor] = []
    with pillow_warnings_as_errors():
        for k, name in enumerate(source.names):
            try:
                image, mask = source.example(k)
            except PellucidError:
                source.refuse_unreadable()
                raise
            if images and image.shape != images[0].shape:
                raise PellucidError(
                    f"{source.tree.where(name)} is {image.shape[1]}x{image.shape[2]} but {source.names[0]} is "
                    f"{images[0].shape[1]}x{images[0].shape[2]}; resize them, or train on a MaskFolder, in a "
                    "recipe with data.stream=true"
                )
            images.append(image)
            masks.append(mask.to(torch.uint8))
    check_bits(source.tree, source.names)
    x, y = torch.stack(images), torch.stack(masks)
    if classes is None:
        labels = y if ignored is None else y[y != ignored]
        classes = [str(k) for k in range(int(labels.max()) + 1)] if labels.numel() else []
    return MaskDataset(
        x,
        y,
        tuple(classes),
        checksum=arrays_checksum(x, y),
        name=str(path),
        skipped=source.skipped,
        ignored=ignored,
        files=source.names,
    )


def _load_part(
    tree: Tree, root: str, part: str, size: tuple[int, int] | None, mode: ColourMode, on_error: OnError
) -> Dataset:
    """Load one part of a tree, or all of it for ""; class indices are those of the training part."""
    prefix, classes = part_classes(tree, root, part)
    label_by_class = {name: k for k, name in enumerate(classes)}
    x, names, skipped = _decode_files(tree, files_of(tree, prefix), size, mode, on_error)
    y = torch.tensor([label_by_class[class_of(name, prefix)] for name in names], dtype=torch.int64)
    return make_dataset(tree.where(prefix).rstrip("/:"), x, y, classes, skipped)


def _decode_files(
    tree: Tree, names: Sequence[str], size: tuple[int, int] | None, mode: ColourMode, on_error: OnError
) -> tuple[Tensor, list[str], tuple[str, ...]]:
    """Decode all files in order; return the images (N, C, H, W), their names, and the names of skipped files."""

    x = torch.empty(0)
    decoded_names: list[str] = []
    errors: dict[str, PellucidError] = {}
    with attempt_all(lambda name: decode(tree.read(name), tree.where(name), size, mode), names) as results:
        for name, image in results:
            if isinstance(image, PellucidError):
                errors[tree.where(name)] = image
                continue
            if not decoded_names:
                x = _allocate_images(tree, len(names), image)
            if image.shape != x.shape[1:]:
                raise PellucidError(
                    f"{tree.where(name)} is {_size_text(image)} but {tree.where(decoded_names[0])} is "
                    f"{_size_text(x)}; give a size"
                )
            x[len(decoded_names)] = image
            decoded_names.append(name)
    if not skips(on_error):
        refuse_unreadable(errors)
    check_bits(tree, names)
    if not decoded_names:
        raise PellucidError(
            f"{tree.path}: none of its {len(names)} images can be read; replace {next(iter(errors))}"
            + (" and the others" if len(errors) > 1 else "")
        )
    return x[: len(decoded_names)].contiguous(), decoded_names, tuple(errors)


def _allocate_images(tree: Tree, n_images: int, image: Tensor) -> Tensor:
    if n_images * image.numel() > MAX_DATA_BYTES:
        raise PellucidError(
            f"{tree.path}: {n_images} images of {_size_text(image)} do not fit into memory; give a smaller size"
        )
    return torch.empty((n_images, *image.shape), dtype=torch.uint8)


def _size_text(x: Tensor) -> str:
    return f"{x.shape[-2]}x{x.shape[-1]}"
