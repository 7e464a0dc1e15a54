"""The session of one tab of the studio, which answers requests by the sessions of the views."""

import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.studio.data import DATA
from pellucid.studio.draw import DRAW
from pellucid.studio.draw.session import can_draw
from pellucid.studio.explain import EXPLAIN
from pellucid.studio.gestures import GESTURES
from pellucid.studio.inspect import INSPECT
from pellucid.studio.look import LOOK
from pellucid.studio.messages import MessageError, Reply, pack, read
from pellucid.studio.play import PLAY
from pellucid.studio.train import TRAIN
from pellucid.studio.view import Library


@dataclass(frozen=True)
class OpenStudio:
    """studio.open: read the views and models that the page can show."""


VIEWS = {view.name: view for view in (DRAW, PLAY, DATA, TRAIN, GESTURES, LOOK, EXPLAIN, INSPECT)}
if find_spec("pellucid.lessons") is not None:  # the folder may be left out
    from pellucid.studio.learn import LEARN

    VIEWS = {LEARN.name: LEARN} | VIEWS
REQUESTS = {"studio.open": OpenStudio} | {
    kind: fields for view in VIEWS.values() for kind, (fields, _) in view.kinds.items()
}


class Session:
    """One tab of the browser: the sessions of its views, each created by its first request or given in `sessions`."""

    def __init__(self, library: Library, sessions: Mapping[str, Any] | None = None) -> None:
        self.library = library.for_tab()
        self.sessions = dict(sessions or {})

    def answer(self, message: bytes) -> bytes:
        """Return the answer to a message: the reply to its request, or an error."""
        number = None
        try:
            kind, number, request = read(message, REQUESTS)
            reply = self.reply(kind, request)
            return pack(kind, number, reply.fields, reply.tensors)
        except MessageError as error:
            return pack("error", error.number, {"message": str(error)}, {})
        except PellucidError as error:
            return pack("error", number, {"message": str(error)}, {})
        except Exception as error:  # a bug in the studio: the session continues
            if threading.main_thread().is_alive():  # else Ctrl-C has ended the server during this request
                traceback.print_exc(file=sys.stderr)
            return pack("error", number, {"message": f"fault in the studio: {type(error).__name__}"}, {})

    def reply(self, kind: str, request: Any) -> Reply:
        """Return the reply to a request; raises PellucidError for an invalid one."""
        if isinstance(request, OpenStudio):
            views = [{"name": view.name, "title": view.title} for view in VIEWS.values()]
            first = self.library.first_view
            if first not in VIEWS:
                first = DRAW.name if can_draw(self.library.load(self.library.names[0])) else EXPLAIN.name
            return Reply({"views": views, "view": first, "models": self.library.names}, {})
        name = kind.partition(".")[0]
        if name not in self.sessions:
            self.sessions[name] = VIEWS[name].session(self.library)
        return VIEWS[name].kinds[kind][1](self.sessions[name], request)
