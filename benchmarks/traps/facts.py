"""The facts of drawn pictures, as an `Expected` states them."""

from collections import Counter

from .cases import Expected
from .draw import Scene


def counted(scenes: list[Scene]) -> dict[str, int]:
    """Objects of each class."""
    return dict(Counter(thing.label for scene in scenes for thing in scene.things))


def box_checks(scenes: list[Scene], numbers: tuple[int, ...], suffix: str = ".jpg") -> tuple[tuple, ...]:
    """Checks of all boxes of some pictures."""
    chosen = [scenes[number] for number in numbers]
    return tuple(("box", s.name + suffix, thing.label, *thing.corners) for s in chosen for thing in s.things)


def pixel_checks(scenes: list[Scene], numbers: tuple[int, ...], classes: tuple[str, ...]) -> tuple[tuple, ...]:
    """Checks of the share of every class in the masks of some pictures."""
    chosen = [(scenes[number], index, label) for number in numbers for index, label in enumerate(classes)]
    return tuple(("pixels", s.name + ".png", label, round(float((s.mask == k).mean()), 4)) for s, k, label in chosen)


def point_checks(scenes: list[Scene], numbers: tuple[int, ...], suffix: str = ".jpg") -> tuple[tuple, ...]:
    """Checks of all key-points of some pictures."""
    chosen = [scenes[number] for number in numbers]
    return tuple(("point", s.name + suffix, index, x, y) for s in chosen for index, (x, y) in enumerate(s.points))


def of_figures(found: dict[str, list[Scene]], **more: object) -> Expected:
    """Of class folders without parts. Classes are in the order of their folders' names."""
    counts = {label: len(found[label]) for label in sorted(found)}
    return Expected("read", total=sum(counts.values()), classes=tuple(counts), class_counts=counts, **more)


def of_boxes(train: list[Scene], held_out: list[Scene], labels: tuple[str, ...], suffix: str = ".jpg") -> Expected:
    """Of pictures with boxes. The boxes of three pictures are checked; without a second part only the total is."""
    scenes = train + held_out
    parts = {"train": len(train), "held_out": len(held_out)} if held_out else {}
    checks = box_checks(scenes, (0, len(train) // 2, len(scenes) - 1), suffix)
    counts = counted(scenes)
    return Expected("read", total=len(scenes), classes=labels, class_counts=counts, checks=checks, **parts)


def of_masks(train: list[Scene], held_out: list[Scene], labels: tuple[str, ...]) -> Expected:
    """Of pictures with masks in two parts. The masks of two pictures are checked."""
    scenes = train + held_out
    checks = pixel_checks(scenes, (1, len(scenes) - 2), labels)
    parts = {"train": len(train), "held_out": len(held_out)}
    return Expected("read", total=len(scenes), classes=labels, checks=checks, **parts)


def of_points(train: list[Scene], held_out: list[Scene]) -> Expected:
    """Of pictures of one face each. The points of three pictures are checked."""
    scenes = train + held_out
    parts = {"train": len(train), "held_out": len(held_out)} if held_out else {}
    checks = point_checks(scenes, (0, 3, len(scenes) - 2))
    counts = counted(scenes)
    return Expected("read", total=len(scenes), classes=("face",), class_counts=counts, checks=checks, **parts)
