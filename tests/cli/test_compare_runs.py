"""`pellucid compare-runs` lists only settings that differ between runs, and escapes the names of runs."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from sklearn.metrics import f1_score

from tests.cli.conftest import Cli
from tests.pages import without_script


@pytest.fixture
def runs(run_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run, and a copy with another learning rate, other results, one epoch less and another machine."""
    first, second = tmp_path / "first", tmp_path / "<b>second"
    shutil.copytree(run_folder, first)
    shutil.copytree(run_folder, second)
    replace_lr(second / "recipe.toml", tomllib.loads((first / "recipe.toml").read_text())["optimizer"]["lr"], 0.125)
    lines = (second / "metrics.csv").read_text().splitlines(keepends=True)
    (second / "metrics.csv").write_text("".join(lines[:-1]))
    for name, changes in (("results.json", {"accuracy": 0.5}), ("manifest.json", {"cpu": "a <abacus>"})):
        values = json.loads((second / name).read_text())
        (second / name).write_text(json.dumps({**values, **changes}))
    (second / "confusion.json").write_text(json.dumps({"classes": ["a", "0"], "counts": [[3, 1], [2, 4]]}))
    return first, second


def replace_lr(file: Path, before: object, after: object) -> None:
    text = file.read_text()
    assert f"lr = {before}" in text
    file.write_text(text.replace(f"lr = {before}", f"lr = {after}"))


@pytest.mark.slow
def test_only_differing_settings_are_listed(runs: tuple[Path, Path], cli: Cli, tmp_path: Path) -> None:
    output = cli("compare-runs", *map(str, runs), "--out", "page.html", "--json").json
    assert output["page"] == "page.html"
    assert [(run["name"], run["epochs"]) for run in output["runs"]] == [("first", 3), ("<b>second", 2)]
    lr = tomllib.loads((runs[0] / "recipe.toml").read_text())["optimizer"]["lr"]
    assert output["recipes"] == {"optimizer.lr": [str(lr), "0.125"]}
    assert set(output["manifests"]) == {"cpu"}
    assert output["manifests"]["cpu"][1] == "a <abacus>"
    page = without_script((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "<b>" not in page
    assert "<abacus>" not in page
    assert "&lt;b&gt;second" in page
    assert "0.125" in page
    assert "batch_size" not in page


@pytest.mark.slow
def test_classes_have_the_f1_of_scikit_learn(runs: tuple[Path, Path], cli: Cli) -> None:
    output = cli("compare-runs", *map(str, runs), "--json").json["classes"]
    targets, predictions = [0] * 4 + [1] * 6, [0, 0, 0, 1, 0, 0, 1, 1, 1, 1]
    expected = f1_score(targets, predictions, average=None)
    assert output["a"] == ["-", f"{100 * expected[0]:.1f} %"]
    assert output["0"][1] == f"{100 * expected[1]:.1f} %"
    assert output["mean"][1] == f"{100 * f1_score(targets, predictions, average='macro'):.1f} %"
    assert list(output)[-1] == "mean"


@pytest.mark.slow
def test_without_json_a_table_and_the_page_are_written(runs: tuple[Path, Path], cli: Cli, tmp_path: Path) -> None:
    result = cli("compare-runs", *map(str, runs))
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].split() == ["first", "<b>second"]
    assert any(line.startswith("test accuracy") and line.endswith("50.00 %") for line in lines)
    assert lines[-1] == "page  comparison.html"
    assert (tmp_path / "comparison.html").is_file()


def test_missing_values_of_a_run_are_reported(runs: tuple[Path, Path], cli: Cli, tmp_path: Path) -> None:
    for name in ("results.json", "confusion.json", "recipe.toml", "manifest.json"):
        (runs[1] / name).unlink()
    output = cli("compare-runs", *map(str, runs), "--json").json
    assert output["runs"][1]["results"] == {}
    assert output["recipes"]["train.epochs"] == ["3", "-"]
    page = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;second recorded no result" in page
    assert "&lt;b&gt;second recorded no confusion matrix" in page


def test_the_row_of_a_run_stopped_by_nan_names_the_step(run_folder: Path, cli: Cli, tmp_path: Path) -> None:
    """`compare-runs` shows the error message of `pellucid train`, which names the layer and the step."""
    stopped = cli("train", "digits", "train.epochs=2", "optimizer.lr=1e30", "--out", "stopped")
    assert stopped.code != 0
    message = stopped.err.strip().removeprefix("pellucid: ").splitlines()[-1].removeprefix("pellucid: ")
    assert message.startswith("training stopped in step 2 ")
    arguments = ("compare-runs", str(run_folder), "stopped/digits-1")
    result = cli(*arguments)
    assert result.code == 0
    row = next(line for line in result.out.splitlines() if line.startswith("stopped"))
    value = "NaN," if " NaN" in message else "infinity,"  # which value occurs first depends on the processor
    assert row.split() == ["stopped", "-", value, "step", "2"]
    assert f"stopped/digits-1: {message}" in result.out
    output = cli(*arguments, "--json").json["runs"]
    assert (output[0]["stopped"], output[1]["stopped"]["step"], output[1]["stopped"]["error"]) == (None, 2, message)
    page = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert "training stopped in step 2 (epoch 1, batch 2): head.scores (Dense)" in page
    (tmp_path / "stopped/digits-1/error.json").write_text("{")
    assert "error.json cannot be read" in cli(*arguments).error_line


def test_runs_of_one_name_are_distinguished_by_their_paths(run_folder: Path, cli: Cli, tmp_path: Path) -> None:
    for parent in ("a", "b"):
        shutil.copytree(run_folder, tmp_path / parent / "digits-1")
    output = cli("compare-runs", "a/digits-1", "b/digits-1", "--json").json
    assert [run["name"] for run in output["runs"]] == ["a/digits-1", "b/digits-1"]
    assert output["recipes"] == output["manifests"] == {}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("results.json", "[1]", "not a JSON object"),
        ("results.json", "{", "cannot be read"),
        ("confusion.json", '{"classes": ["a"], "counts": [[1, 2]]}', "does not contain 1 x 1 counts"),
        ("confusion.json", '{"classes": ["a"], "counts": [[-1]]}', "does not contain 1 x 1 counts"),
        ("confusion.json", '{"classes": 3}', "has no list of class names"),
        ("recipe.toml", "[optimizer]\nlr = 1979-05-27", "no value like"),
        ("recipe.toml", "[optimizer", "is not TOML"),
        ("metrics.csv", "epoch\n1,2\n", "more or fewer values"),
        ("metrics.csv", "epoch,train_loss\n1,0.5\n2,0.x\n", "metrics.csv: train_loss is '0.x' in line 3"),
        ("metrics.csv", "epoch,step\n1,18446744073709551616\n", "metrics.csv: step is 1.84467"),
        (
            "metrics.csv",
            "epoch,step\n1,-4\n",
            "metrics.csv: step is -4 in line 2, where training writes a whole",
        ),
        ("metrics.csv", "epoch,step\n1,nan\n", "metrics.csv: step is None in line 2"),
        ("metrics.csv", "epoch,step\ninf,3\n", "metrics.csv: epoch is None in line 2"),
        ("metrics.csv", "step\n3\n", "metrics.csv: no column 'epoch' among step"),
        ("metrics.csv", "epoch,epoch\n1,1\n", "metrics.csv cannot be read (the first line names a column twice)"),
        ("metrics.csv", "epoch,train_loss\n1,0.5\0\n", "metrics.csv: train_loss is '0.5"),
        ("layers.csv", "epoch,path,grad_norm\n1,dense,3e\n", "layers.csv: grad_norm is '3e' in line 2"),
        ("layers.csv", "epoch,grad_norm\n1,3\n", "layers.csv: no column 'path' among"),
    ],
)
def test_damaged_files_are_reported_in_one_line(
    name: str, text: str, message: str, runs: tuple[Path, Path], cli: Cli
) -> None:
    (runs[1] / name).write_text(text)
    assert message in cli("compare-runs", *map(str, runs)).error_line


def test_invalid_arguments_are_reported_in_one_line(run_folder: Path, cli: Cli, tmp_path: Path) -> None:
    run = str(run_folder)
    assert "two or more run folders" in cli("compare-runs", run).error_line
    assert "same run folder is given twice" in cli("compare-runs", run, f"{run}/").error_line
    assert "contains no metrics.csv" in cli("compare-runs", run, str(tmp_path)).error_line
    assert (
        "--out no/page.html is in a folder that does not exist"
        in cli("compare-runs", run, run, "--out", "no/page.html").error_line
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["metrics.csv", "layers.csv"])
def test_a_letter_in_the_history_of_a_finished_run_is_reported_on_resuming(
    name: str, run_folder: Path, cli: Cli, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "odd"))
    (run / "results.json").unlink()  # as in a run that was killed before its report was written
    lines = (run / name).read_text().splitlines()
    (run / name).write_text("\n".join([lines[0], lines[1] + "x", *lines[2:]]) + "\n")
    result = cli("train", "--resume", str(run))
    assert result.code == 2
    finished, complaint = result.err.splitlines()
    assert "is finished" in finished
    assert f"{name}: " in complaint
    assert "in line 2" in complaint
