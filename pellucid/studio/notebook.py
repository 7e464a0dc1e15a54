"""Views of the studio in a notebook, whose kernel answers what they ask (extra `notebook`)."""

from collections.abc import Mapping

import anywidget
import traitlets

from pellucid.model import Model
from pellucid.studio.draw import DRAW, DrawSession
from pellucid.studio.embedded import document
from pellucid.studio.session import Session
from pellucid.studio.view import Library, View
from pellucid.trace import Trace

# The view runs in a frame of its own, which shares no style, no storage and no address with the notebook.
FRAME = """
function render({ model, el }) {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = model.get("title");
  frame.style.cssText = "width: 100%; height: 600px; border: 0;";
  frame.srcdoc = model.get("document");
  const take = ({ source, data }) => {
    if (source !== frame.contentWindow) return;
    if (data.pellucid === "ask") model.send({}, undefined, [data.bytes]);
    if (data.pellucid === "height") frame.style.height = `${data.height}px`;
  };
  const answer = (_, [{ buffer, byteOffset, byteLength }]) => {
    const bytes = buffer.slice(byteOffset, byteOffset + byteLength);
    frame.contentWindow?.postMessage({ pellucid: "answer", bytes }, "*");
  };
  addEventListener("message", take);
  model.on("msg:custom", answer);
  el.append(frame);
  return () => {
    removeEventListener("message", take);
    model.off("msg:custom", answer);
  };
}
export default { render };
"""


class StudioWidget(anywidget.AnyWidget):
    """A view of the studio as a widget; session: answers what the view asks. state: as for `embedded.document`."""

    _esm = FRAME
    title = traitlets.Unicode().tag(sync=True)
    document = traitlets.Unicode().tag(sync=True)

    def __init__(self, view: View, session: Session, state: Mapping[str, str]) -> None:
        super().__init__(title=view.title, document=document(view, state))
        self.on_msg(lambda _, content, buffers: self.send({}, [session.answer(bytes(buffers[0]))]))


def of_trace(trace: Trace) -> StudioWidget:
    """Return the view Draw of the first picture of a trace; PellucidError for a network that is no classifier."""
    settings = trace.settings
    model = Model(settings.net, loss=settings.loss, input_shape=tuple(settings.x.shape[1:]))
    model.params, model.classes = settings.params, settings.classes or None
    library = Library(("model",), lambda _: model)
    session = Session(library, {DRAW.name: DrawSession(library, settings.x[:1])})
    return StudioWidget(DRAW, session, {"fixed": "1", "label": str(int(settings.target[0]))})
