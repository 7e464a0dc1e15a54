"""The requests of the view Look, and its state for one tab: a model, and what it shows of the latest picture."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_known
from pellucid.explain import explain
from pellucid.explain.methods import MAGNITUDES
from pellucid.studio.look.cards import card_of
from pellucid.studio.messages import Reply
from pellucid.studio.pictures import family_for, sample, sample_names
from pellucid.studio.runs import modified
from pellucid.studio.view import Library
from pellucid.task import task_of
from pellucid.task.look import (
    BoxLayer,
    ClassLayer,
    Hint,
    ImageLayer,
    LabelledPictures,
    Look,
    MapLayer,
    PictureLayer,
    PointLayer,
    Shown,
)
from pellucid.task.score_to_explain import Area, ScoreToExplain

METHODS = ("gradcam", "lrp", "input_x_gradient", "saliency")  # quick ones; the view Explain has all
MAX_HINTS = 100
MAX_POINTS = 200  # of a curve of precision and recall
BUDGET = 0.5  # approximate seconds of comparing pictures with their labels, for one answer
MIN_SIDE, MAX_SIDE = 8, 640  # pixels of a frame


@dataclass(frozen=True)
class OpenLook:
    """look.open: model: one of the offered names; None for the first."""

    model: str | None = None


@dataclass(frozen=True)
class ListModels:
    """look.models: the names of all models that may be opened."""


@dataclass(frozen=True)
class ReadCard:
    """look.card: the task, the figure and a picture of a model."""

    model: str


@dataclass(frozen=True)
class ChangeLook:
    """look.change: show the latest picture with other values.

    values: of the controls, in their order; () for the initial ones. hints: x, y, red, green and blue of each. maps:
    the maps whose values are sent, each as its group and its name.
    """

    values: tuple[float, ...] = ()
    hints: tuple[tuple[int, ...], ...] = ()
    maps: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class SeePicture(ChangeLook):
    """look.picture: a sample, an upload, a frame (3, H, W) uint8, or the number of a labelled picture.

    Other fields are those of look.change.
    """

    labelled: int | None = None
    sample: str | None = None
    upload: str | None = None
    frame: Tensor | None = None


@dataclass(frozen=True)
class JudgePictures:
    """look.judge: compare predictions with labels, for the pictures from `start` on that the time limit allows.

    data: one of the paths of --data; None for the model's own data.
    """

    data: str | None = None
    start: int = 0
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class AskWhy:
    """look.why: explain the score `of` at a place, and with `against` its difference to that score.

    of: one of the choices; None for the score that the task chooses. against: another class; None for no difference.
    place: top, left, bottom and right in pixels of the picture.
    """

    values: tuple[float, ...] = ()
    of: str | None = None
    against: str | None = None
    place: tuple[int, ...] | None = None
    method: str = METHODS[0]


class LookSession:
    """One tab's model, and its view of the latest picture."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._look: Look | None = None
        self._labelled: tuple[str | None, LabelledPictures] | None = None  # with the path of the data
        self._index: int | None = None  # of the labelled picture that is shown

    @property
    def look(self) -> Look:
        """The open model's view; raises PellucidError before look.open."""
        if self._look is None:
            raise PellucidError("no model is open; send look.open first")
        return self._look

    def open(self, request: OpenLook) -> Reply:
        """Open a model; return its controls, and the pictures that are offered.

        A model that takes no pictures is refused; then the one before stays open.
        """
        name = self.library.names[0] if request.model is None else request.model
        model = self.library.open(name)
        task = task_of(model)
        look = task.look(model)
        kinds = sample_names()
        first = kinds[family_for(name, model.nominal_shape[0])][0]
        look.predictor.frame(sample(first))
        self._look = look
        self._labelled = self._index = None
        fields = {
            "model": name,
            "task": task.name,
            "controls": [vars(control) for control in look.controls],
            "takes_hints": look.takes_hints,
            "methods": METHODS,
            "kinds": [{"name": kind, "samples": names} for kind, names in kinds.items()],
            "sample": first,
            "uploads": self.library.uploads.names(),
            "data": self.library.runs.data_paths,
        }
        return Reply(fields, {})

    def models(self, request: ListModels) -> Reply:
        """Return the offered models by kind; stamp: changes when a run has been trained to its end."""
        runs = self.library.runs
        entries = [
            {"name": name, "kind": kind, "stamp": modified(runs.folder / name / "results.json") if kind == "run" else 0}
            for name, kind in self.library.offered.items()
        ]
        return Reply({"models": entries}, {})

    def card(self, request: ReadCard) -> Reply:
        """Return the card of a model; of one that cannot be shown, the reason."""
        check_known("no model", request.model, self.library.offered)
        try:
            fields, picture = card_of(self.library, request.model)
        except PellucidError as error:
            return Reply({"model": request.model, "fault": str(error)}, {})
        return Reply({"model": request.model, "fault": "", **fields}, {} if picture is None else {"picture": picture})

    def picture(self, request: SeePicture) -> Reply:
        """Show a picture."""
        look = self.look
        sources = (request.sample, request.upload, request.frame, request.labelled)
        if len([one for one in sources if one is not None]) != 1:
            raise PellucidError("look.picture takes a sample, an upload, a frame or a labelled picture")
        if request.labelled is not None:
            pictures = self._labelled_pictures()
            check(0 <= request.labelled < len(pictures.names), "labelled", "a labelled picture", request.labelled)
            raw = pictures.picture(request.labelled)
        elif request.frame is not None:
            raw = request.frame
            is_picture = raw.dtype == torch.uint8 and raw.dim() == 3 and raw.shape[0] == 3
            has_size = is_picture and all(MIN_SIDE <= side <= MAX_SIDE for side in raw.shape[1:])
            check(has_size, "frame", f"uint8 (3, H, W) with sides of {MIN_SIDE} to {MAX_SIDE}", tuple(raw.shape))
        elif request.sample is not None:
            raw = sample(request.sample)
        else:
            raw = self.library.uploads[request.upload or ""]
        look.see(raw)
        self._index = request.labelled
        reply = self.change(request)
        assert look.picture is not None
        return Reply(reply.fields, {"picture": look.picture, **reply.tensors})

    def change(self, request: ChangeLook) -> Reply:
        """Show the latest picture with the values of the request."""
        look = self._seen()
        check(len(request.hints) <= MAX_HINTS, "hints", f"at most {MAX_HINTS}", len(request.hints))
        hints = [_hint(values) for values in request.hints]
        values = self._values(request.values)
        shown = look.shown(values, hints)
        mistakes: Sequence[PictureLayer] = ()
        if self._index is not None:
            mistakes = self._labelled_pictures().mistakes(self._index, values)
            shown = replace(shown, layers=[*shown.layers, *mistakes])
        reply = _reply(shown, {tuple(one) for one in request.maps})
        if self._index is not None:
            for entry in reply.fields["layers"][len(shown.layers) - len(mistakes) :]:
                entry["mark"] = True
        return reply

    def judge(self, request: JudgePictures) -> Reply:
        """Return the numbers of right, false and missed ones in some labelled pictures, and at the end the curve."""
        data = request.data
        if data is not None:
            check_known("no data of --data", data, self.library.runs.data_paths)
        if self._labelled is None or self._labelled[0] != data:
            self._labelled = (data, self.look.labelled(data))
        pictures = self._labelled[1]
        values = self._values(request.values)
        count = len(pictures.names)
        check(0 <= request.start <= count, "start", f"from 0 to {count}", request.start)
        judged = list[tuple[int, ...]]()
        end = time.perf_counter() + BUDGET
        while request.start + len(judged) < count and time.perf_counter() < end:
            judged.append(pictures.judge(request.start + len(judged), values))
        is_done = request.start + len(judged) == count
        names = pictures.names[request.start : request.start + len(judged)]
        rows = [{"name": name, "counts": counts} for name, counts in zip(names, judged, strict=True)]
        curve = _thinned(pictures.curve(values)) if is_done else None
        return Reply({"rows": rows, "total": count, "available": pictures.available, "curve": curve}, {})

    def _labelled_pictures(self) -> LabelledPictures:
        if self._labelled is None:
            raise PellucidError("there are no labelled pictures yet; send look.judge first")
        return self._labelled[1]

    def _seen(self) -> Look:
        if self.look.picture is None:
            raise PellucidError("there is no picture yet; send look.picture first")
        return self.look

    def _values(self, values: tuple[float, ...]) -> dict[str, float]:
        """Return the values of the controls by name; raises PellucidError for values outside their ranges."""
        controls = self.look.controls
        check(len(values) in (0, len(controls)), "values", f"of {len(controls)} controls", len(values))
        by_name = dict[str, float]()
        for control, value in zip(controls, values, strict=bool(values)):
            check(control.low <= value <= control.high, control.name, f"{control.low:g} to {control.high:g}", value)
            by_name[control.name] = value
        return by_name

    def why(self, request: AskWhy) -> Reply:
        """Return the map of the score at a place of the picture, or of the difference of two scores."""
        look = self._seen()
        check_known("no method", request.method, METHODS)
        area = self._area(request.place)
        values = self._values(request.values)
        question, map_ = self._explained(values, request.of, area, request.method)
        classes = look.model.classes or [str(k) for k in range(len(question.choices))]
        of_class = None if question.chosen is None else question.choices[question.chosen]
        rivals = [one for one in question.choices if one in classes]  # coordinates and channels are no alternatives
        against = request.against
        if against is not None:
            check_known("no class", against, rivals)
        if of_class not in rivals or against == of_class:
            against = None  # the difference of a score to itself is 0 everywhere
        if against is not None:
            map_ = map_ - self._explained(values, against, area, request.method)[1]
        is_unsigned = request.method in MAGNITUDES and against is None
        fields = {
            "label": question.label,
            "against": against,
            "rivals": [one for one in rivals if of_class in rivals and one != of_class],
            "choices": question.choices,
            "scores": question.scores.tolist(),
            "are_logits": question.are_logits,
            "chosen": question.chosen,
            "input_place": None if area is None else question.area or look.area_in(look.input, area),
            "is_unsigned": is_unsigned,
        }
        return Reply(fields, {"map": look.cut(map_)})

    def _explained(
        self, values: dict[str, float], of: str | None, area: Area | None, method: str
    ) -> tuple[ScoreToExplain, Tensor]:
        """Return the question, and the map (h, w) over the network's input."""
        with torch.no_grad():
            question = self.look.ask(values, of, area)
        options = question.options.get(method, {})
        map_ = explain(question.net, question.params, question.x, method, question.target, **options)
        height, width = self.look.input.shape[1:]  # without padding
        return question, map_[0].sum(0).cpu()[:height, :width]

    def _area(self, place: tuple[int, ...] | None) -> Area | None:
        if place is None:
            return None
        picture = self._seen().picture
        assert picture is not None
        height, width = picture.shape[1:]
        if len(place) != 4 or not (0 <= place[0] < place[2] <= height and 0 <= place[1] < place[3] <= width):
            raise PellucidError(f"place must be top, left, bottom and right in a picture of {height}x{width}")
        top, left, bottom, right = place
        return top, left, bottom, right


def _thinned(curve: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Return at most about MAX_POINTS evenly chosen points."""
    return curve[:: max(1, len(curve) // MAX_POINTS)]


def _hint(values: tuple[int, ...]) -> Hint:
    is_colour = len(values) == 5 and min(values) >= 0 and max(values[2:]) <= 255
    check(is_colour, "hint", "x, y, red, green and blue", values)
    return Hint(values[0], values[1], (values[2], values[3], values[4]))


def _reply(shown: Shown, wanted: set[tuple[str, ...]]) -> Reply:
    """Return what is shown as a message; wanted: the group and the name of each map whose values are sent."""
    entries = list[dict[str, Any]]()
    tensors = dict[str, Tensor]()
    for k, layer in enumerate(shown.layers):
        entry = {"name": layer.name, "on": layer.is_on, "kind": _kind(layer), "about": layer.about}
        if isinstance(layer, MapLayer):
            entry["group"] = layer.group
            if (layer.group, layer.name) not in wanted:
                entries.append(entry)
                continue
        if isinstance(layer, ClassLayer):
            entry["without"] = layer.without_class
        if isinstance(layer, PointLayer):
            entry["names"] = layer.names
        for name, value in vars(layer).items():
            if isinstance(value, Tensor):
                tensors[f"{name}{k}"] = value
        entries.append(entry)
    bars = [bar._asdict() for bar in shown.bars]
    fields = {"line": shown.line, "label": shown.label, "layers": entries, "bars": bars, "classes": shown.classes}
    return Reply(fields, tensors)


KINDS = {BoxLayer: "boxes", MapLayer: "map", ClassLayer: "classes", PointLayer: "points", ImageLayer: "image"}


def _kind(layer: PictureLayer) -> str:
    return next(kind for type_, kind in KINDS.items() if isinstance(layer, type_))


HANDLERS: dict[str, tuple[type, Callable[[LookSession, Any], Reply]]] = {
    "look.open": (OpenLook, LookSession.open),
    "look.models": (ListModels, LookSession.models),
    "look.card": (ReadCard, LookSession.card),
    "look.picture": (SeePicture, LookSession.picture),
    "look.change": (ChangeLook, LookSession.change),
    "look.judge": (JudgePictures, LookSession.judge),
    "look.why": (AskWhy, LookSession.why),
}
