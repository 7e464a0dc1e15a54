"""A view of the studio as one HTML document, which needs no other file."""

import base64
import json
import math
import posixpath
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.report.page import escaped
from pellucid.studio.messages import pack
from pellucid.studio.session import REQUESTS, VIEWS, Session
from pellucid.studio.view import View

WEB = Path(__file__).parent / "web"
IMPORT = re.compile(r'(\bfrom |\bimport )"(/?\.?[\w./]+)"')
DOCUMENT = Path(__file__).with_suffix(".html")


def document(
    view: View,
    state: Mapping[str, str],
    answers: Mapping[str, bytes] | None = None,
    module: str = "view",
    title: str | None = None,
) -> str:
    """Return a document that shows a view.

    state: the parameters that the address of the studio would have. answers: the result of `recorded`; None for a
    document in a frame whose parent page answers the requests, see `embed.js`. module: name of the module to start, in
    the view's folder. title: title of the document, None for the view's title.
    """
    embedded_values: dict[str, Any] = {"module": f"{view.name}/{module}.js", "state": dict(state), "answers": None}
    if answers is not None:
        embedded_values["answers"] = {key: base64.b64encode(answer).decode() for key, answer in answers.items()}
    styles = [WEB / "style.css", *(one.page / "view.css" for one in _with_used(view))]
    return DOCUMENT.read_text(encoding="utf-8").format(
        title=escaped(view.title if title is None else title),
        style="".join(path.read_text(encoding="utf-8") for path in styles),
        modules=json.dumps({"imports": modules(view)}),
        given=json.dumps(embedded_values).replace("<", "\\u003c"),  # no text may contain </script>
    )


def modules(view: View) -> dict[str, str]:
    """Return the JavaScript modules of a view as data URLs, by name; they import each other by these names."""
    files = {"embed.js": WEB / "embed.js"}
    files |= {f"core/{path.name}": path for path in (WEB / "core").glob("*.js")}
    files |= {f"{one.name}/{path.name}": path for one in _with_used(view) for path in one.page.glob("*.js")}
    return {name: _address(name, path.read_text(encoding="utf-8")) for name, path in files.items()}


def _with_used(view: View) -> list[View]:
    return [*(VIEWS[name] for name in view.uses), view]


def _address(name: str, text: str) -> str:
    def named(found: re.Match[str]) -> str:
        start, given = found.groups()
        absolute = posixpath.normpath(posixpath.join("/", posixpath.dirname(name), given))
        return f'{start}"{absolute[1:]}"'

    return f"data:text/javascript;base64,{base64.b64encode(IMPORT.sub(named, text).encode()).decode()}"


def recorded(
    session: Session, requests: Iterable[tuple[str, dict[str, Any]]], max_bytes: float = math.inf
) -> dict[str, bytes]:
    """Return the answers of a session to requests (kind and fields), in order, by the key of `key_of`.

    max_bytes: size of all answers after which the remaining requests are left out and not computed.
    """
    answers, n_bytes = dict[str, bytes](), 0
    for number, (kind, fields) in enumerate(requests):
        try:
            reply = session.reply(kind, REQUESTS[kind](**fields))
            answer = pack(kind, number, reply.fields, reply.tensors)
        except PellucidError as error:
            answer = pack("error", number, {"message": str(error)}, {})
        answers[key_of(kind, fields)] = answer
        if (n_bytes := n_bytes + len(answer)) > max_bytes:
            break
    return answers


def key_of(kind: str, fields: Mapping[str, Any]) -> str:
    """Return the key by which `embed.js` looks up the answer to a request."""
    given_fields = sorted([key, value] for key, value in fields.items() if value is not None)
    return f"{kind} {json.dumps(given_fields, separators=(',', ':'), ensure_ascii=False)}"
