"""The requests of the view Teach, and its state: collected frames, and the model that was fitted to them."""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_known
from pellucid.explain import explain
from pellucid.metrics.bootstrap import wilson
from pellucid.predictor import Picture, Predicted
from pellucid.recipe.watched import is_taught
from pellucid.studio.gestures.frames import (
    MAX_CLASSES,
    MAX_FRAMES,
    MAX_NAME,
    ClassFrames,
    Frame,
    check_picture,
    held_out,
)
from pellucid.studio.gestures.shortcut import middle_mask, shortcut_text
from pellucid.studio.gestures.taught import FRAMES_FOLDER, STEPS, Taught, save, teach
from pellucid.studio.messages import Reply
from pellucid.studio.view import Library
from pellucid.task import task_of

# With the last layer's maps (4 x 4), evidence lay anywhere; with these (8 x 8), LayerCAM found drawn shapes, and for a
# shortcut the background.
METHOD = "layercam"
LAYER = "features.stage5.block3"
PAGE = 24  # frames that are shown at once
MAX_KEPT = 3  # collections that are kept for pages that connect again
LOST = f"the frames of this page are gone: the studio keeps the {MAX_KEPT} collections opened last, until it ends"
RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class OpenGestures:
    """gestures.open: begin a collection of frames, or continue that of an earlier connection or of a saved run."""

    collection: str | None = None
    run: str | None = None


@dataclass(frozen=True)
class EditClass:
    """gestures.edit: add a class (name is None), rename it, or remove it (becomes is None)."""

    name: str | None = None
    becomes: str | None = None


@dataclass(frozen=True)
class CollectFrame:
    """gestures.collect: add a frame (3, H, W) uint8 to a class; stretch: the number of the hold of the button."""

    name: str
    stretch: int
    frame: Tensor


@dataclass(frozen=True)
class DropStretch:
    """gestures.drop: remove the frames of a stretch from a class."""

    name: str
    stretch: int


@dataclass(frozen=True)
class ReadFrames:
    """gestures.frames: read PAGE frames of a class; page: 0 is the newest, 1 those before."""

    name: str
    page: int = 0


@dataclass(frozen=True)
class RemoveFrame:
    """gestures.remove: remove the frame at an index, 0 for the oldest, from a class of `count` frames."""

    name: str
    index: int
    count: int


@dataclass(frozen=True)
class FitGestures:
    """gestures.fit: fit a model to the collected frames; kept: return the results of the latest fit instead."""

    kept: bool = False


@dataclass(frozen=True)
class ReadProgress:
    """gestures.progress: the step of the training of a collection, asked on another connection than the training."""

    collection: str


@dataclass(frozen=True)
class ReadHeldOut:
    """gestures.cell: the held-out frames of class `true` that are predicted as class `predicted`."""

    true: int
    predicted: int


@dataclass(frozen=True)
class PredictFrame:
    """gestures.predict: classify a frame (3, H, W) uint8."""

    frame: Tensor


@dataclass(frozen=True)
class ExplainFrame:
    """gestures.why: where the evidence for the class of the latest predicted frame lies."""


@dataclass(frozen=True)
class MoveThresholds:
    """gestures.thresholds: set the probability of "unsure", and the distance of "unlike anything"; None: as it is."""

    unsure: float | None = None
    unlike: float | None = None


@dataclass(frozen=True)
class SaveGestures:
    """gestures.save: write the model as a new run, name-N."""

    name: str = "gestures"


class Collected:
    """What one page has collected, which outlives its connection."""

    def __init__(self, frames: ClassFrames | None = None) -> None:
        self.frames = ClassFrames() if frames is None else frames
        self.taught: Taught | None = None
        self.results = Reply({}, {})  # of the latest fit
        self.step = 0  # of STEPS, of the training that runs; 0 without one
        self.lock = Lock()


class GestureSession:
    """One tab's collection of frames, and the model that was fitted to them."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.own = Collected()
        self.prepared: Tensor | None = None  # the latest frame that was predicted, as the predictor reads it

    def open(self, request: OpenGestures) -> Reply:
        """Return the collection of an earlier connection, or a new one, with the frames of a saved run if named."""
        kept: dict[str, Collected] = self.library.kept
        name = request.collection
        saved = self._saved_runs()
        if request.run is not None:
            check_known("no saved run", request.run, saved)
            self.own = Collected(ClassFrames.read(self.library.runs.path(request.run) / FRAMES_FOLDER))
            name = None
        elif name is None and self.own in kept.values():
            self.own = Collected()  # not the one that this connection has opened
        is_lost = name is not None and name not in kept
        if name is None or is_lost:
            name = secrets.token_urlsafe(8)
            kept[name] = self.own
        kept[name] = kept.pop(name)  # the last of the dict is the one that was opened last
        while len(kept) > MAX_KEPT:
            kept.pop(next(iter(kept)))
        self.own = kept[name]
        limits = {"classes": MAX_CLASSES, "frames": MAX_FRAMES, "name": MAX_NAME}
        latest = {
            f"frame{k}": frames[-1].picture for k, frames in enumerate(self.own.frames.by_class.values()) if frames
        }
        fields = {"collection": name, "limits": limits, "is_taught": self.own.taught is not None, "saved": saved}
        fields["note"] = LOST if is_lost else ""
        return Reply({**fields, "classes": self._classes()}, latest)

    def _saved_runs(self) -> list[str]:
        """Return the names of the runs that this view saved, the newest first."""
        runs = self.library.runs
        return [
            name for name in runs.names() if is_taught(runs.path(name)) and (runs.path(name) / FRAMES_FOLDER).is_dir()
        ]

    def _classes(self) -> list[dict[str, Any]]:
        """Return the name, the number of frames, and the newest stretch of each class."""
        return [
            {"name": name, "frames": len(frames), "stretch": frames[-1].stretch if frames else None}
            for name, frames in self.own.frames.by_class.items()
        ]

    def edit(self, request: EditClass) -> Reply:
        """Add, rename or remove a class."""
        frames = self.own.frames
        if request.name is None and request.becomes is None:
            raise PellucidError("gestures.edit takes the name of a class, or the name that it gets")
        if request.name is None:
            frames.add_class(request.becomes or "")
        elif request.becomes is None:
            frames.remove(request.name)
        else:
            frames.rename(request.name, request.becomes)
        return Reply({"classes": self._classes()}, {})

    def collect(self, request: CollectFrame) -> Reply:
        """Add a frame to a class."""
        self.own.frames.add(request.name, Frame(request.stretch, request.frame))
        return Reply({"name": request.name, "count": len(self.own.frames.of(request.name))}, {})

    def drop(self, request: DropStretch) -> Reply:
        """Remove a stretch from a class; return the frame that is then its latest, if any."""
        self.own.frames.remove_stretch(request.name, request.stretch)
        return self._remaining(request.name)

    def _remaining(self, name: str) -> Reply:
        frames = self.own.frames.of(name)
        return Reply({"classes": self._classes()}, {"frame": frames[-1].picture} if frames else {})

    def read_frames(self, request: ReadFrames) -> Reply:
        """Return frames of a class in the order of time; a page beyond the oldest is the oldest."""
        frames = self.own.frames.of(request.name)
        check(request.page >= 0, "page", "at least 0", request.page)
        page = min(request.page, max(0, len(frames) - 1) // PAGE)
        end = len(frames) - page * PAGE
        first = max(0, end - PAGE)
        tensors = {f"frame{k}": frame.picture for k, frame in enumerate(frames[first:end])}
        are_held_out = held_out([frame.stretch for frame in frames])[first:end]
        return Reply({"name": request.name, "page": page, "first": first, "held_out": are_held_out}, tensors)

    def remove_frame(self, request: RemoveFrame) -> Reply:
        """Remove a frame from a class; return the frame that is then its latest, if any."""
        self.own.frames.remove_frame(request.name, request.index, request.count)
        return self._remaining(request.name)

    def fit(self, request: FitGestures) -> Reply:
        """Fit a model; return its results on the held-out frames, remarks, and a map for each shortcut."""
        if request.kept:
            return self._kept_results()
        began = time.perf_counter()
        try:
            taught = teach(self.own.frames, self._begin)
        finally:
            self._begin(0)
        self.own.taught = taught
        self.prepared = None
        parts = taught.collection
        tensors = dict[str, Tensor]()
        for k, shortcut in enumerate(taught.shortcuts):
            label = shortcut.classes[0]
            picture = parts.train.x[int((parts.train.y == label).nonzero()[0])]
            tensors[f"picture{k}"] = picture
            tensors[f"map{k}"] = self._map(taught, picture)[1]
        fields = {
            "classes": parts.classes,
            "counts": taught.tested.counts.tolist(),
            "accuracy": taught.accuracy,
            "interval": wilson(int(taught.tested.counts.diagonal().sum()), len(parts.test)),
            "train": len(parts.train),
            "answered": taught.answered,
            **self._thresholds(taught),
            "remarks": taught.remarks,
            "shortcuts": [shortcut_text(shortcut, parts.classes) for shortcut in taught.shortcuts],
            "seconds": time.perf_counter() - began,
        }
        self.own.results = Reply(fields, tensors)
        return self.own.results

    def _begin(self, step: int) -> None:
        self.own.step = step

    def progress(self, request: ReadProgress) -> Reply:
        """Return the number of the step of a training, 0 without one, and the names of all steps."""
        own = self.library.kept.get(request.collection)
        return Reply({"step": 0 if own is None else own.step, "steps": STEPS}, {})

    def _kept_results(self) -> Reply:
        """Return the results of the latest fit, the thresholds as they are, and whether the frames are still these."""
        taught = self._taught()
        state = {"moved": self._thresholds(taught), "is_current": taught.frames.are_same(self.own.frames)}
        return Reply({**self.own.results.fields, **state}, self.own.results.tensors)

    def _thresholds(self, taught: Taught) -> dict[str, float | None]:
        confidence, familiarity = taught.model.confidence, taught.model.familiarity
        return {
            "unsure": None if confidence is None else confidence.threshold,
            "unlike": None if familiarity is None else familiarity.threshold,
        }

    def move_thresholds(self, request: MoveThresholds) -> Reply:
        """Set thresholds of the model, which a saved run keeps."""
        taught = self._taught()
        taught.move_thresholds(request.unsure, request.unlike)
        return Reply(self._thresholds(taught), {})

    def _taught(self) -> Taught:
        if self.own.taught is None:
            raise PellucidError("no model is trained yet; collect frames of two classes, and train one")
        return self.own.taught

    def cell(self, request: ReadHeldOut) -> Reply:
        """Return the first held-out frames of a cell of the confusion matrix, as squares, their number and ratios."""
        taught = self._taught()
        reply = taught.tested.reply(request.true, request.predicted)
        pictures = taught.frames.held_out(taught.collection.classes[request.true])
        indices = taught.tested.cell(request.true, request.predicted) - int((taught.tested.true < request.true).sum())
        ratios = [pictures[k].shape[2] / pictures[k].shape[1] for k in indices.tolist()]
        return Reply({**reply.fields, "ratios": ratios}, reply.tensors)

    def predict(self, request: PredictFrame) -> Reply:
        """Return the probability of each class for a frame, and whether the answer is unsure or unfamiliar."""
        model = self._taught().model
        check_picture(request.frame)
        predictor = task_of(model).predictor(model)
        prepared = predictor.frame(request.frame)
        (output,) = predictor.predict([(Picture("frame", "frame", lambda: prepared), prepared)])
        if not isinstance(output, Predicted):
            raise output
        self.prepared = prepared
        values, confidence = output.values, model.confidence
        probability = output.confidence or 0.0
        fields = {
            "label": output.label,
            "probabilities": [*values["probabilities"].values()],
            "is_unsure": confidence is not None and probability < confidence.threshold,
            "is_unlike": bool(values["unfamiliar"]),
            "distance": values["distance"],
            "limit": values["distance_threshold"],
        }
        return Reply(fields, {})

    def why(self, request: ExplainFrame) -> Reply:
        """Return the map of the latest predicted frame, and the part of it that lies at the edge."""
        taught = self._taught()
        if self.prepared is None:
            raise PellucidError("no frame is predicted yet; send gestures.predict first")
        label, plane = self._map(taught, self.prepared)
        total = float(plane.sum())
        is_edge = ~middle_mask(*plane.shape)
        edge = float(plane[is_edge].sum())
        shortcut = taught.shortcut_of(taught.collection.classes.index(label))
        area = float(is_edge.double().mean())
        fields = {"label": label, "edge": edge / total if total else None, "area": area, "shortcut": shortcut}
        return Reply(fields, {"map": plane})

    def _map(self, taught: Taught, picture: Tensor) -> tuple[str, Tensor]:
        """Return the class of a picture, and the map (H, W) of where the evidence for it lies."""
        task = task_of(taught.model)
        with torch.no_grad():
            question = task.score_to_explain(taught.model, task.resize_to_input(taught.model, picture), None, None)
        map_ = explain(question.net, question.params, question.x, METHOD, question.target, layer=LAYER)
        return question.label, map_[0].sum(0).cpu()

    def save(self, request: SaveGestures) -> Reply:
        """Write the model as a new run folder."""
        taught = self._taught()
        check(bool(RUN_NAME.fullmatch(request.name)), "name", "1 to 40 letters, digits, - or _", request.name[:60])
        path = save(taught, self.library.runs.folder, request.name)
        return Reply({"run": path.name, "path": str(path)}, {})


Handler = Callable[[GestureSession, Any], Reply]


def _locked(handler: Handler) -> Handler:
    """Return a handler that waits for another connection of the same page, which may still be fitting."""

    def answer(session: GestureSession, request: Any) -> Reply:
        with session.own.lock:
            return handler(session, request)

    return answer


HANDLERS: dict[str, tuple[type, Handler]] = {
    "gestures.open": (OpenGestures, GestureSession.open),
    "gestures.edit": (EditClass, _locked(GestureSession.edit)),
    "gestures.collect": (CollectFrame, _locked(GestureSession.collect)),
    "gestures.drop": (DropStretch, _locked(GestureSession.drop)),
    "gestures.frames": (ReadFrames, _locked(GestureSession.read_frames)),
    "gestures.remove": (RemoveFrame, _locked(GestureSession.remove_frame)),
    "gestures.fit": (FitGestures, _locked(GestureSession.fit)),
    "gestures.progress": (ReadProgress, GestureSession.progress),
    "gestures.cell": (ReadHeldOut, _locked(GestureSession.cell)),
    "gestures.predict": (PredictFrame, _locked(GestureSession.predict)),
    "gestures.why": (ExplainFrame, _locked(GestureSession.why)),
    "gestures.thresholds": (MoveThresholds, _locked(GestureSession.move_thresholds)),
    "gestures.save": (SaveGestures, _locked(GestureSession.save)),
}
