"""Two classes that a model tells apart by their backgrounds alone, and the scene without an object."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE = 0.2  # the width of the edge on each side, of the picture's height and width
MAX_SWAPS = 12  # pictures of each class of a pair
# The middle shows background too, around the object: of the same object in two rooms only half of the answers followed
# the edge, of different objects none.
MIN_FOLLOWED = 0.25  # the part of the answers that follow the edge, which a shortcut exceeds
MIN_DEVIATIONS = 2.0  # by which it exceeds this part, as of a coin with this probability
MIN_DIFFERENCE = 0.05  # of two classes' means of a pixel, 0 to 1, from which their backgrounds differ there
MIN_DIFFERENT = 0.25  # the part of a side of the edge that differs
MIN_SIDES = 3  # sides that differ; a hand that reaches into the picture changes one or two
MAX_SCENE = 24  # pictures of each class from which the scene is made
MAX_NOISE = 0.1  # of a pixel, the mean of 5 x 5, 0 to 1: noise and changes of the light
MIN_SHARED = 0.6  # the part of the pictures that show the scene at a pixel; an object at rest may hide it in half
MIN_SEEN = 0.99  # the part of the pixels where the scene is seen, as with a camera at rest
MAX_EMPTY = 0.005  # the part of a class's typical picture that differs from the scene, if the class is the scene itself


@dataclass(frozen=True)
class Shortcut:
    """Two classes, by index, which the model tells apart by the edges.

    followed: the part of the swapped pictures to which the model gives the class of the edge rather than that of the
    middle. count: the number of these pictures.
    """

    classes: tuple[int, int]
    followed: float
    count: int


def middle_mask(height: int, width: int) -> Tensor:
    """Return (H, W) bool: whether a pixel is in the middle of a picture, not within EDGE of a side."""
    rows, columns = (torch.arange(side) + 0.5 for side in (height, width))
    is_middle_row = (rows >= EDGE * height) & (rows < height - EDGE * height)
    is_middle_column = (columns >= EDGE * width) & (columns < width - EDGE * width)
    return is_middle_row[:, None] & is_middle_column


def shortcuts(predict: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> list[Shortcut]:
    """Return the pairs of classes that are told apart by the edges of pictures, those that follow them most first.

    predict: function of pictures (N, 3, H, W), 0 to 1, that returns the probabilities (N, C). x, y: pictures and their
    classes, each with at least one. For each pair of classes, the edges of their pictures are exchanged: a model of the
    objects in the middle keeps its answers. Pairs whose backgrounds do not differ are left out: with their edges,
    objects near the edge were exchanged. Source: Xiao, Engstrom, Ilyas and Madry 2021, "Noise or signal: the role of
    image backgrounds in object recognition", section 2 (Mixed-Next).
    """
    found = list[Shortcut]()
    middle = middle_mask(*x.shape[2:])
    for first, second in combinations(range(int(y.max()) + 1), 2):
        pictures = [x[y == label] for label in (first, second)]
        count = min(MAX_SWAPS, *map(len, pictures))
        a, b = (_evenly(of_class, count) for of_class in pictures)
        if not _backgrounds_differ(a, b):
            continue
        # The first half has the middle of the first class and the edge of the second.
        probabilities = predict(torch.cat([torch.where(middle, a, b), torch.where(middle, b, a)]))
        is_second = probabilities[:, second] > probabilities[:, first]
        follows_edge = torch.cat([is_second[:count], ~is_second[count:]])
        followed = float(follows_edge.double().mean())
        deviation = math.sqrt(MIN_FOLLOWED * (1 - MIN_FOLLOWED) / (2 * count))
        if followed > MIN_FOLLOWED + MIN_DEVIATIONS * deviation:
            found.append(Shortcut((first, second), followed, 2 * count))
    return sorted(found, key=lambda shortcut: -shortcut.followed)


class Scene(NamedTuple):
    """A scene (3, H, W), 0 to 1, without objects, and the index of the class that shows it, None if none does."""

    picture: Tensor
    label: int | None


def empty_scene(x: Tensor, y: Tensor) -> Scene | None:
    """Return the scene before which all classes were collected, without their objects, or None.

    x, y: pictures (N, 3, H, W), 0 to 1, and their classes. The scene is what most pictures of a camera at rest share.
    It is put together from pictures, and not their median, so that it has the noise of one: without noise it would be
    unlike the others. None for a camera that moved, for several scenes, and if several classes show the scene itself.
    """
    count = min(MAX_SCENE, int(y.bincount().min()))
    x = torch.cat([_evenly(x[y == label], count) for label in range(int(y.max()) + 1)])
    median = x.median(0).values
    difference = _smooth((x - median).abs().mean(1, keepdim=True))
    shows_scene = difference[:, 0] < MAX_NOISE  # (N, H, W)
    is_seen = shows_scene.double().mean(0) > MIN_SHARED
    hidden = 1 - shows_scene.double().mean((1, 2))
    labels = (hidden.reshape(-1, count).median(1).values < MAX_EMPTY).nonzero().flatten().tolist()
    if len(labels) > 1 or float(is_seen.double().mean()) < MIN_SEEN:
        return None
    order = hidden.argsort()
    near = F.max_pool2d(difference, 11, 1, 5)[:, 0]  # beside an object, its outline is in no mean of 5 x 5
    suits = shows_scene.double() + (near < MAX_NOISE)
    first = suits[order].argmax(0)  # the emptiest picture that shows the scene at a pixel and, if one does, around it
    scene = x[order].gather(0, first.expand(1, 3, -1, -1))[0]
    scene = scene + _smooth(median - scene)  # of shadows, which are as faint as noise, only the noise remains
    return Scene(scene, labels[0] if labels else None)


def _smooth(x: Tensor) -> Tensor:
    """Return the means of 5 x 5 pixels of pictures (..., C, H, W)."""
    return F.avg_pool2d(x, 5, 1, 2, count_include_pad=False)


def _backgrounds_differ(a: Tensor, b: Tensor) -> bool:
    """Return whether the means of two classes differ, by more than the classes vary, at MIN_SIDES sides.

    a, b: pictures (N, 3, H, W).
    """
    difference = (a.mean(0) - b.mean(0)).abs()
    deviation = ((a.var(0, correction=0) + b.var(0, correction=0)) / 2).sqrt()
    differs = ((difference > MIN_DIFFERENCE) & (difference > deviation)).any(0).double()  # (H, W)
    rows, columns = (round(EDGE * side) for side in differs.shape)
    sides = (differs[:rows], differs[-rows:], differs[:, :columns], differs[:, -columns:])
    return sum(float(side.mean()) >= MIN_DIFFERENT for side in sides) >= MIN_SIDES


def _evenly(pictures: Tensor, count: int) -> Tensor:
    """Return `count` pictures, evenly spaced."""
    return pictures[torch.linspace(0, len(pictures) - 1, count).long()]


def shortcut_text(shortcut: Shortcut, classes: Sequence[str]) -> str:
    """Return a shortcut in words, and what to do."""
    first, second = (classes[label] for label in shortcut.classes)
    return (
        f"shortcut: {first} and {second} are told apart by their background: with the edges of their frames exchanged, "
        f"{round(shortcut.followed * shortcut.count)} of {shortcut.count} answers follow the edge; collect both in "
        "front of the same backgrounds"
    )
