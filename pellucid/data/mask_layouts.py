"""Which file is the mask of which image: the folders and names in which people keep them."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text, is_picture
from pellucid.data.mask_settings import MaskSettings, mask_settings
from pellucid.data.parts import part_named, spelled
from pellucid.data.tree import Tree

MASK_SUFFIX = "annot"  # of the folder of masks beside the folder of images: train and trainannot
# Names of folders, in lower case and without anything but letters.
MASK_FOLDERS = ("annotations", "annotation", "annots", MASK_SUFFIX, "groundtruth", "gtfine", "gtcoarse", "gt", "labels",
                "label", "masks", "mask", "segmentationclasspng", "segmentationclass", "segmentations", "segmentation",
                "trimaps")  # fmt: skip
IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "leftimgbit", "photos", "pictures")
CITYSCAPES_ENDINGS = ("_labelIds", "_labelTrainIds")  # of masks; the first that exists is read
_FINE = re.compile("_gt(Fine|Coarse)$")
# Ends and beginnings of the names of masks and of images, which are left out to find the pairs.
_MASK_WORDS = "masks?|labels?|segmentation|seg|gt|annot|annotation"
_MASK_ENDS = (re.compile(rf"[_\-. ]+((?i:{_MASK_WORDS})|L)$"), re.compile(rf"^(?i:{_MASK_WORDS})[_\-. ]+"))
_IMAGE_ENDS = (re.compile(r"[_\-. ]+(?i:leftImg8bit|sat|image|img)$"), re.compile(r"^(?i:sat|image|img)[_\-. ]+"))
_DRAWN_ENDINGS = ("_color", "_instanceIds", "_instanceTrainIds")  # of further files beside Cityscapes' masks
_LISTS = "ImageSets/Segmentation/"  # of Pascal VOC, one for each part
MIN_PAIRED = 0.5  # of the images beside which there are masks; fewer are images whose names have the same endings
_LETTERS = re.compile("[^a-z]")


@dataclass
class MaskPairs:
    """The images and masks of one part, by a key that an image shares with its mask.

    image_place, mask_place: the folders of the first pair, for messages.
    """

    image_place: str = ""
    mask_place: str = ""
    images: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The paths of the masks that have an image."""
        return tuple(mask for key, mask in self.masks.items() if key in self.images)


@dataclass(frozen=True)
class _File:
    """A picture. role: "image", "mask", or "" if no folder says it. folders: those without a role. place: see `_file`.

    sibling: whether the folder is that of masks because of its name and that of another folder, such as fooannot.
    """

    path: str
    role: str
    folders: tuple[str, ...]
    part: str
    place: str
    sibling: bool

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
        shortened = ending.sub("", self.stem)
        return "" if shortened == self.stem else "/".join((*self.folders, shortened))


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
    by_key = _images_by_key(images)
    paired, unpaired = _pairs_by_key(tree, masks, by_key, settings)
    if not paired and masks:
        paired, unpaired = _pairs_by_key(tree, *_without_parts(masks, images), settings)
    if not paired:
        for image, mask in _masks_beside(images, by_key, settings):
            _add_pair(tree, paired, image, mask)
        known = {*paired, *(mask.path for mask in paired.values())}
        unpaired = [image for image in images if image.path not in known and any(_shortened_keys(image, settings))]
        left_out = {image.path for image in unpaired}
        images = [image for image in images if image.path not in left_out]
    if not paired:
        return {}
    _check_suffixes(tree, images, paired)
    used_masks = {mask.path for mask in paired.values()}
    return _by_part(tree, top, [file for file in images if file.path not in used_masks], paired, unpaired)


def _pairs_by_key(
    tree: Tree, masks: Sequence[_File], by_key: Mapping[str, _File], settings: MaskSettings
) -> tuple[dict[str, _File], list[_File]]:
    """Return masks by the path of their image, and the masks without an image. by_key: the images."""
    paired: dict[str, _File] = {}
    unpaired: list[_File] = []
    for mask in masks:
        image = next((by_key[key] for key in _mask_keys(mask, settings) if key in by_key), None)
        if image is None:
            unpaired.append(mask)
        else:
            _add_pair(tree, paired, image, mask)
    return paired, unpaired


def _without_parts(masks: Sequence[_File], images: Sequence[_File]) -> tuple[list[_File], dict[str, _File]]:
    """Return masks and images, by key, as if no folder named a part, except images whose keys are then equal.

    So that Training_Images/1.jpg is the image of Ground_Truth/1.png.
    """
    counts = Counter(_without_part(image).key for image in images)
    unique_images = [image for image in images if counts[_without_part(image).key] == 1]
    by_key = _images_by_key([_without_part(image) for image in unique_images])
    return [_without_part(mask) for mask in masks], by_key


def _without_part(file: _File) -> _File:
    return replace(file, folders=tuple(folder for folder in file.folders if not part_named(folder)))


def unpaired_folders(tree: Tree, top: str) -> str:
    """Return a picture in a folder of images and one in a folder of masks, in words, if there are both; else ""."""
    found: dict[str, str] = {}
    for file in _files(tree, top, mask_settings()):
        found.setdefault(file.role or "image", file.path)
    return f"{found['image']} and {found['mask']}" if len(found) > 1 else ""


def _files(tree: Tree, top: str, settings: MaskSettings) -> Iterator[_File]:
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
        kept: list[str] = []
        role, part, place, is_sibling = "", "", "", False
        path = ""
        for folder in name.removeprefix(top).split("/")[:-1]:
            parent, path = path, f"{path}{folder}/"
            if (parent, folder) not in roles:
                roles[parent, folder] = _folder_role(folder, children[parent], settings)
            found, rest = roles[parent, folder]
            if found:
                role, place = found, path
                is_sibling = bool(rest)
            if rest:
                kept.append(part_named(rest) or rest.lower())
                part = part or (rest if part_named(rest) else "")
        yield _File(name, role, tuple(kept), part, place, is_sibling)


def _folder_role(folder: str, siblings: set[str], settings: MaskSettings) -> tuple[str, str]:
    """Return the role of a folder, "" for none, and the rest of its name, which may be that of a part."""
    if settings.mask_folders:
        if folder in settings.mask_folders:
            return ("image", "mask")[settings.mask_folders.index(folder)], ""
        return "", folder
    letters = _LETTERS.sub("", folder.lower())
    if letters in (*MASK_FOLDERS, *IMAGE_FOLDERS):
        return "mask" if letters in MASK_FOLDERS else "image", ""
    rest = next(filter(None, (_beside_masks(folder, word, siblings) for word in MASK_FOLDERS)), "")
    return ("mask", rest) if rest else ("", folder)


def _beside_masks(folder: str, word: str, siblings: set[str]) -> str:
    """Return the part, or the folder of images, whose masks are in a folder, from its name; "" for other folders."""
    letters = _LETTERS.sub("", folder.lower())
    if letters.endswith(word) and part_named(letters.removesuffix(word)):
        return spelled(letters.removesuffix(word), siblings)
    if letters.startswith(word) and part_named(letters.removeprefix(word)):
        return letters.removeprefix(word)
    rest = folder[: -len(word)] if folder.lower().endswith(word) else ""
    base = rest.rstrip("_- ")
    is_separate = base != rest or word == MASK_SUFFIX
    return next((other for other in siblings if base and is_separate and other.lower() == base.lower()), "")


def _named_masks(masks: Sequence[_File]) -> list[_File]:
    """Return masks without the other files of Cityscapes: drawings, numbers of objects, and further ids."""
    endings = [ending for ending in CITYSCAPES_ENDINGS if any(mask.stem.endswith(ending) for mask in masks)]
    if not endings:
        return [*masks]
    left_out = (*_DRAWN_ENDINGS, *endings[1:])
    return [mask for mask in masks if not mask.stem.endswith(left_out)]


def _mask_keys(mask: _File, settings: MaskSettings) -> Iterator[str]:
    """Yield the keys of the image that a mask may belong to."""
    if not settings.mask_ending:
        yield mask.key
    yield from _shortened_keys(mask, settings)
    if settings.mask_ending:
        return
    for ending in CITYSCAPES_ENDINGS:
        if mask.stem.endswith(ending):
            yield _FINE.sub("", mask.key.removesuffix(ending))


def _shortened_keys(mask: _File, settings: MaskSettings) -> Iterator[str]:
    """Yield the keys of a file without the end, or the beginning, of the name of a mask; "" if it has none."""
    for end in [settings.mask_ending] if settings.mask_ending else _MASK_ENDS:
        yield mask.shortened(end)


def _images_by_key(images: Sequence[_File]) -> dict[str, _File]:
    """Return the images by key, also without the endings of names; folders of images are preferred to others."""
    by_key: dict[str, _File] = {}
    for image in images:
        if image.key not in by_key or image.role:
            by_key[image.key] = image
    shortened = {image.shortened(end): image for end in reversed(_IMAGE_ENDS) for image in images}
    return {key: image for key, image in shortened.items() if key} | by_key


def _check_suffixes(tree: Tree, images: Sequence[_File], paired: Mapping[str, _File]) -> None:
    """Raise PellucidError for two images of one mask, which differ only in their suffix."""
    roles = {image.key: (image.path, image.role) for image in images if image.path in paired}
    for image in images:
        path, role = roles.get(image.key, ("", ""))
        if path and path != image.path and role == image.role:
            raise PellucidError(
                f"{tree.where(image.path)} and {tree.where(path)} differ only in their suffix; remove one"
            )


def _masks_beside(
    images: Sequence[_File], by_key: Mapping[str, _File], settings: MaskSettings
) -> list[tuple[_File, _File]]:
    """Return the pairs of images and masks in the same folder; [] if few images have a mask, or for class folders."""
    keys = ((mask, key) for mask in images for key in _shortened_keys(mask, settings))
    pairs = [(by_key[key], mask) for mask, key in keys if key in by_key and by_key[key] is not mask]
    folders = {mask.folders for _, mask in pairs}
    n_images = sum(file.folders in folders for file in images) - len(pairs)
    is_in_parts = all(part_named(folder) for path in folders for folder in path)
    if len(pairs) < MIN_PAIRED * n_images or not (is_in_parts or settings.targets == "masks"):
        return []
    return pairs


def _add_pair(tree: Tree, paired: dict[str, _File], image: _File, mask: _File) -> None:
    other = paired.setdefault(image.path, mask)
    if other is not mask:
        same_stem = PurePosixPath(other.path).with_suffix("") == PurePosixPath(mask.path).with_suffix("")
        advice = "differ only in their suffix; remove one"
        if not same_stem:
            advice = f"may both be the mask of {image.path}; remove one, or state data.mask_folders and mask_ending"
        raise PellucidError(f"{tree.where(mask.path)} and {tree.where(other.path)} {advice}")


def _by_part(
    tree: Tree, top: str, images: Sequence[_File], paired: dict[str, _File], unpaired: Sequence[_File]
) -> dict[str, MaskPairs]:
    """Return the pairs, and the files of their folders that have no partner, by part."""
    by_part: dict[str, MaskPairs] = {}
    used: Counter[tuple[str, str, str]] = Counter()  # parts, roles and places of the images with masks
    listed = _listed_parts(tree)

    def pairs_of(file: _File, name: str) -> MaskPairs:
        return by_part.setdefault(name, MaskPairs(file.place or (name and f"{name}/")))

    def part_of(file: _File) -> Sequence[str]:
        if listed:
            return listed.get(file.stem, ())
        return (file.part or _nameless_part(file, top, tops),)

    tops = {mask.folders[0] for mask in paired.values() if mask.sibling and mask.folders}
    for image in images:
        if image.path not in paired:
            continue
        mask = paired[image.path]
        used[image.part, image.role, image.folders[0] if image.folders else ""] += 1
        for name in part_of(image if image.part else replace(image, part=mask.part)):
            pairs = pairs_of(image, name)
            pairs.mask_place = pairs.mask_place or mask.place or pairs.image_place
            pairs.images[image.key] = image.path
            pairs.masks[image.key] = mask.path
    for image in images:
        is_used = used[image.part, image.role, image.folders[0] if image.folders else ""]
        if image.path not in paired and is_used:
            for name in part_of(image):
                pairs_of(image, name).images[image.key] = image.path
    for mask in unpaired:
        for name in part_of(mask):
            if name in by_part:
                by_part[name].masks.setdefault(mask.key, mask.path)
    _add_missing(by_part, listed)
    return dict(sorted(by_part.items()))


def _add_missing(by_part: dict[str, MaskPairs], listed: Mapping[str, Sequence[str]]) -> None:
    """Add the names in lists that no image has, as masks without an image."""
    found = {PurePosixPath(name).stem for pairs in by_part.values() for name in pairs.images.values()}
    for stem, parts in listed.items():
        for name in parts if stem not in found else ():
            if name in by_part:
                by_part[name].masks.setdefault(stem, f"{by_part[name].mask_place}{stem}")


def _nameless_part(file: _File, top: str, tops: set[str]) -> str:
    """Return the folder of images that is beside a folder such as fooannot, "" for others."""
    if not (file.folders and file.folders[0] in tops):
        return ""
    return file.path.removeprefix(top).split("/", 1)[0] if file.role != "mask" else file.folders[0]


def _listed_parts(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Return the parts of each image that the lists of Pascal VOC name; {} without lists of parts."""
    parts: dict[str, tuple[str, ...]] = {}
    for name in tree.names:
        path = PurePosixPath(name)
        if _LISTS not in f"/{name}" or path.suffix != ".txt":
            continue
        part = part_named(path.stem)
        for line in decode_text(tree.document(name), tree.where(name)).splitlines():
            stem = PurePosixPath(line.strip().replace("\\", "/")).name
            parts[stem] = (*parts.get(stem, ()), part)
    return parts
