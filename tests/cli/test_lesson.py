"""`pellucid lesson` prints numbers, writes figures and notebooks, and lists the lessons."""

import base64
import io
import json
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from pellucid.lessons import LESSONS
from pellucid.lessons.lesson import LessonSettings, find_lesson
from tests.cli.conftest import Cli


@pytest.mark.slow
def test_every_lesson_runs_as_a_command(cli: Cli, tmp_path: Path):
    output = cli("lesson", "universality", "--small", "--out", str(tmp_path), "--json").json
    assert output["steps"]["built"]["error below 0.1"]["hidden neurons"] == 81
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in output["figures"].values())
    assert "A network for every error" in cli("lesson", "universality", "--small", "--out", str(tmp_path)).out


def test_a_lesson_is_printed_with_its_questions_and_the_solutions_at_the_end(cli: Cli, tmp_path: Path):
    text = cli("lesson", "descent", "--small", "--out", str(tmp_path)).out
    guide = find_lesson("descent").GUIDE
    order = ["Guess first. The ball", f"figure: {tmp_path / 'rates.png'}", "The right guess: at -0.5", "Notice:"]
    order += [
        "learning rate η: 0.1, 0.2",
        "Guess first. All three",
        "Exercises",
        'check("descent.step", step)',
        "Later:",
    ]
    order += ["Solutions", "1. 0.4. The slope is 5x", "return w - rate"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert all(notice.split(":")[0][:60] in text for notices in guide.notices.values() for notice in notices)
    output = cli("lesson", "descent", "--small", "--out", str(tmp_path), "--json").json
    assert output["guide"]["exercises"][0]["answer"] == 0.4
    assert output["guide"]["sliders"]["rates"][0]["values"][0] == "0.1"
    assert output["steps"]["rates"]["largest rate"] == pytest.approx(2 / 3)


def test_lessons_are_listed(cli: Cli):
    rows = cli("lesson", "--json").json["lessons"]
    assert [row["name"] for row in rows] == list(LESSONS)
    assert [row["minutes"] for row in rows] == [find_lesson(name).GUIDE.minutes for name in LESSONS]
    needs = [find_lesson(name).GUIDE.needs for name in LESSONS]
    assert [tuple(row["needs"]) for row in rows] == needs
    for line, row, before in zip(cli("lesson").out.splitlines(), rows, needs, strict=True):
        assert line.split()[:3] == [row["name"], str(row["minutes"]), "min"]
        assert line.endswith(f"; needs {', '.join(before)}" if before else row["about"])


def test_an_unknown_lesson_is_refused(cli: Cli):
    assert "did you mean 'perceptron'?" in cli("lesson", "perceptrn").error_line


OPTIONS = {"--seed": "3", "--small": "", "--data": ".", "--out": "figures", "--html": "x.html", "--notebook": "x.ipynb"}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("words", "used"),
    [
        ((), ()),
        (("playground", "--html", "p.html"), ("--html",)),
        (("perceptron", "--html", "p.html"), ("--html", "--seed", "--small", "--data")),
        (("perceptron", "--notebook", "p.py"), ("--notebook", "--seed", "--small", "--data")),
    ],
)
def test_an_option_without_effect_is_refused(
    words: tuple[str, ...],
    used: tuple[str, ...],
    option: str,
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    if option in used:
        return
    monkeypatch.chdir(tmp_path)
    error = cli("lesson", *words, option, *filter(None, [OPTIONS[option]])).error_line
    assert " has no effect " in error or " write different files; give one of them" in error
    assert option in error
    assert [*tmp_path.iterdir()] == []


def test_the_playground_needs_a_file(cli: Cli):
    assert "give --html FILE" in cli("lesson", "playground").error_line


@pytest.mark.parametrize(
    "command", [("lesson", "pca"), ("lesson", "kmeans"), ("compare", "digits"), ("gestures", "train", "x")]
)
@pytest.mark.parametrize("seed", ["-1", "2147483648", "4294967290", "1.5", "one"])
def test_an_invalid_seed_is_refused(cli: Cli, command: tuple[str, ...], seed: str):
    error = cli(*command, "--seed", seed).error_line
    assert f"argument --seed: '{seed}' is not a seed; give a whole number from 0 to 2147483647" in error


@pytest.mark.slow
def test_the_largest_seed_is_accepted_by_every_generator(cli: Cli, tmp_path: Path):
    output = cli("lesson", "kmeans", "--seed", "2147483647", "--out", str(tmp_path), "--json").json
    assert output["seed"] == 2147483647


@pytest.mark.heavy
@pytest.mark.slow
def test_a_notebook_is_written(cli: Cli, tmp_path: Path):
    file = tmp_path / "lesson.ipynb"
    assert cli("lesson", "perceptron", "--notebook", str(file), "--json").json["notebook"] == str(file)
    notebook = nbformat.reads(file.read_text(encoding="utf-8"), as_version=4)
    nbformat.validate(notebook)
    assert json.loads(file.read_text(encoding="utf-8"))["nbformat"] == 4


def test_a_notebook_holds_the_outputs_of_the_lesson_with_its_seed_and_data(cli: Cli, tmp_path: Path):
    file, data = tmp_path / "lesson.ipynb", str(tmp_path)
    cli("lesson", "kmeans", "--notebook", str(file), "--seed", "7", "--small", "--data", data)
    written = nbformat.reads(file.read_text(encoding="utf-8"), as_version=4)
    nbformat.validate(written)
    with_outputs = [cell for cell in written.cells if cell.get("outputs")]
    steps = find_lesson("kmeans").STEPS
    assert len(with_outputs) == len(steps)
    for cell, step in zip(with_outputs, steps, strict=True):
        assert f"result = {step.__name__}(LessonSettings(seed=7, small=True, data={data!r}))" in cell.source
        printed, drawn = cell.outputs
        assert printed.text == f"{step(LessonSettings(7, True, data))}\n"
        assert Image.open(io.BytesIO(base64.b64decode(drawn.data["image/png"]))).width > 400


def test_a_notebook_with_outputs_puts_out_the_same_when_it_is_run(cli: Cli, tmp_path: Path):
    file = tmp_path / "lesson.ipynb"
    cli("lesson", "boxes", "--notebook", str(file))
    written = nbformat.reads(file.read_text(encoding="utf-8"), as_version=4)
    names: dict[str, object] = {}
    for cell in written.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
            if cell.outputs:
                assert cell.outputs[0].text == f"{names['result']}\n"


def test_a_script_contains_the_code_of_the_lesson(cli: Cli, tmp_path: Path):
    file = tmp_path / "lesson.py"
    cli("lesson", "universality", "--small", "--notebook", str(file))
    names = {"__name__": "script"}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), names)
    assert names["result"].numbers  # the script ran up to its last step
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# %% [markdown]\n# # ")
    assert text.count("# %%\n") > len(find_lesson("universality").STEPS)
