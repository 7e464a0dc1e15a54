"""`pellucid studio` as a process: it starts, prints its address, answers over a real socket, and ends with Ctrl-C."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from pellucid.cli.main import main

websockets = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")


class Started(NamedTuple):
    """A server as a process; address: with the token; seconds: until the address was printed."""

    process: subprocess.Popen[str]
    address: str
    seconds: float

    @property
    def host(self) -> str:
        return self.address.split("/")[2]


@contextmanager
def studio(*options: str) -> Iterator[Started]:
    command = [sys.executable, "-m", "pellucid", "studio", "--no-open", "--port", "0", *options]
    began = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - began
    try:
        match = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line)
        assert match, line
        yield Started(process, match[0], seconds)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode in {0, 130, -signal.SIGKILL}  # the last: by a test
    assert "Traceback" not in errors, errors


@pytest.mark.slow
def test_the_studio_answers_over_a_socket_and_ends_with_ctrl_c() -> None:
    with studio() as started:
        with urllib.request.urlopen(started.address, timeout=30) as opened:
            cookie = opened.headers["Set-Cookie"].split(";")[0]
        headers = {"Cookie": cookie}
        where, origin = f"ws://{started.host}/session", f"http://{started.host}"
        with websockets.connect(where, origin=origin, additional_headers=headers) as tab:
            text = b'{"v": 1, "kind": "draw.open", "id": 1}'
            tab.send(len(text).to_bytes(4, "little") + text)
            answered = tab.recv()
            assert isinstance(answered, bytes)
            header = json.loads(answered[4 : 4 + int.from_bytes(answered[:4], "little")])
            assert header["classes"] == [*"0123456789"]
            tab.send("text")
            assert b'"error"' in tab.recv()
            started.process.send_signal(signal.SIGINT)  # while a tab is connected
            assert started.process.wait(20) in {0, 130}


@pytest.mark.slow
def test_a_detector_opens_at_the_view_that_explains_it() -> None:
    with studio("bccd") as started:
        with urllib.request.urlopen(started.address, timeout=30) as opened:
            headers = {"Cookie": opened.headers["Set-Cookie"].split(";")[0]}
        where, origin = f"ws://{started.host}/session", f"http://{started.host}"
        with websockets.connect(where, origin=origin, additional_headers=headers) as tab:
            answers = {}
            for kind in ("studio.open", "draw.open", "explain.open"):
                text = json.dumps({"v": 1, "kind": kind, "id": 1}).encode()
                tab.send(len(text).to_bytes(4, "little") + text)
                answered = tab.recv()
                assert isinstance(answered, bytes)
                answers[kind] = json.loads(answered[4 : 4 + int.from_bytes(answered[:4], "little")])
    assert answers["studio.open"]["view"] == "explain"
    assert "bccd" not in answers["draw.open"]["models"]
    assert (answers["explain.open"]["model"], answers["explain.open"]["sample"]) == ("bccd", "cells 0")


def test_models_that_the_page_cannot_show_are_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studio", "no-such-model", "--no-open"]) == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["studio", "--no-open", "--port", str(taken.getsockname()[1])]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2, errors
