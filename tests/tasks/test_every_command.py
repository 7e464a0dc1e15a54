"""Every command that takes a model, for a model of every task that one command trained on a sample folder."""

import json
from pathlib import Path

import pytest

from pellucid.cli.main import main
from pellucid.data.samples.files import write_samples
from pellucid.model import Model
from pellucid.studio.serve.app import application
from pellucid.studio.view import Library
from pellucid.task import task_of
from tests.cli.conftest import Cli, cli
from tests.reports import without_report
from tests.studio.talk import Tab

__all__ = ["cli"]  # the fixture
pytestmark = [pytest.mark.slow, pytest.mark.heavy]
SMALL_NETWORK = ("data.size=12", "train.epochs=2", "network.width=8", "start.weights=")
# For each sample folder: the task, the words of its training, and a held-out picture.
TRAININGS = {
    "shapes": ("classification", ("classify", *SMALL_NETWORK), "circle/03.png"),
    "several": ("multi-label classification", ("classify", *SMALL_NETWORK), "images/003.png"),
    "thermometers": ("regression", ("regress", "data.size=12", "train.epochs=2"), "003.png"),
    "cars": ("segmentation", ("segment", "data.size=64", "train.epochs=1"), "val/00.jpg"),
    "cells": ("detection", ("detect", "data.size=160", "train.epochs=2"), "val/00.jpg"),
    "faces": ("keypoints", ("keypoints", "data.size=64", "train.epochs=1"), "val/00.jpg"),
}
TRACED_TARGETS = {"shapes": "square", "several": "1", "thermometers": "12.5"}
COMMANDS = {
    "predict": ("predict", "MODEL", "PICTURE", "--out", "OUT/found"),
    "evaluate": ("evaluate", "MODEL", "--data", "DATA"),
    "explain": ("explain", "MODEL", "PICTURE", "--method", "saliency", "--out", "OUT/explained"),
    "explain page": ("explain", "MODEL", "PICTURE", "--html", "OUT/explained.html"),
    "trace": ("trace", "MODEL", "PICTURE"),
    "trace target": ("trace", "MODEL", "PICTURE", "--target", "TARGET", "--html", "OUT/traced.html"),
    "doctor": ("doctor", "RUN", "--data", "DATA"),
    "summary": ("summary", "MODEL"),
    "onnx": ("export", "MODEL", "--to", "onnx", "--out", "OUT/a.onnx"),
    "whole onnx": ("export", "MODEL", "--to", "onnx", "--whole", "--out", "OUT/b.onnx"),
}
BOX = ("explain", "MODEL", "PICTURE", "--box", "1", "--method", "saliency", "--out", "OUT/explained")
NETWORKS = "the model has the networks backbone, neck, head and the losses"
# What a command needs for a task in place of its usual words, or the reason for which it refuses.
WORDS_OF_TASK = {"cells": {"explain": BOX}}
REFUSED = {
    ("cells", "trace"): "trace a single-stage detector or a colorizer",
    ("cells", "summary"): NETWORKS,
    ("faces", "trace"): "the model outputs key-points, no classes",
    ("faces", "whole onnx"): "cannot be written as ONNX; leave out whole",
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands") / "samples"
    write_samples(folder)
    return folder


@pytest.fixture(scope="module")
def runs(samples: Path) -> dict[str, Path]:
    """Return the run of each sample folder."""
    found = {}
    for name, (_, (verb, *settings), _) in TRAININGS.items():
        out = samples.parent / "runs" / name
        words = ("train", verb, str(samples / name), *settings, "recipe.threads=1", "--out", str(out))
        with without_report():
            assert main(words) == 0
        (found[name],) = out.iterdir()
    return found


@pytest.fixture(params=[*TRAININGS])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def picture(samples: Path, name: str) -> str:
    return str(samples / name / TRAININGS[name][2])


@pytest.fixture
def model(runs: dict[str, Path], name: str) -> str:
    (file, *_) = sorted((runs[name] / "weights").glob("*.safetensors"))  # best, otherwise last
    return str(file)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_takes_a_model(
    command: str,
    name: str,
    model: str,
    picture: str,
    runs: dict[str, Path],
    samples: Path,
    tmp_path: Path,
    cli: Cli,
) -> None:
    if "onnx" in command:
        pytest.importorskip("onnxruntime", reason="the export runs the file")
    if command == "trace target" and name not in TRACED_TARGETS:
        pytest.skip("the targets of these tasks are no single value")
    values = {
        "MODEL": model,
        "RUN": str(runs[name]),
        "PICTURE": picture,
        "DATA": str(samples / name),
        "TARGET": TRACED_TARGETS.get(name, ""),
    }
    template = WORDS_OF_TASK.get(name, {}).get(command, COMMANDS[command])
    words = [values.get(word, word.replace("OUT", str(tmp_path))) for word in template]
    result = cli(*words, "--json")
    if (name, command) in REFUSED:
        assert REFUSED[name, command] in result.error_line
        return
    assert result.code == 0, result.err
    assert json.loads(result.out)
    if command != "doctor":
        assert cli(*words).code == 0


@pytest.mark.long
def test_verify(model: str, cli: Cli) -> None:
    assert cli("verify", model, "--batch", "2", "--samples", "2", "--json").json["ok"]


def test_serve_and_the_studio_answer(name: str, model: str, picture: str) -> None:
    starlette = pytest.importorskip("starlette.testclient", reason="it sends the request")
    loaded = Model.load(model)
    assert task_of(loaded).name == TRAININGS[name][0]
    client = starlette.TestClient(application("m", loaded, ("testserver",)), base_url="http://testserver")
    response = client.post("/predict", content=Path(picture).read_bytes())
    assert response.status_code == 200
    assert response.json()["line"].startswith("picture: ")
    tab = Tab(Library((model,), Model.load))
    opened = tab.ask("explain.open", model=model)
    own_kind = f"{name} 0" if name == "cells" else opened["sample"]  # in another picture, no object may be found
    tab.ask("explain.picture", sample=own_kind)
    assert tab.ask("explain.aim")["label"] is not None
    assert tab.ask("explain.run", method="saliency")["tensors"]["map"].dim() == 2
