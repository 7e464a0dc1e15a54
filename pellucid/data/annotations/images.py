"""Image files that annotations refer to, and the part of the data set that a path belongs to."""

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from pellucid.base.errors import PellucidError
from pellucid.base.files import is_picture
from pellucid.data.annotations.base import MissingImageError
from pellucid.data.images import image_size
from pellucid.data.parts import part_words
from pellucid.data.tree import Tree

IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "pictures", "photos")  # in lower case
_VOC_FOLDER = "JPEGImages"


def part_of(name: str) -> str:
    """Return the part that the last word of a path means, such as "train" for train2017/1.jpg; "" if there is none."""
    return next(reversed(part_words(name)), "")


def group_by_part(names: Iterable[str], part_of: Callable[[str], str] = part_of) -> dict[str, tuple[str, ...]]:
    """Return the files by part, which is derived from their paths."""
    names_by_part: dict[str, list[str]] = {}
    for name in names:
        names_by_part.setdefault(part_of(name), []).append(name)
    return {part: tuple(files) for part, files in names_by_part.items()}


def group_images_by_part(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return images, or files that annotate one image each, by part, which is derived from their folders.

    The names of the files count only if no folder means a part and all names do: a photo may be called train-12.jpg.
    """
    names = tuple(names)
    by_folder = group_by_part(names, lambda name: part_of(str(PurePosixPath(name).parent)))
    by_name = group_by_part(names)
    return by_name if {*by_folder} == {""} and "" not in by_name else by_folder


class ImageIndex:
    """Index of the images of a tree by file name."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.images = [name for name in tree.names if is_picture(name)]
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for name in self.images:
            path = PurePosixPath(name)
            self._by_name.setdefault(path.name, []).append(name)
            self._by_stem.setdefault(path.stem, []).append(name)

    def find_by_name(self, name: str, annotation_path: str) -> str:
        """Return the image whose path ends with `name` and is closest to `annotation_path`, see `_closest`."""
        path = PurePosixPath(name.replace("\\", "/"))
        matching_images = [
            candidate for candidate in self._by_name.get(path.name, ()) if f"/{candidate}".endswith(f"/{path}")
        ]
        return self._closest(matching_images, f"image {name!r:.200}", annotation_path)

    def find_by_stem(self, stem: str, annotation_path: str) -> str:
        """Return the image with this name without suffix that is closest to `annotation_path`, see `_closest`.

        Images in the folder JPEGImages of Pascal VOC, or in the folder of the annotations, are preferred to others,
        such as masks and drawings.
        """
        candidates = self._by_stem.get(stem, [])
        folder = PurePosixPath(annotation_path).parent
        in_same_folder = [candidate for candidate in candidates if PurePosixPath(candidate).parent == folder]
        in_voc_folder = [candidate for candidate in candidates if _VOC_FOLDER in PurePosixPath(candidate).parts]
        return self._closest(in_voc_folder or in_same_folder or candidates, f"image of {stem!r:.200}", annotation_path)

    def size(self, name: str) -> tuple[int, int]:
        """Return the size (H, W) of an image, read from its header; raise MissingImageError if it is unreadable."""
        try:
            return image_size(self.tree.read(name), self.tree.where(name))
        except PellucidError as error:
            raise MissingImageError(str(error)) from error

    def _closest(self, candidates: list[str], description: str, annotation_path: str) -> str:
        """Return the candidate with the most folder names that occur in the path of the annotation file.

        Of several, the one in the folder of the annotation file, or in one of IMAGE_FOLDERS. Raises PellucidError
        without candidates, and if there are still several. description: describes the image in the message.
        """
        n_shared_folders = {
            candidate: sum(part in annotation_path for part in PurePosixPath(candidate).parts[:-1])
            for candidate in candidates
        }
        max_shared = max(n_shared_folders.values(), default=0)
        closest_images = [candidate for candidate in candidates if n_shared_folders[candidate] == max_shared]
        if len(closest_images) > 1:
            in_same_folder = [
                name for name in closest_images if PurePosixPath(name).parent == PurePosixPath(annotation_path).parent
            ]
            in_image_folder = [name for name in closest_images if {*name.lower().split("/")[:-1]} & {*IMAGE_FOLDERS}]
            closest_images = in_same_folder or in_image_folder or closest_images
        if len(closest_images) != 1:
            problem = (
                f"is found as {closest_images[0]} and {closest_images[1]}"
                if closest_images
                else f"is not below {self.tree.path}"
            )
            raise (PellucidError if closest_images else MissingImageError)(f"{description} {problem}")
        return closest_images[0]
