"""A client of the studio for tests without a browser: the session of one tab."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.base.settings.annotations import arguments_of
from pellucid.model import Model
from pellucid.studio.messages import pack
from pellucid.studio.session import REQUESTS, Session
from pellucid.studio.view import Library

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "studio.md"
ROWS = {  # the fields of a request and of its answer, as they are written on the page, by its kind
    cells[1].strip().strip("`"): (cells[2], cells[3])
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| `\w+\.\w+` \|", line) and len(cells := line.split("|")) == 5
}
HEADER = {"v", "kind", "id", "tensors"}
LIBRARY = Library(("mnist-mlp-100", "mnist-lenet"), Model.load)


def parsed(message: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the header and the tensors of a message, whose format is defined in docs/reference/studio.md."""
    length = int.from_bytes(message[:4], "little")
    header, start = json.loads(message[4 : 4 + length]), 4 + length
    tensors = dict[str, Tensor]()
    for name, entry in header["tensors"].items():
        count, dtype = int(np.prod(entry["shape"])), np.dtype({"float32": "<f4", "uint8": "u1"}[entry["dtype"]])
        end = start + count * dtype.itemsize
        tensors[name] = torch.tensor(np.frombuffer(message[start:end], dtype).reshape(entry["shape"]))
        start = end
    assert start == len(message)
    return header, tensors


def names(text: str) -> set[str]:
    """Return the words in backticks, without example values such as `"head.weight"`."""
    return set(re.findall(r"`(\w+)`", text))


def answer_names(kind: str) -> set[str]:
    """Return the names in the answer of a request on the page, and of the answers that it refers to ("as of ...")."""
    text = ROWS[kind][1]
    return names(text).union(*(answer_names(other) for other in re.findall(r"`(\w+\.\w+)`", text) if other in ROWS))


class Tab:
    """A session of the studio, with methods that send requests and return the answers."""

    def __init__(self, library: Library = LIBRARY) -> None:
        self.session, self.asked = Session(library), 0

    def send(self, message: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return parsed(self.session.answer(message))

    def ask(self, kind: str, tensors: dict[str, Tensor] | None = None, **fields: Any) -> Any:
        """Send a request; return the fields of the answer, with its tensors; an error has the kind "error"."""
        self.asked += 1
        header, result = self.send(pack(kind, self.asked, fields, tensors or {}))
        assert header["v"] == 1
        assert header["id"] == self.asked
        assert header["kind"] in {kind, "error"}
        if header["kind"] == kind and kind in ROWS:
            fields_of_answer = header.keys() - HEADER - arguments_of(REQUESTS[kind]).keys()
            assert fields_of_answer - answer_names(kind) == set(), f"name them in the row of {kind} in {PAGE}"
        return {**header, "tensors": result}

    def draw(self, digit: int = 3, n: int = 0, **fields: Any) -> Any:
        picture = self.ask("draw.sample", name=str(digit), n=n)["tensors"]["picture"]
        return self.ask("draw.run", {"picture": picture}, **fields)
