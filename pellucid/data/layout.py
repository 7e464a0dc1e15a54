"""Where classes and parts lie in a tree of image files."""

from pellucid.data.tree import Tree
from pellucid.errors import PellucidError

TRAIN = "train"
HELD_OUT = ("test", "val", "valid", "validation")


def root_of(tree: Tree) -> str:
    """Return the one folder that a zip was wrapped in, as a prefix, else ""."""
    tops = {name.split("/", 1)[0] for name in tree.names}
    deep = all(name.count("/") >= 2 for name in tree.names)
    wrapped = len(tops) == 1 and deep and not tops & {TRAIN, *HELD_OUT}
    # CLASS/folder/IMAGE with a single class looks the same; one class is nothing to learn from.
    return f"{tops.pop()}/" if wrapped else ""


def parts_of(tree: Tree, root: str) -> set[str]:
    """Return the names of the folders below `root` that hold class folders."""
    below = (name.removeprefix(root) for name in tree.names)
    return {name.split("/", 1)[0] for name in below if name.count("/") >= 2}


def classes_of(tree: Tree, root: str) -> tuple[str, ...]:
    """Return the class folders below `root`, sorted; PellucidError when there are none, or one is empty."""
    classes = sorted({class_of(name, root) for name in files_of(tree, root)})
    empty = [name for name in tree.empty if name.startswith(root) and "/" not in name.removeprefix(root)]
    if empty:
        raise PellucidError(f"{tree.where(empty[0])} is a class folder without pictures; add some, or remove it")
    if not classes:
        raise PellucidError(f"{tree.where(root)} has no class folders; lay it out as CLASS/IMAGE")
    return tuple(classes)


def part_classes(tree: Tree, root: str, part: str) -> tuple[str, tuple[str, ...]]:
    """Return the prefix of a part's files, and the classes: those of the training part where there is one.

    part: a folder of class folders, "" for the tree itself. Raises PellucidError for a class that the training part
    lacks.
    """
    below = f"{root}{part}/" if part else root
    own = classes_of(tree, below)
    if not part or part == TRAIN or TRAIN not in parts_of(tree, root):
        return below, own
    classes = classes_of(tree, f"{root}{TRAIN}/")
    unknown = sorted(set(own) - set(classes))
    if unknown:
        raise PellucidError(f"{tree.where(below + unknown[0])} is a class that {TRAIN}/ lacks; add it there")
    return below, classes


def files_of(tree: Tree, root: str) -> list[str]:
    """Return the files of the class folders below `root`, sorted."""
    return [name for name in tree.names if name.startswith(root) and "/" in name.removeprefix(root)]


def class_of(name: str, root: str) -> str:
    """Return the class of a file below `root`."""
    return name.removeprefix(root).split("/", 1)[0]
