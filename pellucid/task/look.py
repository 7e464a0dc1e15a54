"""What a task shows of a model for one picture: layers over the picture, controls, and numbers as bars.

The studio's view Look draws these without knowing the task, so a plugin's task is shown like those of the library.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pellucid.base.errors import PellucidError
from pellucid.predictor import Picture, Predicted
from pellucid.task.score_to_explain import Area, ScoreToExplain

if TYPE_CHECKING:
    from torch import Tensor

NO_VALUES: Mapping[str, float] = {}


@dataclass(frozen=True)
class LookControl:
    """A number that changes what is shown; from 0 to 1 by steps of 1 it is a switch."""

    name: str  # by which `Look.shown` finds its value
    label: str
    value: float  # the initial value
    low: float = 0.0
    high: float = 1.0
    step: float = 0.01


class Hint(NamedTuple):
    """A colour (red, green, blue), 0 to 255, that the user gives at a pixel: column x and row y."""

    x: int
    y: int
    colour: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class PictureLayer:
    """A layer over the picture, with positions in its pixels.

    is_on: whether it is shown at first. about: what it shows, for a name that does not say it.
    """

    name: str
    is_on: bool = False
    about: str = field(default="", kw_only=True)


@dataclass(frozen=True, eq=False)
class BoxLayer(PictureLayer):
    """Boxes (n, 4): x0, y0, x1, y1, with the score (n,) and the class (n,) of each, as an index of `Shown.classes`."""

    boxes: "Tensor | None" = None
    scores: "Tensor | None" = None
    labels: "Tensor | None" = None


@dataclass(frozen=True, eq=False)
class MapLayer(PictureLayer):
    """Values (h, w) that cover the picture; of the layers of one `group`, one is shown at a time."""

    values: "Tensor | None" = None
    group: str = ""


@dataclass(frozen=True, eq=False)
class ClassLayer(PictureLayer):
    """The class of each pixel (H, W) uint8, as an index of `Shown.classes`; without_class: the index of no class."""

    mask: "Tensor | None" = None
    without_class: int | None = None


@dataclass(frozen=True, eq=False)
class PointLayer(PictureLayer):
    """Points (K, 3): x, y and score of each; names: of the points, by which a bar of `Shown.bars` selects its point."""

    points: "Tensor | None" = None
    names: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class ImageLayer(PictureLayer):
    """A picture (3, H, W) uint8 in place of the given one."""

    image: "Tensor | None" = None


class NumberBar(NamedTuple):
    """A number with its name; threshold: the value from which it counts, None for none.

    is_fraction: whether it is a part of one, such as a probability, which is shown in percent.
    """

    name: str
    value: float
    threshold: float | None = None
    is_fraction: bool = True


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown: the prediction as a line, the layers from bottom to top, bars, and the names of the classes."""

    line: str
    layers: Sequence[PictureLayer] = ()
    bars: Sequence[NumberBar] = ()
    classes: Sequence[str] = ()
    label: str | None = field(default=None, kw_only=True)


class MatchCounts(NamedTuple):
    """The numbers of right and of false predictions for a labelled picture, and of missed objects."""

    right: int
    false: int
    missed: int


class LabelledPictures(ABC):
    """Labelled pictures, with which the predictions at the values of controls are compared.

    names: of the pictures. available: how many there are; `names` may be the first of them.
    """

    names: Sequence[str]
    available: int

    @abstractmethod
    def picture(self, index: int) -> "Tensor":
        """Return a picture (3, H, W) uint8."""

    @abstractmethod
    def judge(self, index: int, values: Mapping[str, float]) -> MatchCounts:
        """Return how the predictions for a picture compare with its labels."""

    @abstractmethod
    def mistakes(self, index: int, values: Mapping[str, float]) -> Sequence[PictureLayer]:
        """Return layers with the false and the missed ones of a picture, in its pixels."""

    @abstractmethod
    def curve(self, values: Mapping[str, float]) -> Sequence[tuple[float, float]]:
        """Return recall and precision of all pictures, which have been judged, at each score."""


class Look:
    """The view of one model for one picture after another; its weights must not change meanwhile.

    A subclass overrides `controls`, `see` and `shown`, and `ask` if a control changes what is explained. picture: the
    latest picture (3, H, W) uint8, in whose pixels positions are; the values of controls are given by their names.
    takes_hints: whether the user may give colours at pixels. Raises PellucidError for models that predict nothing.
    """

    takes_hints = False

    def __init__(self, task: Any, model: Any) -> None:
        self.task = task
        self.model = model
        self.predictor = task.predictor(model)
        self.picture: Tensor | None = None
        self.image: Any = None  # the picture as the predictor reads it
        self.predicted: Predicted | None = None

    @property
    def controls(self) -> Sequence[LookControl]:
        """The controls; by default none."""
        return ()

    def see(self, picture: "Tensor") -> None:
        """Compute what the controls do not change, for a picture (3, H, W) uint8; by default the prediction.

        A predictor that reads pictures as floats has cropped or resized them: then the network's input is shown.
        """
        self.read(picture)
        image = self.image
        (predicted,) = self.predictor.predict([(Picture("picture", "picture", lambda: image), image)])
        if not isinstance(predicted, Predicted):
            raise predicted
        self.predicted = predicted

    def read(self, picture: "Tensor") -> None:
        """Set `image` and `picture`."""
        import torch

        self.image = self.predictor.frame(picture)
        self.picture = picture
        if self.image.dtype != torch.uint8:
            pixels = (self.input * 255).round().clamp(0, 255).to(torch.uint8)
            self.picture = pixels[:3].expand(3, -1, -1).contiguous()

    @property
    def input(self) -> "Tensor":
        """The picture as the network's input, (C, h, w), 0 to 1."""
        return self.task.resize_to_input(self.model, self.image)

    @property
    def window(self) -> tuple[float, float, float, float]:
        """The part of the network's input that shows the picture: top, left, bottom and right from 0 to 1."""
        return 0.0, 0.0, 1.0, 1.0

    def shown(self, values: Mapping[str, float] = NO_VALUES, hints: Sequence[Hint] = ()) -> Shown:
        """Return what is shown of the latest picture.

        values: of controls by name, by default the initial ones. By default, these are the boxes, points, pixels and
        picture of the prediction, and each group of numbers among its values as bars.
        """
        predicted = self.predicted
        assert predicted is not None
        names = tuple(dict.fromkeys(predicted.labels or ()))
        layers: list[PictureLayer] = []
        if predicted.image is not None:
            layers.append(ImageLayer("prediction", True, predicted.image[:3].expand(3, -1, -1)))
        if predicted.mask is not None:
            layers.append(ClassLayer("classes", True, predicted.mask))
            names = predicted.labels or ()
        if predicted.boxes is not None:
            layers.append(BoxLayer("boxes", True, predicted.boxes, predicted.scores, _indices(predicted, names)))
        if predicted.points is not None:
            layers.append(PointLayer("points", True, predicted.points.reshape(-1, 3)))
        line = predicted.line.removeprefix("picture: ")
        return Shown(line, layers, _bars(predicted.values), names, label=predicted.label)

    def labelled(self, data: str | None) -> LabelledPictures:
        """Return held-out labelled pictures, of `data` or of the model's own data; by default, raises PellucidError.

        data: as for `Task.evaluate`.
        """
        raise PellucidError(f"labels are not compared here for a {self.task.model}; use `pellucid evaluate`")

    def ask(self, values: Mapping[str, float], choice: str | None, area: Area | None) -> ScoreToExplain:
        """Return the score that is explained; area: in pixels of `picture`. See `Task.score_to_explain`."""
        assert self.picture is not None
        x = self.input
        score = self.task.score_to_explain(self.model, x, choice, None if area is None else self.area_in(x, area))
        return score.of_pixels(x.shape[1:], self.picture.shape[1:], area)

    def area_in(self, x: "Tensor", area: Area) -> Area:
        """Return an area of the picture in pixels of the network's input, at least one pixel."""
        assert self.picture is not None
        first_row, first_column, last_row, last_column = self.window
        (height, width), (h, w) = self.picture.shape[1:], x.shape[1:]

        def scaled(position: float, length: int, start: float, end: float, side: int) -> float:
            return (start + position / length * (end - start)) * side

        top = int(scaled(area[0], height, first_row, last_row, h))
        left = int(scaled(area[1], width, first_column, last_column, w))
        bottom = round(scaled(area[2], height, first_row, last_row, h))
        right = round(scaled(area[3], width, first_column, last_column, w))
        top = min(top, h - 1)
        left = min(left, w - 1)
        return top, left, max(bottom, top + 1), max(right, left + 1)

    def value(self, values: Mapping[str, float], name: str) -> float:
        """Return the value of a control, by default its initial one."""
        initial = {control.name: control.value for control in self.controls}
        return values.get(name, initial[name])

    def cut(self, maps: "Tensor") -> "Tensor":
        """Return the part of maps (..., h, w) over the network's input that lies over the picture."""
        top, left, bottom, right = self.window
        height, width = maps.shape[-2:]
        rows = slice(round(top * height), max(round(bottom * height), round(top * height) + 1))
        columns = slice(round(left * width), max(round(right * width), round(left * width) + 1))
        return maps[..., rows, columns]


def _indices(predicted: Predicted, names: Sequence[str]) -> Any:
    """Return the index of the class of each box, None for boxes without a class."""
    import torch

    labels = predicted.labels
    return None if labels is None else torch.tensor([names.index(name) for name in labels])


def _bars(values: Mapping[str, Any]) -> list[NumberBar]:
    """Return the numbers in the first group of numbers among the values of a prediction."""
    for group_name, group in values.items():
        if isinstance(group, Mapping) and group and all(isinstance(value, float) for value in group.values()):
            is_fraction = group_name == "probabilities"
            return [NumberBar(str(name), value, is_fraction=is_fraction) for name, value in group.items()]
    return []
