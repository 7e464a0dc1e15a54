"""The recipe for a user's own images with masks of classes: `pellucid train segment DATA`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data import CATALOGUE, MaskFolder, data_root, load
from pellucid.data.class_folders import root_of
from pellucid.data.files import resized_size
from pellucid.data.images import image_size, pillow_warnings_as_errors
from pellucid.data.loader import steps_per_epoch
from pellucid.data.mask_checks import VOID, check_values, plain_values
from pellucid.data.mask_classes import N_VALUES
from pellucid.data.mask_layouts import unpaired_folders
from pellucid.data.mask_settings import mask_settings, reading_masks
from pellucid.data.masks import has_masks, mask_split
from pellucid.data.object_masks import ObjectMasks
from pellucid.data.parts import TRAIN
from pellucid.data.tree import open_tree
from pellucid.recipe.material import is_annotated
from pellucid.recipe.own import training_length
from pellucid.task import OwnRecipe

RECIPE, START_WEIGHTS = "camvid-fcn8", "camvid"
TRAINING_STEPS = 600  # about ten minutes on two cores
BATCH_SIZE = 8
MAX_SIDE = 320  # pixels, the longer side of the images
IMAGES, MASKS = "images", "masks"  # folders, in messages
MAX_CROP = (192, 256)  # pixels, height and width of the training crops
MAX_MEASURED = 50  # masks on which thickness is measured
MIN_SQUARES = 100  # squares of their thickness that lines have in a mask; 1,900 for nerve membranes, 8 for two cars
MIN_THICKNESS = 8.0  # pixels at MAX_SIDE, the stride of the finest features that FCN-8s combines
THIN_RECIPE, MAX_THIN_SIDE, THIN_CROP, THIN_BATCH_SIZE = "camvid-unet", 512, 256, 4
THIN_STEPS, MAX_THIN_EPOCHS = 600, 400
THIN_MINUTES = 10  # of THIN_STEPS on two cores
MIN_THIN_STEPS = 100  # fewer are a short training, which has smaller batches
MIN_BATCH_PIXELS = 128**2  # 64 at the lowest level of the U-Net, of which batch normalization computes a variance
FEW_IMAGES = 100  # up to this number, images are turned and deformed


def recipe_for(data: str, root: Any = None, user_settings: Mapping[str, Any] = MappingProxyType({})) -> OwnRecipe:
    """Return the recipe for FCN-8s with the features of the shipped segmentation model, and weights by class frequency.

    user_settings: what the user sets. Masks are preferred to annotated objects. The classes are those of a list beside
    the masks, see `read_class_list`, and one other value means no class. Without a list, the classes are the values or
    colours of the masks, and 255 means no class. For annotated objects, the classes are the background and the classes
    of the objects. Raises PellucidError for data without masks, and for masks with too many values or one class.
    """
    settings = mask_settings()
    path = data_root(root) / CATALOGUE[data].path if data in CATALOGUE else Path(data)
    if data in CATALOGUE or settings.targets == "objects":
        return _recipe(data, path, root, user_settings)
    is_found = has_masks(path)
    with reading_masks(replace(settings, targets="masks")):
        if not has_masks(path):
            return _recipe(data, path, root, user_settings)
        mask_recipe = _recipe(data, path, root, user_settings, reads_masks=True)
    # The recipe states what is read from data with both, and from class folders with masks beside their images.
    stated_settings = {"data.targets": "masks"} if not is_found or is_annotated(data) else {}
    return OwnRecipe(mask_recipe.name, {**stated_settings, **mask_recipe.settings})


def _recipe(data: str, path: Path, root: Any, user_settings: Mapping[str, Any], reads_masks: bool = False) -> OwnRecipe:
    source = _training_source(data, path, root, reads_masks)
    classes = CATALOGUE[data].classes if isinstance(source, MaskFolder) and data in CATALOGUE else source.classes
    counts, sizes = _counts_and_sizes(source)
    values = plain_values(counts, classes) if isinstance(source, ObjectMasks) or not source.values else source.values
    mask_with = source.mask_with if isinstance(source, MaskFolder) else None
    void_value = check_values(counts, values, classes, str(path), mask_with=mask_with)
    n_classes = len(values)
    pixel_counts = [0] * n_classes  # of each class
    for value, index in values.items():
        pixel_counts[index] += int(counts[value])
    ignored_value = VOID if void_value is None else void_value
    largest_side = max(map(max, sizes))
    largest_value = max(values, key=lambda value: int(counts[value]))
    if has_thin_lines(source, [*values], largest_value, min(1.0, MAX_SIDE / largest_side)):
        return _thin_recipe(n_classes, ignored_value, frequency_weights(pixel_counts), sizes, user_settings)
    longest_side = min(MAX_SIDE, largest_side)
    fitted_sizes = [resized_size(size, longest_side) for size in sizes]
    crop = [min(limit, *(size[axis] for size in fitted_sizes)) for axis, limit in enumerate(MAX_CROP)]
    return OwnRecipe(RECIPE, {
        "data.size": longest_side,
        "data.stream": True,
        "augment.crop_size": crop,
        "augment.ignore": ignored_value,
        "network.classes": n_classes,
        "loss.ignore": ignored_value,
        "loss.class_weights": frequency_weights(pixel_counts),
        "start.weights": START_WEIGHTS,
        **training_length(TRAINING_STEPS, len(source), BATCH_SIZE),
    })  # fmt: skip


def _thin_recipe(
    n_classes: int,
    ignored_value: int,
    weights: list[float],
    sizes: list[tuple[int, int]],
    user_settings: Mapping[str, Any],
) -> OwnRecipe:
    """Return the recipe for thin structures, such as membranes: U-Net from scratch, whose first maps are full size.

    The features of FCN-8s have an eighth of the size, in which such structures are less than one pixel thick. Few
    images are turned, mirrored and deformed, as for the membranes of Ronneberger, Fischer and Brox 2015, section 3.1.
    They are not enlarged: lines have one thickness, unlike the objects of a road scene at all distances.
    """
    longest_side = min(MAX_THIN_SIDE, max(map(max, sizes)))
    fitted_sizes = [resized_size(size, longest_side) for size in sizes]
    crop = [min(THIN_CROP, *(size[axis] for size in fitted_sizes)) for axis in range(2)]
    few_images_settings = {
        "augment.rotate": 180.0,
        "augment.vertical_flip": True,
        "augment.fill": "reflect",
        "augment.elastic_alpha": 20.0,
        "augment.elastic_sigma": 6.0,
    }
    return OwnRecipe(THIN_RECIPE, {
        "data.size": longest_side,
        "data.stream": True,
        # IoU of membranes after 40 epochs: cross-entropy and enlarging 62.6 %, Dice 63.8, no enlarging 64.9, both 65.6.
        # On CamVid, Dice gained nothing.
        "augment.scale": [1.0, 1.0],
        "augment.crop_size": crop,
        "augment.ignore": ignored_value,
        **(few_images_settings if len(sizes) <= FEW_IMAGES else {}),
        "network.classes": n_classes,
        "loss.name": "dice",
        "loss.ignore": ignored_value,
        "loss.class_weights": weights,
        **_thin_length(len(sizes), math.prod(crop), user_settings),
    })  # fmt: skip


def _thin_length(n_images: int, n_pixels: int, user_settings: Mapping[str, Any]) -> dict[str, int]:
    """Return the batch size and the epochs; of fewer than MIN_THIN_STEPS steps, batches of n_pixels become smaller.

    After 20 steps, the running statistics of batch normalization still lag behind the weights, and smaller batches give
    more steps in the same time: 5 epochs of 15 membranes gave an IoU of 45, 55 and 57 % with batches of 4, 2 and 1.
    """
    length = training_length(THIN_STEPS, n_images, THIN_BATCH_SIZE, max_epochs=MAX_THIN_EPOCHS)
    if "augment.crop_size" in user_settings:  # which may be too small
        return length
    epochs, minutes = user_settings.get("train.epochs"), user_settings.get("train.minutes")
    if not isinstance(epochs, int | float):  # invalid values are refused by the recipe
        epochs = length["train.epochs"]
        if isinstance(minutes, int | float) and 0 < minutes < THIN_MINUTES:
            epochs *= minutes / THIN_MINUTES
    batch_size = length["train.batch_size"]
    while (
        epochs * steps_per_epoch(n_images, batch_size) < MIN_THIN_STEPS
        and batch_size // 2 * n_pixels >= MIN_BATCH_PIXELS
    ):
        batch_size //= 2
    return {**length, "train.batch_size": batch_size}


def has_thin_lines(source: MaskFolder | ObjectMasks, values: Sequence[int], largest_value: int, scale: float) -> bool:
    """Return whether what is not of the largest class are lines thinner than MIN_THICKNESS, such as membranes.

    values: of the classes in masks. largest_value: that of the largest class. scale: of the network's input, relative
    to the files. A bar of thickness t and length l has t l pixels and about 2 l edges of pixels to its surroundings.
    The lines of a mask have many times the pixels of a square of their thickness; a few small objects do not.
    """
    n_pixels = n_edges = 0
    class_values = torch.tensor(values)
    n_masks = min(len(source), MAX_MEASURED)
    with pillow_warnings_as_errors():
        for k in torch.linspace(0, len(source) - 1, n_masks).round().long().tolist():
            mask = source.read_mask(k) if isinstance(source, MaskFolder) else source.example(k)[1]
            is_structure = torch.isin(mask.long(), class_values) & (mask != largest_value)
            n_pixels += int(is_structure.sum())
            n_edges += int((is_structure[1:] != is_structure[:-1]).sum())
            n_edges += int((is_structure[:, 1:] != is_structure[:, :-1]).sum())
    thickness = 2 * n_pixels / n_edges if n_edges else math.inf
    return thickness * scale < MIN_THICKNESS and n_pixels / n_masks > MIN_SQUARES * thickness**2


def _training_source(data: str, path: Path, root: Any, reads_masks: bool) -> MaskFolder | ObjectMasks:
    """Return the training images with masks of classes, in the size of their files."""
    if not reads_masks and is_annotated(data):
        source = load(data, root).train
        source.refuse_unreadable()
        return ObjectMasks(source)
    part = mask_split(path).train
    if part is None:
        with open_tree(path) as tree:
            files = unpaired_folders(tree, root_of(tree))
        if files:
            raise PellucidError(
                f"{path} has images and masks, such as {files}, but no mask has the name of an image; give both the "
                "same names, or state data.mask_folders and data.mask_ending"
            )
        raise PellucidError(
            f"{path} has no masks: put the images into {IMAGES}/ and their masks, PNG files of the same names, into "
            f"{MASKS}/ (or {TRAIN}/ and {TRAIN}annot/, or NAME_mask.png beside NAME.jpg); or give polygons in the "
            "format of labelme or COCO"
        )
    return MaskFolder(path, part)


def _counts_and_sizes(source: MaskFolder | ObjectMasks) -> tuple[Tensor, list[tuple[int, int]]]:
    """Return the number of pixels of each value of all masks, and the size (H, W) of each mask."""
    if isinstance(source, MaskFolder):
        counts = source.count_values(source.others)
        return counts, [image_size(source.tree.read(name), source.tree.where(name)) for name in source.others]
    counts, sizes = torch.zeros(N_VALUES, dtype=torch.int64), []
    with pillow_warnings_as_errors():
        for _, mask in map(source.example, range(len(source))):
            counts += torch.bincount(mask.flatten(), minlength=N_VALUES)
            sizes.append((mask.shape[0], mask.shape[1]))
    return counts, sizes


def frequency_weights(counts: list[int]) -> list[float]:
    """Return the square roots of the inverse frequencies of classes, with a mean of 1 over all pixels.

    counts: the number of pixels of each class; a class without pixels gets the weight 1.
    """
    n_total = sum(counts)
    roots = [(n_total / count) ** 0.5 if count else 1.0 for count in counts]
    mean = sum(root * count for root, count in zip(roots, counts, strict=True)) / n_total
    return [round(root / mean, 2) if count else 1.0 for root, count in zip(roots, counts, strict=True)]
