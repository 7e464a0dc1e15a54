"""Views of the studio as widgets of a notebook, whose kernel answers their requests (extra `notebook`)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.dataset import float_images
from pellucid.model import Model
from pellucid.predictor import PredictionList
from pellucid.run.history import History
from pellucid.studio.draw import DRAW, DrawSession
from pellucid.studio.embedded import document, key_of
from pellucid.studio.explain import EXPLAIN, ExplainSession
from pellucid.studio.messages import pack
from pellucid.studio.session import Session
from pellucid.studio.train import TRAIN
from pellucid.studio.view import Library
from pellucid.task import task_of
from pellucid.task.given_pictures import given_pictures
from pellucid.trace import Trace
from pellucid.training.examples import as_inputs

if TYPE_CHECKING:
    from pellucid.doctor import Diagnosis

MAX_PICTURES = 9  # pictures that a view offers

# The view runs in a separate frame, which shares no style, no storage and no address with the notebook.
FRAME = """
function render({ model, el }) {
  const view = String(Math.random()); // of several views of one widget each has a session of its own
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = model.get("title");
  frame.style.cssText = "width: 100%; height: 600px; border: 0;";
  frame.srcdoc = model.get("document");
  const take = ({ source, data }) => {
    if (source !== frame.contentWindow) return;
    if (data.pellucid === "ask") model.send({ view }, undefined, [data.bytes]);
    if (data.pellucid === "height") frame.style.height = `${data.height}px`;
  };
  const answer = (content, [{ buffer, byteOffset, byteLength }]) => {
    if (content.view !== view) return;
    const bytes = buffer.slice(byteOffset, byteOffset + byteLength);
    frame.contentWindow?.postMessage({ pellucid: "answer", bytes }, "*");
  };
  addEventListener("message", take);
  model.on("msg:custom", answer);
  el.append(frame);
  return () => {
    removeEventListener("message", take);
    model.off("msg:custom", answer);
    model.send({ view });
  };
}
export default { render };
"""


class StudioWidget(anywidget.AnyWidget):
    """A view of the studio as a widget.

    document: the result of `embedded.document`. begin: function that returns a session to answer the requests of one
    view, and raises PellucidError if there can be none; None if the document contains the answers.
    """

    _esm = FRAME
    title = traitlets.Unicode().tag(sync=True)
    document = traitlets.Unicode().tag(sync=True)

    def __init__(self, title: str, document: str, begin: Callable[[], Session] | None = None) -> None:
        super().__init__(title=title, document=document)
        if begin is None:
            return
        sessions, spare = dict[str, Session](), [begin()]  # sessions by view; one for the first view

        def take(_: Any, content: Mapping[str, str], buffers: Sequence[Any]) -> None:
            """Answer a request, or end the session of a closed view, whose message has no request."""
            view = content["view"]
            if not buffers:
                sessions.pop(view, None)
                return
            if view not in sessions:
                sessions[view] = spare.pop() if spare else begin()
            self.send({"view": view}, [sessions[view].answer(bytes(buffers[0]))])

        self.on_msg(take)


def of_trace(trace: Trace) -> StudioWidget:
    """Return the view Draw of the first picture of a trace; raises PellucidError if the network is no classifier."""
    settings = trace.settings
    model = Model(settings.net, loss=settings.loss, input_shape=tuple(settings.x.shape[1:]))
    model.params, model.classes = settings.params, settings.classes or None
    library = Library(("model",), lambda _: model)
    state = {"fixed": "1", "label": str(int(settings.target[0]))}

    def begin() -> Session:
        return Session(library, {DRAW.name: DrawSession(library, settings.x[:1])})

    return StudioWidget(DRAW.title, document(DRAW, state), begin)


def of_predictions(predictions: PredictionList) -> StudioWidget:
    """Return the view Explain of the first pictures of `Model.predict`; raises PellucidError without their model."""
    if predictions.model is None:
        raise PellucidError("these predictions do not know their model")
    task = task_of(predictions.model)
    with closing(given_pictures(predictions.argument, task.predictor(predictions.model))) as pictures_:
        read_pictures = (picture for picture in pictures_ if picture.file not in predictions.skipped)
        pictures = {
            one.file: task.resize_to_input(predictions.model, one.read()) for one in islice(read_pictures, MAX_PICTURES)
        }
    return _explained(predictions.model, pictures)


def explain(model: Model, x: Any) -> StudioWidget:
    """Return the view Explain of the first MAX_PICTURES of inputs (N, C, H, W) in the format of `Model.explain`."""
    return _explained(model, {f"input {k}": one for k, one in enumerate(float_images(as_inputs(x)[:MAX_PICTURES]))})


def _explained(model: Model, pictures: Mapping[str, Tensor]) -> StudioWidget:
    library = Library(("model",), lambda _: model)

    def begin() -> Session:
        return Session(library, {EXPLAIN.name: ExplainSession(library, pictures)})

    return StudioWidget(EXPLAIN.title, document(EXPLAIN, {"fixed": "1"}), begin)


def of_history(history: History) -> StudioWidget:
    """Return the curves of a training; raises PellucidError before the end of its first epoch."""
    if not history.rows:
        raise PellucidError("history: there is no finished epoch to show yet; fit first")
    return _record("History", {"rows": history.rows, "layers": history.layers})


def of_diagnosis(diagnosis: "Diagnosis") -> StudioWidget:
    """Return the findings of the doctor."""
    return _record("Doctor", {"rows": [], "layers": [], "diagnosis": diagnosis.to_json()})


def _record(title: str, fields: Mapping[str, Any]) -> StudioWidget:
    answers = {key_of(kind := "record.open", {}): pack(kind, 0, fields, {})}
    return StudioWidget(title, document(TRAIN, {}, answers, module="record"))
