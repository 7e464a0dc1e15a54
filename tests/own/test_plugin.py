"""A task of an installed plugin works in every command and in the studio, without changes to Pellucid."""

import csv
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import pellucid
from pellucid import Model, PellucidError, shipped_files, task
from pellucid.base import plugins
from pellucid.extend import registry
from pellucid.studio.runs import Runs
from pellucid.studio.view import Library
from pellucid.task import registered
from tests.cli.conftest import Cli, CliResult
from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.talk import Tab
from tests.studio.test_browser import until
from tests.studio.test_command import studio
from tests.studio.test_train_browser import TrainPage

FOLDER = Path(__file__).parent / "upright"


def draw_ray(degrees: float, size: int = 32) -> Image.Image:
    """Return a picture of a bright ray from the centre at an angle, on a dark background."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    along = columns * np.cos(np.deg2rad(degrees)) - rows * np.sin(np.deg2rad(degrees))
    across = columns * np.sin(np.deg2rad(degrees)) + rows * np.cos(np.deg2rad(degrees))
    return Image.fromarray((220 * ((along > 0) & (np.abs(across) < 4)) + 20).astype(np.uint8))


@pytest.fixture(scope="module")
def plugin_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data, with the files of the plugin's wheel on the module path, as an installer would write them."""
    source, folder = tmp_path_factory.mktemp("source") / "upright", tmp_path_factory.mktemp("site")
    shutil.copytree(FOLDER, source, ignore=shutil.ignore_patterns("__pycache__"))
    # PyTorch needs setuptools, so it is there.
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    task.tasks()
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((registry, "REGISTERED"), (registered, "_TASKS"), (registered, "_COMMANDS")):
            patch.setattr(module, name, dict(getattr(module, name)))
        patch.setattr(shipped_files, "_PLUGIN_FOLDERS", [])
        patch.setattr(plugins, "_LOADED_GROUPS", [])
        patch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        work = tmp_path_factory.mktemp("work")
        patch.chdir(work)
        (work / "turned").mkdir()
        angles = torch.randint(0, 360, (200,), generator=torch.Generator().manual_seed(0)).tolist()
        for k, degrees in enumerate(angles):
            draw_ray(degrees).save(work / f"turned/{k}.png")
        (work / "turned/angles.csv").write_text("".join(f"{k}.png,{degrees}\n" for k, degrees in enumerate(angles)))
        yield work
    for name in [name for name in sys.modules if name.startswith("pellucid_upright")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def run(plugin_folder: Path) -> Path:
    """A run of the plugin's recipe on data in the plugin's format."""
    from pellucid.cli.main import main

    assert main(["train", "upright", "--out", "runs", "train.epochs=12", "train.keep=[12]"]) == 0
    return plugin_folder / "runs/upright-1"


def test_the_page_shows_the_files_of_the_plugin_and_names_that_exist() -> None:
    page = (FOLDER.parents[2] / "docs/your-own-task.md").read_text(encoding="utf-8")
    (project,) = re.findall(r"```toml\n# pyproject.toml\n(.*?)```", page, re.DOTALL)
    assert project == (FOLDER / "pyproject.toml").read_text(encoding="utf-8")
    for module, names in re.findall(r"^ *from (pellucid[\w.]*) import (.+)$", page, re.MULTILINE):
        assert all(hasattr(importlib.import_module(module), name) for name in names.split(", ")), (module, names)


def test_a_recipe_of_the_plugin_is_known_by_name(plugin_folder: Path, cli: Cli) -> None:
    assert "How far a picture is turned" in cli("recipes").out
    assert "turn a picture by an angle" in cli("--help").out
    assert "turned" in cli("train", "--help").out  # the verb of its task
    assert '[objective]\nmodel = "angle"' in cli("recipes", "upright").out


@pytest.mark.slow
def test_the_plugin_trains_on_its_data_and_draws_its_figures(plugin_folder: Path, cli: Cli) -> None:
    result = cli("train", "turned", "turned", "train.epochs=1", "--out", "own")
    assert result.code == 0, result.err
    assert re.search(r"turned-turned: mean error \d+\.\d\d degrees, loss ", result.out)
    page = Path("own/turned-turned-1/report.html").read_text(encoding="utf-8")
    assert "Loss and mean error" in page
    assert "size = 24" in Path("own/turned-turned-1/recipe.toml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_plugin_learns_angles(run: Path, cli: Cli) -> None:
    output = cli("evaluate", str(run), "--worst", "3", "--json").json
    assert output["n"] == 40
    assert output["angle_error"] < 30  # 90 degrees for random angles
    assert output["angle_error"] == pytest.approx(json.loads((run / "results.json").read_text())["angle_error"])
    assert len(output["worst"]) == 3
    assert "is not a model of angles; leave --worst out" in cli("evaluate", "signs", "--worst", "3").error_line


@pytest.mark.slow
def test_a_run_that_ctrl_c_stopped_ends_with_the_same_weights(
    run: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = importlib.import_module("pellucid_upright.objective")
    directions, calls = objective.directions, iter(range(100))

    def interrupting_directions(degrees: torch.Tensor) -> torch.Tensor:
        if next(calls) == 40:
            raise KeyboardInterrupt
        return directions(degrees)

    monkeypatch.setattr(objective, "directions", interrupting_directions)
    assert cli("train", "upright", "--out", "stopped", "train.epochs=12").code == 130
    assert not Path("stopped/upright-1/results.json").exists()
    monkeypatch.setattr(objective, "directions", directions)
    resumed = cli("train", "--resume", "stopped/upright-1", "--json").json
    assert resumed["sha256"] == json.loads((run / "results.json").read_text())["sha256"]


def test_the_plugin_predicts_on_images_folders_and_videos(run: Path, plugin_folder: Path, cli: Cli) -> None:
    draw_ray(90).save("up.png")
    result = cli("predict", str(run), "up.png", "--json").json["pictures"][0]
    assert abs(result["degrees"] - 90) < 45
    frames = [draw_ray(degrees) for degrees in (0, 90)]
    frames[0].save("video.gif", save_all=True, append_images=frames[1:])
    Path("frames").mkdir()
    for k, frame in enumerate(frames):
        frame.save(f"frames/{k}.png")
    for source in ("frames", "video.gif"):
        prediction: CliResult = cli("predict", str(run), source, "--out", f"out-{source}", "--json")
        assert prediction.code == 0, prediction.err
    assert len(list(Path("out-frames").glob("*-upright.png"))) == 2


def test_the_sections_of_the_plugin_are_in_the_report(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Degrees, counted anticlockwise." in page
    assert '<section id="angles"' in page


def test_the_plugin_explains_a_prediction(run: Path, plugin_folder: Path, cli: Cli) -> None:
    draw_ray(45).save("diagonal.png")
    output = cli("explain", str(run), "diagonal.png", "--out", "maps", "--json").json
    assert {Path(file).name for file in output["files"]} == {"saliency.png", "saliency.npz"}


def test_the_studio_explains_a_model_of_the_plugin(run: Path, plugin_folder: Path) -> None:
    tab = Tab(Library((str(run),), Model.load))
    assert tab.ask("explain.open")["task"] == "uprightness"
    sample = tab.ask("explain.picture", sample="hand 0")
    assert sample["line"].startswith("turned by")
    picture = sample["tensors"]["picture"][:1, None] / 255
    target = tab.ask("explain.aim", of="1")
    model = Model.load(run / "weights/best.safetensors")
    (cosine, sine), degrees = target["logits"], float(model.predict(picture)[0, 0])
    assert np.rad2deg(np.arctan2(sine, cosine)) % 360 == pytest.approx(degrees, abs=3)  # the picture has 8-bit values
    answer = tab.ask("explain.run", method="lrp")
    assert answer["expected"] == pytest.approx(sine, rel=1e-5)
    assert answer["tensors"]["map"].shape == picture.shape[2:]


def test_the_studio_trains_a_recipe_of_the_plugin(run: Path, plugin_folder: Path) -> None:
    tab = Tab(Library((str(run),), Model.load, Runs(run.parent)))
    page = tab.ask("train.open")
    assert {"name": "upright", "about": "How far a picture is turned"} in page["recipes"]
    assert run.name in page["runs"]
    fields = {
        field_["key"]: field_
        for field_ in tab.ask("train.recipe", recipe="upright", settings=["optimizer.lr=1"])["fields"]
    }
    assert (fields["objective.width"]["value"], fields["optimizer.lr"]["value"]) == (8, 1)
    assert "angle" in fields["objective.model"]["choices"]
    state = tab.ask("train.state", run=run.name)
    with (run / "metrics.csv").open() as file:
        errors = [float(row["val_angle_error"]) for row in csv.DictReader(file)]
    assert (state["status"], [row["val_angle_error"] for row in state["rows"]]) == ("finished", errors)
    maps = tab.ask("train.maps", run=run.name, epoch=12)
    weight = Model.load(run / "weights/epoch-12.safetensors").weights["net.conv1.weight"]
    assert torch.equal(maps["tensors"]["filters"], weight.mean(1))
    assert "no confusion matrix" in tab.ask("train.confusion", run=run.name, epoch=12)["message"]


@pytest.mark.heavy
@pytest.mark.real
def test_a_browser_shows_the_plugin_in_train_and_explain(
    run: Path,
    plugin_folder: Path,
    browser: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # for the studio and its child processes
    with studio(str(run)) as served:
        page = TrainPage(browser, served, "recipe=upright")
        assert "How far a picture is turned" in page.tab.inner_text("#train-about")
        assert page.tab.input_value("[name='objective.width']") == "8"
        page.start(train__epochs="3")
        page.status("finished")
        assert "Angle error" in page.tab.inner_text("#train-curves")
        # The doctor does not open data that a run's recipe names outside of the run's folder.
        until(page.tab, "document.querySelector('#train-findings').textContent.includes('add --data')")
        page.tab.goto(f"http://{served.host}/#explain?sample=hand 0")
        until(page.tab, "document.querySelector('#explain-figures')?.textContent.includes('turned by')")
        until(page.tab, "document.querySelectorAll('#explain-figures .sum').length > 0")
        assert page.faults == []


def test_the_doctor_examines_a_run_of_the_plugin(run: Path, plugin_folder: Path, cli: Cli) -> None:
    output = cli("doctor", str(run), "--data", "turned", "--json").json
    assert (output["checks"], output["findings"]) == (["one-sided-angles"], [])
    Path("upwards").mkdir()
    for k in range(20):
        draw_ray(80 + k).save(f"upwards/{k}.png")
    Path("upwards/angles.csv").write_text("".join(f"{k}.png,{80 + k}\n" for k in range(20)))
    (finding,) = cli("doctor", str(run), "--data", "upwards", "--json").json["findings"]
    assert finding["check"] == "one-sided-angles"


def test_a_model_of_the_plugin_is_exported_to_onnx(run: Path, plugin_folder: Path, cli: Cli) -> None:
    assert cli("export", str(run), "--to", "onnx", "--out", "angles.onnx").code == 0
    model = Model.load(run / "weights/best.safetensors")
    x = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    (y,) = onnxruntime.InferenceSession("angles.onnx").run(None, {"input": x.numpy()})
    degrees = torch.rad2deg(torch.atan2(*torch.from_numpy(y).T.flip(0))) % 360
    torch.testing.assert_close(degrees[:, None], model.predict(x), atol=1e-2, rtol=0)


def test_the_command_of_the_plugin_runs(plugin_folder: Path, cli: Cli) -> None:
    draw_ray(0).save("flat.png")
    assert cli("turn", "flat.png", "90", "turned.png").out == "wrote turned.png\n"
    with Image.open("turned.png") as turned:
        assert np.abs(np.asarray(turned, dtype=float) - np.asarray(draw_ray(90), dtype=float)).mean() < 10


@pytest.mark.parametrize(
    ("line", "message"),
    [("0.png", "line 1 has 1 values; write FILE,DEGREES"), ("0.png,left", "line 1: 'left' is no angle")],
)
def test_invalid_data_of_the_plugin_are_reported_in_one_line(
    line: str, message: str, plugin_folder: Path, cli: Cli
) -> None:
    Path("bad").mkdir(exist_ok=True)
    draw_ray(0).save("bad/0.png")
    Path("bad/angles.csv").write_text(f"{line}\n")
    assert message in cli("train", "upright", "data.name=bad").error_line


def test_a_command_that_exists_is_refused(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    monkeypatch.setattr(registered, "_COMMANDS", dict(registered._COMMANDS))
    pellucid.register(task.Command("train", "another", "elsewhere"))
    assert "pellucid has a command 'train' already; rename that of elsewhere" in cli("train", "digits").error_line


def test_a_plugin_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata_folder = tmp_path / "broken-1.0.dist-info"
    metadata_folder.mkdir()
    (metadata_folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata_folder / "entry_points.txt").write_text("[pellucid.plugins]\nbroken = no_such_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "_LOADED_GROUPS", [])
    with pytest.raises(PellucidError, match=r"the plugin 'broken' cannot be loaded .*update or uninstall it"):
        plugins.load_plugins()
