"""The list of lessons, their settings and results, and the function that runs a lesson."""

import ast
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.text import aligned, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LESSONS = {
    "perceptron": "logic gates from perceptrons, and why XOR needs a hidden layer",
    "neuron": "one sigmoid neuron: the quadratic cost learns slowly when saturated, the cross-entropy does not",
    "descent": "gradient descent: learning rates, and batch, mini-batch and stochastic paths",
    "backprop": "the four equations of backpropagation, each beside its finite difference",
    "regression": "lines and polynomials: closed forms, descent, penalties, early stopping",
    "neighbours": "nearest neighbours: distances, boundaries, choosing k; a linear classifier's templates",
    "cost": "why the cross-entropy learns faster than the quadratic cost",
    "overfitting": "memorizing 1,000 images; more data, weight decay, dropout, early stopping",
    "initialisation": "how large the initial weights should be, and why",
    "vanishing": "gradients that vanish or explode in deep networks",
    "softmax": "softmax outputs, the log-likelihood, and their gradient",
    "convolution": "kernels over a photo: sizes, counts, receptive fields, pooling, dilation",
    "deconvnet": "a network run backwards: three rules for a ReLU, and the places of the largest pixels",
    "transfer": "features of some digits for others: when they help, when they harm, and what is forgotten",
    "boxes": "anchors and receptive fields, overlap, suppression, average precision by hand",
    "detectors": "from sliding windows to R-CNN to YOLO on one image",
    "segmentation": "a class for each pixel: measures, rare classes, and small maps made large again",
    "colorization": "mean colours are grey: a probability for each colour, sharpened, and weights of rare colours",
    "landscape": "the Hessian of a small network, symmetries of its weights, and the noise of its data",
    "universality": "a network of one hidden layer, built to approximate a function to a given error",
    "nonsense": "a digit network's confidence in noise, and temperature scaling",
    "linear-algebra": "norms, eigenvectors, SVD and pseudoinverse as pictures",
    "library": "a network library in 60 lines of NumPy, beside this one",
    "trees": "a tree as rules, bagging, and a random forest",
    "kmeans": "clusters by k-means, step by step, and the number of clusters",
    "svm": "margins, support vectors and kernels",
    "pca": "principal components of points and of digits",
    "sampling": "draws of any distribution from uniform numbers: by formula, by table, and by a learned network",
    "gan": "a generator against a discriminator, groups that it leaves out, and moment matching beside it",
}  # in the order of a course


# In the source of a lesson; parsing all sources took a quarter of a second.
OUTLINE = re.compile(
    r'^"""(?P<title>[^\n]+?)\.?\n.*^    minutes=(?P<minutes>\d+),\n    needs=(?P<needs>\(.*?\)),$',
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class LessonSettings:
    """The settings that every step of a lesson receives.

    seed: the seed of all random draws. small: whether long lessons use fewer examples and epochs. data: the folder of
    the data sets; None for the default folder, see `pellucid.data.data_root`.
    """

    seed: int = 0
    small: bool = False
    data: str | os.PathLike[str] | None = None


class Result(NamedTuple):
    """The result of one step of a lesson.

    numbers: JSON values by name. figure: a figure that shows them, or None.
    """

    numbers: Mapping[str, Any]
    figure: "Figure | None" = None

    def __str__(self) -> str:
        """Return the numbers as a table, with one line for each row of a matrix."""
        return "\n".join(_table_lines(self.numbers))


NumberRows = tuple[tuple[float, ...], ...]  # points (x, y), boxes (x0, y0, x1, y1) or the rows of a matrix
LessonStep = Callable[[LessonSettings], Result]


@dataclass(frozen=True)
class Lesson:
    """A lesson that has run: its title, and the result of each step by name, in order."""

    name: str
    title: str
    results: Mapping[str, Result]


def lesson(name: str, seed: int = 0, small: bool = False, data: str | os.PathLike[str] | None = None) -> Lesson:
    """Run all steps of a lesson of LESSONS; for seed, small and data, see `LessonSettings`.

    Raises PellucidError for an unknown name.
    """
    import torch

    module, settings = find_lesson(name), LessonSettings(seed, small, data)
    with torch.random.fork_rng(devices=[]):
        return Lesson(name, title(module), {step.__name__: step(settings) for step in module.STEPS})


def find_lesson(name: str) -> ModuleType:
    """Return the module of a lesson of LESSONS. Raises PellucidError for an unknown name."""
    return import_module(f"pellucid.lessons.{_file_name(name)}")


def _file_name(name: str) -> str:
    if name not in LESSONS:
        hint = nearest(name, LESSONS) or f"; there are {', '.join(LESSONS)}"
        raise PellucidError(f"there is no lesson {shown(name)}{hint}")
    return name.replace("-", "_")


class Outline(NamedTuple):
    """The title of a lesson, the minutes that it takes, and the names of the lessons that come before it."""

    title: str
    minutes: int
    needs: tuple[str, ...]


def outline(name: str) -> Outline:
    """Return the outline of a lesson of LESSONS, read from its source: importing all lessons takes seconds.

    Raises PellucidError for an unknown name.
    """
    source = (Path(__file__).parent / f"{_file_name(name)}.py").read_text(encoding="utf-8")
    found = OUTLINE.search(source)
    assert found is not None
    return Outline(found["title"], int(found["minutes"]), ast.literal_eval(found["needs"]))


def title(documented: ModuleType | LessonStep) -> str:
    """Return the title of a lesson or step: the first line of its docstring, without the full stop."""
    return (documented.__doc__ or "").strip().splitlines()[0].rstrip(".")


def _table_lines(numbers: Mapping[str, Any]) -> list[str]:
    """Return the lines of a table of names and values."""
    rows: list[tuple[str, str]] = []
    for name, value in numbers.items():
        first_line, *other_lines = _value_lines(value)
        rows += [(name, first_line), *(("", line) for line in other_lines)]
    return aligned(rows).split("\n")


def _value_lines(value: Any) -> list[str]:
    """Return the lines of a value: one line, one for each row of a matrix, or the lines of a nested table."""
    if isinstance(value, Mapping) and value:
        return _table_lines({str(key): item for key, item in value.items()})
    if isinstance(value, list | tuple) and value and all(isinstance(row, list | tuple) for row in value):
        width = max(map(len, value))
        cells = [[*map(_value_text, row), *[""] * (width - len(row))] for row in value]
        return aligned(cells, right=range(width)).split("\n")
    return [_value_text(value)]


def _value_text(value: Any) -> str:
    """Return a value on one line: numbers in six significant digits, lists with commas."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value_text, value))
    return str(value)
