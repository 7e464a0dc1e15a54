"""From each form of tables to an evaluated model by one command each; figures of several labels and of numbers.

Every command on their models is tested in test_every_command.py.
"""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as sklearn_metrics

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.data.samples.files import write_samples
from pellucid.metrics import MultiLabel, label_average_precision
from pellucid.model import Model
from pellucid.recipe.labelled import images_of, is_table
from pellucid.task import task_of
from pellucid.tasks.annotated import held_out_part
from pellucid.tasks.multilabel.report import best_threshold
from tests.cli.conftest import Cli, cli

__all__ = ["cli"]  # the fixture
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
SETTINGS = ["data.size=12", "train.epochs=2", "network.width=8", "start.weights="]
VERBS = {"several": "classify", "thermometers": "regress"}
TASKS = [*VERBS]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables") / "samples"
    write_samples(folder)
    return folder


@pytest.fixture(scope="module")
def runs(samples: Path) -> dict[str, Path]:
    """Return the run of each task, trained by one command on the raw table."""
    out = samples.parent / "runs"
    for name, verb in VERBS.items():
        settings = SETTINGS if verb == "classify" else SETTINGS[:2]
        assert main(("train", verb, str(samples / name), *settings, "--out", str(out))) == 0
    return {name: out / f"{name}-{verb}-1" for name, verb in VERBS.items()}


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def picture(samples: Path, task: str) -> str:
    return str(samples / task / ("images/003.png" if task == "several" else "003.png"))


@pytest.fixture
def model(runs: dict[str, Path], task: str) -> str:
    return str(runs[task] / "weights/best.safetensors")


def raw_rows(samples: Path, task: str) -> dict[str, str]:
    """Return the label cell of each picture, read by the csv module."""
    with (samples / task / "labels.csv").open(newline="", encoding="utf-8") as file:
        return dict([*csv.reader(file)][1:])


@pytest.mark.slow
@pytest.mark.heavy
def test_metrics_equal_scikit_learns_from_raw_files_and_written_predictions(
    samples: Path, runs: dict[str, Path], task: str, model: str, tmp_path: Path, cli: Cli
) -> None:
    split = json.loads((runs[task] / "split.json").read_text())
    assert sorted(name for names in split.values() for name in names) == sorted(
        ("images/" if task == "several" else "") + name for name in raw_rows(samples, task)
    )
    table = tmp_path / "predictions.csv"
    pictures = [str(samples / task / name) for name in split["test"]]
    assert cli("predict", model, *pictures, "--out", str(table)).code == 0
    evaluated = cli("evaluate", model, "--data", str(samples / task), "--json").json
    with table.open(newline="", encoding="utf-8") as file:
        predicted = {Path(row["image"]).name: row for row in csv.DictReader(file)}
    rows = raw_rows(samples, task)
    names = [Path(name).name for name in split["test"]]
    assert evaluated["n"] == len(names) == 24
    if task == "thermometers":
        true = [float(rows[name]) for name in names]
        values = [float(predicted[name]["temperature (°C)"]) for name in names]
        expected = {
            "mae": sklearn_metrics.mean_absolute_error(true, values),
            "rmse": sklearn_metrics.root_mean_squared_error(true, values),
            "r2": sklearn_metrics.r2_score(true, values),
        }
        assert evaluated["numbers"][0]["unit"] == "°C"
    else:
        classes = sorted({label for cell in rows.values() for label in cell.split("|")})
        true_flags = np.array([[label in rows[name].split("|") for label in classes] for name in names])
        scores = np.array([[float(predicted[name][label]) for label in classes] for name in names])
        flags = np.array([[label in predicted[name]["labels"].split("|") for label in classes] for name in names])
        expected = {
            "map": sklearn_metrics.average_precision_score(true_flags, scores),
            "f1_micro": sklearn_metrics.f1_score(true_flags, flags, average="micro"),
            "f1_macro": sklearn_metrics.f1_score(true_flags, flags, average="macro"),
            "exact_match": sklearn_metrics.accuracy_score(true_flags, flags),
            "labels": true_flags.sum(1).mean(),
            "predicted_labels": flags.sum(1).mean(),
        }
    for name, value in expected.items():
        assert evaluated[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    results = json.loads((runs[task] / "results.json").read_text())
    assert {name: results[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.slow
@pytest.mark.heavy
def test_a_whole_onnx_file_returns_the_values_of_predict(
    task: str, model: str, picture: str, tmp_path: Path, cli: Cli
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="it runs the file")
    assert cli("export", model, "--to", "onnx", "--whole", "--out", str(tmp_path / "a.onnx")).code == 0
    loaded = Model.load(model)
    inputs = task_of(loaded).predictor(loaded).read(Path(picture))
    pixels = (inputs[0] * 255).round().to(torch.uint8).permute(1, 2, 0)[None].numpy()
    (values,) = onnxruntime.InferenceSession(str(tmp_path / "a.onnx")).run(["predictions"], {"images": pixels})
    np.testing.assert_allclose(values, loaded.predict(inputs[:1]).numpy(), rtol=1e-4, atol=1e-5)
    assert json.dumps(loaded.preprocess["table"]["kind"]) in ('"labels"', '"numbers"')


@pytest.mark.slow
@pytest.mark.heavy
def test_the_report(runs: dict[str, Path], task: str) -> None:
    page = (runs[task] / "report.html").read_text(encoding="utf-8")
    words = ("mean average precision", "threshold") if task == "several" else ("R²", "MAE of the mean", "(°C)")
    assert all(word in page for word in words)
    assert "Predicted against true" in page or task == "several"


@pytest.mark.slow
@pytest.mark.heavy
def test_pictures_of_the_training_are_not_evaluated(
    task: str, runs: dict[str, Path], model: str, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split, loaded, table = json.loads((runs[task] / "split.json").read_text()), Model.load(model), samples / task
    for spelling in (table, table / "labels.csv", table / ".." / task / "labels.csv"):
        part = held_out_part(loaded, str(spelling))
        assert [images_of(part).names[k] for k in part.indices.tolist()] == [
            name for name in images_of(part).names if name in split["test"]
        ]
    prefix = "images/" if task == "several" else ""
    header, *lines = (table / "labels.csv").read_text(encoding="utf-8").splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join([header, *(f"{table / prefix}/{line}" for line in lines)]), encoding="utf-8")
    n_train = len(split["train"])
    assert len(held_out_part(loaded, str(other))) == len(lines) - n_train
    assert f"{n_train} pictures of the model's training left out" in capsys.readouterr().err
    shown = [f"{table / prefix}/{line}" for line in lines if prefix + line.split(",")[0] in split["train"]]
    other.write_text("\n".join([header, *shown]), encoding="utf-8")
    with pytest.raises(PellucidError, match=f"was trained on all {n_train} pictures; give others"):
        held_out_part(loaded, str(other))
    copy = Path(shutil.copytree(table, tmp_path / "copy"))
    assert len(held_out_part(loaded, str(copy))) == len(lines)
    assert f"{n_train} pictures named as in the model's training" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["", "train/"])
def test_class_folders_count_before_a_stray_table(
    part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{part}{label}/{k}.png" for label in ("cat", "dog") for k in range(3)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    table = tmp_path / "index.csv"
    table.write_text("\n".join(["file,source", *(f"{name},s{k % 2}" for k, name in enumerate(names))]))
    assert not is_table(str(tmp_path))
    assert "the labels are its class folders; to use the table index.csv, give its path" in capsys.readouterr().err
    assert not is_table(zipped(tmp_path))
    assert is_table(str(tmp_path), over_class_folders=True)
    assert is_table(str(table))
    table.rename(tmp_path / "labels.csv")
    assert is_table(str(tmp_path))


@pytest.mark.parametrize("folders", [("images/",), ("train/", "test/"), ("images/cat/", "images/dog/")])
def test_folders_of_a_table_are_no_class_folders(folders: tuple[str, ...], tmp_path: Path) -> None:
    names = [f"{folder}{k}.png" for folder in folders for k in range(3)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "data.csv").write_text("\n".join(["file,kind", *(f"{name},s{k % 2}" for k, name in enumerate(names))]))
    assert is_table(str(tmp_path))


def zipped(folder: Path) -> str:
    return shutil.make_archive(str(folder.parent / "zipped"), "zip", folder)


def test_thresholds_have_the_best_f1() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, true = rng.random(30).round(1), rng.random(30) < 0.4
        threshold = best_threshold(torch.tensor(scores), torch.tensor(true))
        f1_of = {t: sklearn_metrics.f1_score(true, scores >= t) for t in np.unique(scores)}
        chosen = sklearn_metrics.f1_score(true, scores >= threshold)
        assert chosen == pytest.approx(max(f1_of.values()))
    assert best_threshold(torch.tensor([0.2, 0.9]), torch.tensor([True, True])) == 0.5


def test_the_average_precision_and_f1_equal_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    scores, true = rng.random((50, 4)).round(1), rng.random((50, 4)) < 0.3
    true[:, 3] = False
    expected = [sklearn_metrics.average_precision_score(true[:, k], scores[:, k]) for k in range(3)]
    result = label_average_precision(torch.tensor(scores), torch.tensor(true))
    assert result[:3].tolist() == pytest.approx(expected)
    assert bool(result[3].isnan())
    metric = MultiLabel((0.3, 0.4, 0.5, 0.6))
    for part in (slice(20), slice(20, 50)):
        metric.update(torch.tensor(scores[part]), torch.tensor(true[part]).float())
    predicted = scores >= np.array([0.3, 0.4, 0.5, 0.6])
    results = metric.compute()
    assert results["f1_macro"] == pytest.approx(sklearn_metrics.f1_score(true, predicted, average="macro"))
    assert results["f1_micro"] == pytest.approx(sklearn_metrics.f1_score(true, predicted, average="micro"))


@pytest.mark.slow
@pytest.mark.heavy
def test_columns_are_set_in_the_recipe(samples: Path, tmp_path: Path, cli: Cli) -> None:
    rows = [*raw_rows(samples, "thermometers").items()]
    lines = [f"{samples / 'thermometers' / name},{value},{k}" for k, (name, value) in enumerate(rows)]
    (tmp_path / "t.csv").write_text("\n".join(["where,low,high_mm", *lines]), encoding="utf-8")
    out = str(tmp_path / "runs")
    words = ("data.columns=['high_mm']", "data.units=['cm']", "data.size=12", "train.epochs=1")
    result = cli("train", "regress", str(tmp_path / "t.csv"), *words, "--out", out, "--json")
    run: Any = result.json["run"]
    assert Model.load(run).preprocess["table"]["units"] == ["cm"]
    refused = cli("train", "regress", str(tmp_path / "t.csv"), "data.columns=['hihg']", "--out", out)
    assert "no column 'hihg'; did you mean 'high_mm'?" in refused.err


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def one_class(names: list[str]) -> list[str]:
    return [("dark", "light")[k % 2] for k in range(len(names))]


def write_flags(root: Path, names: list[str]) -> Path:
    """Write Roboflow's export: a part with `_classes.csv`, and spaces after its commas."""
    for part, of_part in (("train", names[:16]), ("test", names[16:])):
        lines = [f"{name}, {k % 2}, {int(k % 3 == 0)}" for k, name in enumerate(of_part)]
        (root / part).mkdir()
        for name in of_part:
            (root / name).rename(root / part / name)
        (root / part / "_classes.csv").write_text("\n".join(["filename, light, striped", *lines]))
    return root


def write_lists(root: Path, names: list[str]) -> Path:
    lists = [("light", "light, striped", "striped")[k % 3] for k in range(len(names))]
    lines = [f"{Path(name).stem}\t{labels}" for name, labels in zip(names, lists, strict=True)]
    (root / "labels.tsv").write_text("\n".join(["image\ttags", *lines]))
    return root


def write_json_lines(root: Path, names: list[str]) -> Path:
    rows = [{"file_name": name, "label": label} for name, label in zip(names, one_class(names), strict=True)]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root / "metadata.jsonl"


def write_parquet(root: Path, names: list[str]) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="it writes the table")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"file": names, "label": one_class(names)}), root / "t.parquet")
    return root / "t.parquet"


def write_absolute_paths(root: Path, names: list[str]) -> Path:
    lines = [f"{root / name},{label}" for name, label in zip(names, one_class(names), strict=True)]
    table = root.parent / "labels of another folder.csv"
    table.write_text("\n".join(["path,class", *lines]))
    return table


def write_numbers(root: Path, names: list[str]) -> Path:
    lines = [f"{name};{k},5;{3 * k}" for k, name in enumerate(names)]
    (root / "labels.csv").write_text("\n".join(["file;width (mm);weight [kg]", *lines]))
    return root


# Each writes the table of pictures in a folder and returns what is given to the command; the task, and its targets.
FORMS: dict[str, tuple[Callable[[Path, list[str]], Path], str, list[str]]] = {
    "_classes.csv": (write_flags, "classify", ["light", "striped"]),
    "lists in .tsv, names without suffix": (write_lists, "classify", ["light", "striped"]),
    ".jsonl": (write_json_lines, "classify", ["dark", "light"]),
    ".parquet": (write_parquet, "classify", ["dark", "light"]),
    "absolute paths": (write_absolute_paths, "classify", ["dark", "light"]),
    "numbers with units": (write_numbers, "regress", ["width", "weight"]),
}


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("form", FORMS)
def test_a_model_of_each_form_is_trained_and_evaluated(form: str, tmp_path: Path, cli: Cli) -> None:
    write, verb, targets = FORMS[form]
    root = tmp_path / "set"
    root.mkdir()
    names = [f"p{k:02d}.png" for k in range(24)]
    for k, name in enumerate(names):
        Image.new("RGB", (16, 16), (10 * k, 90 * (k % 2), 90)).save(root / name)
    data = str(write(root, names))
    settings = SETTINGS if verb == "classify" else SETTINGS[:2]
    trained = cli("train", verb, data, *settings, "recipe.threads=1", "--json").json
    evaluated = cli("evaluate", trained["run"], "--data", data, "--json").json
    assert trained["n"] == evaluated["n"] > 0
    if verb == "regress":
        assert [(row["number"], row["unit"]) for row in evaluated["numbers"]] == [("width", "mm"), ("weight", "kg")]
    else:
        assert [row["class"] for row in evaluated["classes"]] == targets
