"""The application of `pellucid studio`: the files of the page, and a WebSocket with one session for each tab."""

import mimetypes
import os
import sys
import traceback
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, get_cancelled_exc_class
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from pellucid.errors import PellucidError
from pellucid.serve.limits import OnlyFrom, OnlyWithCookie
from pellucid.studio.draw import DRAW
from pellucid.studio.messages import MAX_MESSAGE, MessageError, Reply, pack, read
from pellucid.studio.train import TRAIN
from pellucid.studio.view import Library


@dataclass(frozen=True)
class OpenStudio:
    """studio.open: what the page can show."""


VIEWS = {view.name: view for view in (DRAW, TRAIN)}
REQUESTS = {"studio.open": OpenStudio} | {
    kind: fields for view in VIEWS.values() for kind, (fields, _) in view.kinds.items()
}
PAGE = Path(__file__).parent / "web"
TOO_BIG = 1009  # code of a closed WebSocket
mimetypes.add_type("text/javascript", ".js")  # some machines map it to text/plain, which no browser runs as a module


def application(library: Library, hosts: Collection[str], token: str, cookie: str) -> Starlette:
    """Return the application; hosts: see `OnlyFrom`; token, cookie: see `OnlyWithCookie`."""

    threads = CapacityLimiter(os.cpu_count() or 1)  # more of them would only wait for each other

    async def talk(socket: WebSocket) -> None:
        """Reply each message of one tab by one message, in order, until the tab closes."""
        await socket.accept()
        session = Session(library)
        # Cancelled: the server ends, and does not wait for an answer that takes long.
        with suppress(WebSocketDisconnect, get_cancelled_exc_class()):
            while (message := await socket.receive())["type"] != "websocket.disconnect":
                given = message.get("bytes") or (message.get("text") or "").encode()
                await socket.send_bytes(await run_sync(session.answer, given, limiter=threads))
                if len(given) > MAX_MESSAGE:
                    await socket.close(TOO_BIG)
                    return

    pages = [Mount(f"/{view.name}", StaticFiles(directory=view.page)) for view in VIEWS.values()]
    return Starlette(
        routes=[WebSocketRoute("/session", talk), *pages, Mount("/", StaticFiles(directory=PAGE, html=True))],
        middleware=[Middleware(OnlyFrom, hosts=hosts), Middleware(OnlyWithCookie, token=token, cookie=cookie)],
    )


class Session:
    """One tab of the browser: the session of each view, begun with its first message."""

    def __init__(self, library: Library) -> None:
        self.library, self.sessions = library, dict[str, Any]()

    def answer(self, message: bytes) -> bytes:
        """Return the answer to a message: what it asks for, or one error."""
        number = None
        try:
            kind, number, request = read(message, REQUESTS)
            found = self.reply(kind, request)
            return pack(kind, number, found.fields, found.tensors)
        except MessageError as error:
            return pack("error", error.number, {"message": str(error)}, {})
        except PellucidError as error:
            return pack("error", number, {"message": str(error)}, {})
        except Exception as error:  # a fault of ours: the session goes on
            traceback.print_exc(file=sys.stderr)
            return pack("error", number, {"message": f"fault in the studio: {type(error).__name__}"}, {})

    def reply(self, kind: str, request: Any) -> Reply:
        """Return what a request asks for."""
        if isinstance(request, OpenStudio):
            views = [{"name": view.name, "title": view.title} for view in VIEWS.values()]
            return Reply({"views": views, "models": self.library.names}, {})
        name = kind.partition(".")[0]
        if name not in self.sessions:
            self.sessions[name] = VIEWS[name].session(self.library)
        return VIEWS[name].kinds[kind][1](self.sessions[name], request)
