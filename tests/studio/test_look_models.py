"""Models of Look that are broken or dropped, requests that do not fit, and the samples."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from pellucid.base import limits
from pellucid.combine import Sequential
from pellucid.command.models import open_network
from pellucid.layers import Dense, Flatten
from pellucid.losses import Quadratic
from pellucid.model import Model
from pellucid.studio.app import application
from pellucid.studio.look.cards import figure_of
from pellucid.studio.opened_files import MAX_DROPPED, OpenedFiles
from pellucid.studio.runs import Runs
from pellucid.studio.serve import limits as server_limits
from pellucid.studio.view import Library
from tests.cases import mostly_heavy
from tests.studio.talk import Tab
from tests.studio.test_security import COOKIE, FOREIGN_HOSTS, HOST, ORIGINS, TOKEN


@pytest.mark.heavy
@pytest.mark.slow
def test_a_broken_file_says_why_and_breaks_no_other_model(tmp_path: Path) -> None:
    Model.load("mnist-lenet").save(tmp_path / "good.safetensors")
    (tmp_path / "broken.onnx").write_bytes(b"nonsense")
    damaged = bytearray((tmp_path / "good.safetensors").read_bytes())
    damaged[-100] ^= 255
    (tmp_path / "damaged.safetensors").write_bytes(damaged)
    (tmp_path / "link.onnx").symlink_to(tmp_path / "broken.onnx")
    tab = Tab(Library(("mnist-lenet",), open_network, Runs(tmp_path), ("bccd", "backbone")))
    kinds = {entry["name"]: entry["kind"] for entry in tab.ask("look.models")["models"]}
    files = {"broken.onnx": "file", "damaged.safetensors": "file", "good.safetensors": "file"}
    assert kinds == {"mnist-lenet": "command line", "bccd": "shipped", "backbone": "shipped", **files}
    assert tab.ask("look.open", model="mnist-lenet")["task"] == "classification"
    for name, words in (("broken.onnx", "broken.onnx"), ("damaged.safetensors", "damaged"), ("backbone", "no classes")):
        card = tab.ask("look.card", model=name)
        assert words in card["fault"]
        assert str(tmp_path) not in card["fault"]
        assert words in tab.ask("look.open", model=name)["message"]
    assert tab.ask("look.picture", sample="digit 3")["label"]  # of the model that is still open
    card = tab.ask("look.card", model="good.safetensors")
    assert (card["fault"], card["task"]) == ("", "classification")
    assert tab.ask("look.card", model="bccd")["figure"] == "AP50 90.35 %, AP 56.35 % on 87 images of bccd"
    assert tab.ask("look.card", model="../secret.onnx")["kind"] == "error"
    assert tab.ask("explain.open", model="good.safetensors")["model"] == "good.safetensors"


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("pennfudan", "box AP50 95.18 %, AP 61.74 % on 25 images of pennfudan"),
        ("camvid", "mean IoU 62.46 % on 101 images of camvid"),
        ("faces", "normalised mean error 4.93 % on 300 images of faces"),
        ("mnist-lenet", "test accuracy 99.26 % on 10,000 images of mnist"),
        ("colorize", "PSNR 23.22 dB"),  # its table names no data in this row
    ],
)
def test_the_figure_of_a_shipped_model_names_its_data(name: str, figure: str) -> None:
    assert figure_of(Model.load(name)) == figure


@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 8, 8), (28, 28, 1), (32, 32, 3)])
def test_a_model_that_takes_no_pictures_leaves_the_one_before_open(shape: tuple[int, ...]) -> None:
    refused = Model(Sequential(flat=Flatten(), scores=Dense(3)), loss=Quadratic(), input_shape=(math.prod(shape),))
    refused.input_shape = shape  # as of a file of others
    models = {"mnist-lenet": Model.load("mnist-lenet"), "refused": refused}
    tab = Tab(Library(tuple(models), models.__getitem__))
    tab.ask("look.open")
    before = tab.ask("look.picture", sample="digit 3")["bars"]
    message = tab.ask("look.open", model="refused")["message"]
    assert str(shape) in message
    assert ("export it without --whole, or open the run or weights" in message) == (shape[-1] in (1, 3))
    assert tab.ask("look.picture", sample="digit 3")["bars"] == before


def test_requests_that_do_not_fit_are_refused() -> None:
    tab = Tab(Library(("mnist-lenet",), Model.load))
    assert "send look.open first" in tab.ask("look.picture", sample="digit 3")["message"]
    tab.ask("look.open")
    assert "send look.picture first" in tab.ask("look.change")["message"]
    assert "takes a sample" in tab.ask("look.picture")["message"]
    for shape in ((3, 4, 64), (1, 64, 64), (3, 641, 64), (64, 64)):
        assert "frame must be" in tab.ask("look.picture", {"frame": torch.zeros(shape, dtype=torch.uint8)})["message"]
    seen = tab.ask("look.picture", {"frame": torch.arange(3 * 64 * 80, dtype=torch.uint8).view(3, 64, 80)})
    assert seen["kind"] == "look.picture"
    assert "place must be" in tab.ask("look.why", place=[0, 0, 400, 4])["message"]
    assert "no method" in tab.ask("look.why", method="magic")["message"]
    assert "values must be of 0 controls" in tab.ask("look.change", values=[0.5])["message"]


@pytest.mark.parametrize("name", ["mnist-lenet", "mnist-mlp-100"])
def test_the_sample_digits_are_like_the_training_data(name: str) -> None:
    tab = Tab(Library((name,), Model.load))
    kinds = {kind["name"]: kind["samples"] for kind in tab.ask("look.open")["kinds"]}
    lines = {digit: tab.ask("look.picture", sample=digit)["line"] for digit in kinds["digit"]}
    assert [line for line in lines.values() if "unlike anything" in line] == []
    assert sum(line[0] == digit[-1] for digit, line in lines.items()) >= 24  # of 30


@pytest.fixture
def library() -> Library:
    return Library(("mnist-lenet",), Model.load)


@pytest.fixture
def client(library: Library) -> Any:
    with TestClient(application(library, (HOST,), TOKEN, COOKIE), base_url=f"http://{HOST}") as opened_client:
        opened_client.get(f"/?token={TOKEN}")
        yield opened_client


def test_dropped_files_have_the_checks_of_uploads(
    client: TestClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"x" * 2000
    for origin in ORIGINS:
        assert client.post("/model?name=a.onnx", content=body, headers={"Origin": origin}).status_code == 403, origin
    for host in FOREIGN_HOSTS:
        assert client.post("/model?name=a.onnx", content=body, headers={"Host": host}).status_code == 403
    for name in ("a.pth", "a.py", "onnx", "", "a.onnx.exe", "x" * 200 + ".onnx", "a\n.onnx"):
        assert client.post("/model", params={"name": name}, content=body).status_code == 415, name
    with TestClient(application(library, (HOST,), TOKEN, COOKIE), base_url=f"http://{HOST}") as without_cookie:
        assert without_cookie.post("/model?name=a.onnx", content=body).status_code == 403
    monkeypatch.setattr(server_limits, "MAX_MODEL_UPLOAD_BYTES", 1999)
    assert client.post("/model?name=a.onnx", content=body).status_code == 413
    assert not library.files.dropped
    assert not [*library.files.folder.iterdir()]
    monkeypatch.setattr(server_limits, "MAX_MODEL_UPLOAD_BYTES", 2000)
    lines = [client.post("/model?name=../../a.onnx", content=body).json() for _ in range(MAX_DROPPED + 1)]
    assert [entry["line"] for entry in lines[:-1]] == [""] * MAX_DROPPED
    assert lines[-1]["line"].startswith(f"{lines[0]['model']} was removed from the list")
    assert len([*library.files.folder.iterdir()]) == MAX_DROPPED
    assert {name.partition(" ")[2] for name in library.files.dropped} == {"a.onnx"}


@pytest.mark.slow
def test_a_dropped_model_is_opened_by_another_process_within_limits(
    client: TestClient, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Model.load("mnist-lenet").save(tmp_path / "mine.safetensors")
    name = client.post("/model?name=mine.safetensors", content=(tmp_path / "mine.safetensors").read_bytes()).json()[
        "model"
    ]
    tab = Tab(library)
    assert {"name": name, "kind": "dropped", "stamp": 0} in tab.ask("look.models")["models"]
    monkeypatch.setattr("pellucid.studio.opened_files.MAX_OPENING_MEMORY", 64 << 20)
    monkeypatch.setattr("pellucid.studio.opened_files.MEMORY_COPIES", 0)
    assert "64 MiB to be opened" in tab.ask("look.open", model=name)["message"]
    monkeypatch.setattr("pellucid.studio.opened_files.MAX_OPENING_MEMORY", limits.MAX_OPENING_MEMORY)
    assert tab.ask("look.open", model=name)["model"] == name
    assert tab.ask("look.picture", sample="digit 3")["bars"]


@pytest.mark.parametrize("bad_first", mostly_heavy([True, False], 2))
@pytest.mark.slow
def test_files_that_cannot_be_opened_leave_the_list_before_models(
    bad_first: bool, client: TestClient, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Model.load("mnist-lenet").save(tmp_path / "mine.safetensors")
    good = ("mine.safetensors", (tmp_path / "mine.safetensors").read_bytes())
    bad = [("empty.onnx", b""), ("notes.onnx", b"my notes"), ("header.safetensors", b"\xff" * 8 + b"{}")]
    if not bad_first:  # files that are refused without a process, which takes seconds
        bad = [("empty.onnx", b"")] * 3
    tab = Tab(library)
    names = []
    for name, content in [*bad, good] if bad_first else [good, *bad]:
        answer = client.post("/model", params={"name": name}, content=content).json()
        names.append(answer["model"])
        faulty = tab.ask("look.card", model=answer["model"])["fault"]
        assert bool(faulty) == (name != "mine.safetensors")
        assert ("is empty" in faulty) == (not content)
    monkeypatch.setattr(OpenedFiles, "_convert", None)  # each has been tried once, and is known
    for model in names:
        assert bool(tab.ask("look.card", model=model)["fault"]) == ("mine" not in model)
    for _ in range(len(bad)):
        assert client.post("/model?name=new.onnx", content=b"x").json()["line"] == ""
    offered = [one["name"] for one in tab.ask("look.models")["models"] if one["kind"] == "dropped"]
    assert [name.partition(" ")[2] for name in offered] == ["mine.safetensors"] + ["new.onnx"] * 3
    assert "mine.safetensors was removed" in client.post("/model?name=new.onnx", content=b"x").json()["line"]
