"""Which file is the mask of which image: the folders and names in which people keep them."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text, is_picture
from pellucid.data.mask_settings import MaskSettings, mask_settings
from pellucid.data.parts import matching_part, standard_part
from pellucid.data.tree import Tree

MASK_SUFFIX = "annot"  # of the folder of masks beside the folder of images: train and trainannot
# Names of folders, in lower case and without anything but letters.
MASK_FOLDERS = ("annotations", "annotation", "annots", MASK_SUFFIX, "groundtruth", "gtfine", "gtcoarse", "gt", "labels",
                "label", "masks", "mask", "segmentationclasspng", "segmentationclass", "segmentations", "segmentation",
                "trimaps")  # fmt: skip
IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "leftimgbit", "photos", "pictures")
CITYSCAPES_ENDINGS = ("_labelIds", "_labelTrainIds")  # of masks; the first that exists is read
_GT_ENDING = re.compile("_gt(Fine|Coarse)$")
# Ends and beginnings of the names of masks and of images, which are left out to find the pairs.
# L: CamVid's masks are called NAME_L.png.
_MASK_WORDS = "masks?|labels?|segmentation|seg|gt|annot|annotation"
_MASK_AFFIXES = (re.compile(rf"[_\-. ]+((?i:{_MASK_WORDS})|L)$"), re.compile(rf"^(?i:{_MASK_WORDS})[_\-. ]+"))
_IMAGE_AFFIXES = (re.compile(r"[_\-. ]+(?i:leftImg8bit|sat|image|img)$"), re.compile(r"^(?i:sat|image|img)[_\-. ]+"))
# Of further files beside Cityscapes' masks.
_UNUSED_CITYSCAPES_ENDINGS = ("_color", "_instanceIds", "_instanceTrainIds")
_VOC_LISTS_FOLDER = "ImageSets/Segmentation/"  # of Pascal VOC, one for each part
MIN_PAIRED = 0.5  # of the images beside which there are masks; fewer are images whose names have the same endings
_LETTERS = re.compile("[^a-z]")


@dataclass
class MaskPairs:
    """The images and masks of one part, by a key that an image shares with its mask.

    image_folder, mask_folder: the folders of the first pair, for messages.
    """

    image_folder: str = ""
    mask_folder: str = ""
    images: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of the masks that have an image."""
        return tuple(mask for key, mask in self.masks.items() if key in self.images)


@dataclass(frozen=True)
class _Picture:
    """A picture. role: "image", "mask", or "" if no folder says it. folders: the names of those without a role.

    role_folder: the path of the folder that says the role. is_sibling: whether that is a folder of masks because of its
    name and that of another folder, such as fooannot beside foo.
    """

    path: str
    role: str
    folders: tuple[str, ...]
    part: str
    role_folder: str
    is_sibling: bool

    @property
    def stem(self) -> str:
        return PurePosixPath(self.path).stem

    @property
    def key(self) -> str:
        return "/".join((*self.folders, self.stem))

    def shortened(self, ending: re.Pattern[str] | str) -> str:
        """Return the key without an ending of the name, "" if the name has another one."""
        if isinstance(ending, str):
            return self.key.removesuffix(ending) if ending and self.stem.endswith(ending) else ""
        short_stem = ending.sub("", self.stem)
        return "" if short_stem == self.stem else "/".join((*self.folders, short_stem))


def mask_layout(tree: Tree, top: str = "") -> dict[str, MaskPairs]:
    """Return the images and masks of a tree by part, "" without parts; {} without pairs.

    top: the folder that contains all files. Folders are recognized by their names: a folder of MASK_FOLDERS beside one
    of IMAGE_FOLDERS, at the top, in the folders of parts or around them, and NAMEannot or NAME_masks beside NAME. A
    name may end as that of a mask, NAME_mask.png or NAME_L.png, also beside its image. Cityscapes' names, and the lists
    of parts of Pascal VOC, are read. Raises PellucidError for two masks of an image.
    """
    settings = mask_settings()
    files = list(_files(tree, top, settings))
    masks = _named_masks([file for file in files if file.role == "mask"])
    images = [file for file in files if file.role != "mask"]
    image_by_key = _images_by_key(images)
    mask_by_image, unpaired = _pairs_by_key(tree, masks, image_by_key, settings)
    if not mask_by_image and masks:
        mask_by_image, unpaired = _pairs_by_key(tree, *_without_parts(masks, images), settings)
    if not mask_by_image:
        for image, mask in _masks_beside(images, image_by_key, settings):
            _add_pair(tree, mask_by_image, image, mask)
        paired_paths = {*mask_by_image, *(mask.path for mask in mask_by_image.values())}
        unpaired = [
            image for image in images if image.path not in paired_paths and any(_shortened_keys(image, settings))
        ]
        unpaired_paths = {image.path for image in unpaired}
        images = [image for image in images if image.path not in unpaired_paths]
    if not mask_by_image:
        return {}
    _check_suffixes(tree, images, mask_by_image)
    used_masks = {mask.path for mask in mask_by_image.values()}
    return _by_part(tree, top, [file for file in images if file.path not in used_masks], mask_by_image, unpaired)


def _pairs_by_key(
    tree: Tree, masks: Sequence[_Picture], image_by_key: Mapping[str, _Picture], settings: MaskSettings
) -> tuple[dict[str, _Picture], list[_Picture]]:
    """Return masks by the path of their image, and the masks without an image."""
    mask_by_image: dict[str, _Picture] = {}
    unpaired: list[_Picture] = []
    for mask in masks:
        image = next((image_by_key[key] for key in _mask_keys(mask, settings) if key in image_by_key), None)
        if image is None:
            unpaired.append(mask)
        else:
            _add_pair(tree, mask_by_image, image, mask)
    return mask_by_image, unpaired


def _without_parts(masks: Sequence[_Picture], images: Sequence[_Picture]) -> tuple[list[_Picture], dict[str, _Picture]]:
    """Return masks and images, by key, as if no folder named a part, except images whose keys are then equal.

    So that Training_Images/1.jpg is the image of Ground_Truth/1.png.
    """
    counts = Counter(_without_part(image).key for image in images)
    unique_images = [image for image in images if counts[_without_part(image).key] == 1]
    image_by_key = _images_by_key([_without_part(image) for image in unique_images])
    return [_without_part(mask) for mask in masks], image_by_key


def _without_part(file: _Picture) -> _Picture:
    return replace(file, folders=tuple(folder for folder in file.folders if not standard_part(folder)))


def unpaired_folders(tree: Tree, top: str) -> str:
    """Return a picture in a folder of images and one in a folder of masks, in words, if there are both; else ""."""
    first_path_by_role: dict[str, str] = {}
    for file in _files(tree, top, mask_settings()):
        first_path_by_role.setdefault(file.role or "image", file.path)
    return f"{first_path_by_role['image']} and {first_path_by_role['mask']}" if len(first_path_by_role) > 1 else ""


def _files(tree: Tree, top: str, settings: MaskSettings) -> Iterator[_Picture]:
    """Yield the pictures of a tree with the roles of their folders."""
    names = [name for name in tree.names if name.startswith(top) and is_picture(name)]
    children: dict[str, set[str]] = {}  # folders by the path of the folder that they are in
    for folder in {name.removeprefix(top).rpartition("/")[0] for name in names}:
        path = ""
        for child in filter(None, folder.split("/")):
            children.setdefault(path, set()).add(child)
            path += f"{child}/"
    roles: dict[tuple[str, str], tuple[str, str]] = {}
    for name in names:
        other_folders: list[str] = []
        role, part, role_folder, is_sibling = "", "", "", False
        path = ""
        for folder in name.removeprefix(top).split("/")[:-1]:
            parent, path = path, f"{path}{folder}/"
            if (parent, folder) not in roles:
                roles[parent, folder] = _folder_role(folder, children[parent], settings)
            found_role, rest_of_name = roles[parent, folder]
            if found_role:
                role, role_folder = found_role, path
                is_sibling = bool(rest_of_name)
            if rest_of_name:
                other_folders.append(standard_part(rest_of_name) or rest_of_name.lower())
                part = part or (rest_of_name if standard_part(rest_of_name) else "")
        yield _Picture(name, role, tuple(other_folders), part, role_folder, is_sibling)


def _folder_role(folder: str, siblings: set[str], settings: MaskSettings) -> tuple[str, str]:
    """Return the role of a folder, "" for none, and the rest of its name, which may be that of a part."""
    if settings.mask_folders:
        if folder in settings.mask_folders:
            return ("image", "mask")[settings.mask_folders.index(folder)], ""
        return "", folder
    letters = _LETTERS.sub("", folder.lower())
    if letters in (*MASK_FOLDERS, *IMAGE_FOLDERS):
        return "mask" if letters in MASK_FOLDERS else "image", ""
    part_or_image_folder = next(filter(None, (_beside_masks(folder, word, siblings) for word in MASK_FOLDERS)), "")
    return ("mask", part_or_image_folder) if part_or_image_folder else ("", folder)


def _beside_masks(folder: str, word: str, siblings: set[str]) -> str:
    """Return the part, or the folder of images, whose masks are in a folder, from its name; "" for other folders."""
    letters = _LETTERS.sub("", folder.lower())
    if letters.endswith(word) and standard_part(letters.removesuffix(word)):
        return matching_part(letters.removesuffix(word), siblings)
    if letters.startswith(word) and standard_part(letters.removeprefix(word)):
        return letters.removeprefix(word)
    name_before_word = folder[: -len(word)] if folder.lower().endswith(word) else ""
    image_folder = name_before_word.rstrip("_- ")
    is_separate = image_folder != name_before_word or word == MASK_SUFFIX
    return next(
        (sibling for sibling in siblings if image_folder and is_separate and sibling.lower() == image_folder.lower()),
        "",
    )


def _named_masks(masks: Sequence[_Picture]) -> list[_Picture]:
    """Return masks without the other files of Cityscapes: drawings, numbers of objects, and further ids."""
    endings = [ending for ending in CITYSCAPES_ENDINGS if any(mask.stem.endswith(ending) for mask in masks)]
    if not endings:
        return [*masks]
    unused_endings = (*_UNUSED_CITYSCAPES_ENDINGS, *endings[1:])
    return [mask for mask in masks if not mask.stem.endswith(unused_endings)]


def _mask_keys(mask: _Picture, settings: MaskSettings) -> Iterator[str]:
    """Yield the keys of the image that a mask may belong to."""
    if not settings.mask_ending:
        yield mask.key
    yield from _shortened_keys(mask, settings)
    if settings.mask_ending:
        return
    for ending in CITYSCAPES_ENDINGS:
        if mask.stem.endswith(ending):
            yield _GT_ENDING.sub("", mask.key.removesuffix(ending))


def _shortened_keys(mask: _Picture, settings: MaskSettings) -> Iterator[str]:
    """Yield the keys of a file without the end, or the beginning, of the name of a mask; "" if it has none."""
    for ending in [settings.mask_ending] if settings.mask_ending else _MASK_AFFIXES:
        yield mask.shortened(ending)


def _images_by_key(images: Sequence[_Picture]) -> dict[str, _Picture]:
    """Return the images by key, also without the endings of names; folders of images are preferred to others."""
    image_by_key: dict[str, _Picture] = {}
    for image in images:
        if image.key not in image_by_key or image.role:
            image_by_key[image.key] = image
    image_by_short_key = {image.shortened(ending): image for ending in reversed(_IMAGE_AFFIXES) for image in images}
    return {key: image for key, image in image_by_short_key.items() if key} | image_by_key


def _check_suffixes(tree: Tree, images: Sequence[_Picture], mask_by_image: Mapping[str, _Picture]) -> None:
    """Raise PellucidError for two images of one mask, which differ only in their suffix."""
    paired_by_key = {image.key: (image.path, image.role) for image in images if image.path in mask_by_image}
    for image in images:
        path, role = paired_by_key.get(image.key, ("", ""))
        if path and path != image.path and role == image.role:
            raise PellucidError(
                f"{tree.where(image.path)} and {tree.where(path)} differ only in their suffix; remove one"
            )


def _masks_beside(
    images: Sequence[_Picture], image_by_key: Mapping[str, _Picture], settings: MaskSettings
) -> list[tuple[_Picture, _Picture]]:
    """Return the pairs of images and masks in the same folder; [] if few images have a mask, or for class folders."""
    keys = ((mask, key) for mask in images for key in _shortened_keys(mask, settings))
    pairs = [(image_by_key[key], mask) for mask, key in keys if key in image_by_key and image_by_key[key] is not mask]
    folders = {mask.folders for _, mask in pairs}
    n_images = sum(file.folders in folders for file in images) - len(pairs)
    is_in_parts = all(standard_part(folder) for path in folders for folder in path)
    if len(pairs) < MIN_PAIRED * n_images or not (is_in_parts or settings.targets == "masks"):
        return []
    return pairs


def _add_pair(tree: Tree, mask_by_image: dict[str, _Picture], image: _Picture, mask: _Picture) -> None:
    first_mask = mask_by_image.setdefault(image.path, mask)
    if first_mask is not mask:
        has_same_stem = PurePosixPath(first_mask.path).with_suffix("") == PurePosixPath(mask.path).with_suffix("")
        advice = "differ only in their suffix; remove one"
        if not has_same_stem:
            advice = f"may both be the mask of {image.path}; remove one, or state data.mask_folders and mask_ending"
        raise PellucidError(f"{tree.where(mask.path)} and {tree.where(first_mask.path)} {advice}")


def _by_part(
    tree: Tree, top: str, images: Sequence[_Picture], mask_by_image: dict[str, _Picture], unpaired: Sequence[_Picture]
) -> dict[str, MaskPairs]:
    """Return the pairs, and the files of their folders that have no partner, by part."""
    by_part: dict[str, MaskPairs] = {}
    n_used: Counter[tuple[str, str, str]] = Counter()  # parts, roles and first folders of the images with masks
    parts_by_stem = _listed_parts(tree)

    def pairs_of(file: _Picture, part: str) -> MaskPairs:
        return by_part.setdefault(part, MaskPairs(file.role_folder or (part and f"{part}/")))

    def part_of(file: _Picture) -> Sequence[str]:
        if parts_by_stem:
            return parts_by_stem.get(file.stem, ())
        return (file.part or _nameless_part(file, top, sibling_folders),)

    sibling_folders = {mask.folders[0] for mask in mask_by_image.values() if mask.is_sibling and mask.folders}
    for image in images:
        if image.path not in mask_by_image:
            continue
        mask = mask_by_image[image.path]
        n_used[image.part, image.role, image.folders[0] if image.folders else ""] += 1
        for part in part_of(image if image.part else replace(image, part=mask.part)):
            pairs = pairs_of(image, part)
            pairs.mask_folder = pairs.mask_folder or mask.role_folder or pairs.image_folder
            pairs.images[image.key] = image.path
            pairs.masks[image.key] = mask.path
    for image in images:
        is_used = n_used[image.part, image.role, image.folders[0] if image.folders else ""]
        if image.path not in mask_by_image and is_used:
            for part in part_of(image):
                pairs_of(image, part).images[image.key] = image.path
    for mask in unpaired:
        for part in part_of(mask):
            if part in by_part:
                by_part[part].masks.setdefault(mask.key, mask.path)
    _add_missing(by_part, parts_by_stem)
    return dict(sorted(by_part.items()))


def _add_missing(by_part: dict[str, MaskPairs], parts_by_stem: Mapping[str, Sequence[str]]) -> None:
    """Add the names in lists that no image has, as masks without an image."""
    stems_of_images = {PurePosixPath(name).stem for pairs in by_part.values() for name in pairs.images.values()}
    for stem, parts in parts_by_stem.items():
        for name in parts if stem not in stems_of_images else ():
            if name in by_part:
                by_part[name].masks.setdefault(stem, f"{by_part[name].mask_folder}{stem}")


def _nameless_part(file: _Picture, top: str, sibling_folders: set[str]) -> str:
    """Return the folder of images that is beside a folder such as fooannot, "" for others."""
    if not (file.folders and file.folders[0] in sibling_folders):
        return ""
    return file.path.removeprefix(top).split("/", 1)[0] if file.role != "mask" else file.folders[0]


def _listed_parts(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Return the parts of each image that the lists of Pascal VOC name; {} without lists of parts."""
    parts: dict[str, tuple[str, ...]] = {}
    for name in tree.names:
        path = PurePosixPath(name)
        if _VOC_LISTS_FOLDER not in f"/{name}" or path.suffix != ".txt":
            continue
        part = standard_part(path.stem)
        for line in decode_text(tree.document(name), tree.where(name)).splitlines():
            stem = PurePosixPath(line.strip().replace("\\", "/")).name
            parts[stem] = (*parts.get(stem, ()), part)
    return parts
