"""The protocol of the studio: each malformed message is answered by one error, and the session continues."""

import json
import random
from typing import Any

import pytest
import torch

from pellucid.base.limits import MAX_MESSAGE_BYTES
from pellucid.base.settings.annotations import arguments_of
from pellucid.studio.messages import pack
from pellucid.studio.session import REQUESTS
from tests.studio.talk import Tab

VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        -1,
        0.5,
        10**30,
        -(10**30),
        "",
        "x",
        "../../etc/passwd",
        "\x00",
        "💥",
        "a" * 10_000,
        "__class__",
    ),
    *(
        [],
        [1],
        {},
        {"a": 1},
        [[[]]],
        "head.scores.weight[99, 99]",
        "head.scores.weight[",
        "loss",
        "x[0]",
        1e308,
        -0.0,
        "nan",
    ),
]


@pytest.fixture(scope="module")
def tab() -> Tab:
    tab = Tab()
    tab.draw(label=3)
    tab.ask("explain.open")
    tab.ask("explain.picture", sample="digit 3")
    tab.ask("explain.aim")
    tab.ask("explain.run", method="lrp")
    return tab


def still_alive(tab: Tab) -> bool:
    return tab.ask("draw.run")["kind"] == "draw.run"


def is_error(tab: Tab, message: bytes) -> bool:
    header, tensors = tab.send(message)
    return header["kind"] == "error" and bool(header["message"]) and not tensors


def raw(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(4, "little") + text + body


def test_bytes_that_are_not_a_message_are_refused(tab: Tab) -> None:
    rng = random.Random(0)
    broken = [b"", b"{", b"\0\0\0", b"\xff" * 4, raw(b""), raw(b"\xff\xfe"), raw(b"[" * 100_000), raw(b"1" * 10_000)]
    broken += [raw(value) for value in VALUES] + [
        bytes(MAX_MESSAGE_BYTES + 1),
        raw(b'{"v": NaN}'),
        raw(b'{"id": Infinity}'),
    ]
    broken += [rng.randbytes(rng.randrange(300)) for _ in range(200)]
    good = pack("draw.run", 1, {}, {"picture": torch.zeros(28, 28, dtype=torch.uint8)})
    broken += [good[: rng.randrange(len(good))] for _ in range(50)]
    assert [message for message in broken if not is_error(tab, message)] == []
    assert still_alive(tab)


def test_wrong_values_of_every_kind_of_field_are_refused(tab: Tab) -> None:
    cases = 0
    for kind, target in REQUESTS.items():
        known = arguments_of(target)
        for name in [*known, "v", "kind", "id", "tensors", "surplus"]:
            for value in VALUES:
                header = {"v": 1, "kind": kind, "id": 7, "path": "head.scores", "row": 0, "what": "x[0, 0, 14, 14]"}
                header |= {"digit": 3, "rate": 0.1, "label": None, "method": "lrp", "start": 0, "map": 0}
                header = {key: one for key, one in header.items() if key in {*known, "v", "kind", "id"}} | {name: value}
                answered, _ = tab.send(raw(header))
                assert answered["kind"] in {kind, "error"}, header
                assert "fault" not in answered.get("message", ""), (header, answered)
                assert name not in ("surplus", "v", "kind", "id") or answered["kind"] == "error"
                cases += 1
    assert cases > 200
    tab.ask("draw.open")
    tab.draw(label=3)
    assert still_alive(tab)


def test_a_value_of_another_type_is_named(tab: Tab) -> None:
    tab.draw(label=3)
    for kind, fields, message in [
        ("draw.run", {"label": "3"}, "draw.run: label must be a whole number or 'null', not '3'"),
        ("draw.run", {"label": 10}, "label must be from 0 to 9, not 10"),
        ("draw.explain", {}, "draw.explain lacks the field 'what'"),
        ("draw.explain", {"what": "head.scores.weights[0, 0]"}, "did you mean 'head.scores.weight'"),
        ("draw.open", {"model": "../model.safetensors"}, "no model '../model.safetensors'"),
        ("draw.weights", {"path": "head.scores"}, "either row or col"),
        ("draw.weights", {"path": "head.scores", "row": 10}, "0 to 9"),
        ("draw.step", {"rate": 0}, "rate must be a number above 0"),
        ("draw.sample", {"name": "11"}, "no sample '11'"),
        ("draw.nothing", {}, "no kind of message 'draw.nothing'"),
    ]:
        header, _ = tab.send(pack(kind, 1, fields, {}))
        assert (header["kind"], message in header["message"]) == ("error", True), header["message"]


def test_tensors_that_do_not_fit_are_refused(tab: Tab) -> None:
    def table(**entry: Any) -> dict[str, Any]:
        return {
            "v": 1,
            "kind": "draw.run",
            "id": 1,
            "tensors": {"picture": {"dtype": "uint8", "shape": [28, 28], **entry}},
        }

    ink = bytes([255 if 300 < k < 400 else 0 for k in range(784)])
    header, tensors = tab.send(raw(table(), ink))
    assert (header["kind"], tensors["x"].shape) == ("draw.run", (1, 28, 28))
    shapes: list[Any] = [
        [784],
        [28, 28, 1],
        [0, 28],
        [-28, -28],
        [28.0, 28],
        "28",
        None,
        [1, 784],
        [2**40, 2**40],
        [True, 784],
        [[28], 28],
    ]
    assert all(is_error(tab, raw(table(shape=shape), ink)) for shape in shapes)
    dtypes = ["float32", "float64", "int8", "object", None, 1, [], "O", "V784"]
    assert all(is_error(tab, raw(table(dtype=dtype), ink)) for dtype in dtypes)
    assert is_error(tab, raw(table(), ink + b"0"))
    assert is_error(tab, raw(table(), bytes(784)))  # blank
    assert is_error(tab, raw({**table(), "tensors": {}}, b"0"))
    assert still_alive(tab)


def test_messages_of_a_session_without_a_drawing_are_refused() -> None:
    tab = Tab()
    for kind, fields in [
        ("draw.run", {}),
        ("draw.explain", {"what": "x"}),
        ("draw.check", {"what": "x"}),
        ("draw.step", {"rate": 1}),
    ]:
        assert "there is no drawing yet" in tab.ask(kind, **fields)["message"]
    assert tab.ask("draw.undo")["kind"] == "error"
