"""The view Learn: the texts of a lesson, and its numbers and figures for chosen values."""

import io
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid import Model, PellucidError
from pellucid.lessons.guide import Slider
from pellucid.lessons.lesson import LESSONS, LessonSettings, Result, find_lesson
from pellucid.studio.learn.runs import AT_ONCE, StepRuns
from pellucid.studio.messages import Reply
from pellucid.studio.view import Library
from tests.cli.conftest import Cli, cli  # noqa: F401  (a fixture)
from tests.studio.talk import Tab
from tests.studio.test_traced_file import given_in


def run(tab: Tab, step: str, *values: str) -> Any:
    """Ask for a step of the lesson on descent until it is computed."""
    while (answer := tab.ask("learn.run", name="descent", step=step, values=list(values))).get("working"):
        pass
    return answer


def flat(numbers: Any) -> Any:
    """Return the numbers of an answer as the mapping that they were."""
    if isinstance(numbers, dict):
        return {name: flat(value) for name, value in numbers["rows"]}
    return numbers


@pytest.mark.parametrize(("first", "opened"), [("learn", "learn"), ("", "draw")])
def test_lessons_open_first_where_no_model_was_named(first: str, opened: str) -> None:
    library = Library(("mnist-lenet",), Model.load, first_view=first)
    assert Tab(library).ask("studio.open")["view"] == opened


def test_all_lessons_are_listed_in_the_order_of_the_course() -> None:
    lessons = {one["name"]: one for one in Tab().ask("learn.open")["lessons"]}
    assert list(lessons) == list(LESSONS)
    assert (lessons["descent"]["title"], lessons["descent"]["needs"]) == ("Gradient descent", ["neuron"])
    assert all(one["title"] and one["about"] for one in lessons.values())


@pytest.mark.slow
def test_the_list_of_lessons_imports_what_draws_their_figures() -> None:
    code = """
import sys, threading
from tests.studio.talk import Tab
tab = Tab()
assert not {"matplotlib", "jinja2"} & {*sys.modules}
tab.ask("learn.open")
for thread in set(threading.enumerate()) - {threading.main_thread()}:
    thread.join(60)
assert "matplotlib.figure" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", LESSONS)
def test_every_lesson_can_be_read(name: str) -> None:
    lesson = Tab().ask("learn.lesson", name=name)
    module = find_lesson(name)
    assert [step["name"] for step in lesson["steps"]] == [step.__name__ for step in module.STEPS]
    assert all(step["title"] and step["text"] and f"def {step['name']}(" in step["code"] for step in lesson["steps"])
    assert lesson["number"] == list(LESSONS).index(name) + 1
    assert [one["name"] for one in lesson["next"]] == list(LESSONS)[lesson["number"] : lesson["number"] + 1]
    everything = "".join(step["before"] + step["code"] for step in lesson["steps"]) + lesson["code"]
    assert "GUIDE" not in everything
    assert "lessons.guide" not in everything


def test_the_numbers_of_a_step_are_those_of_python() -> None:
    tab = Tab()
    for rate, start in [(0.5, 1.0), (0.66, 0.5), (0.617, 0.25)]:
        expected = find_lesson("descent").rates(LessonSettings(), rate=rate, start_x=start)
        answer = run(tab, "rates", f"rate={rate}", f"start_x={start}")
        assert flat(answer["numbers"]) == expected.numbers
        after = flat(answer["numbers"])[f"chosen, {rate:g}"]["end"]
        assert after == pytest.approx([start * (1 - 3 * rate) ** 20, (1 - rate) ** 20])
    image = np.asarray(Image.open(io.BytesIO(answer["tensors"]["png"].numpy().tobytes())).convert("L"))
    assert image.shape > (200, 200)
    assert image.std() > 5
    assert run(tab, "rates")["numbers"] == run(tab, "rates", "rate=0.5", "start_x=1.0")["numbers"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "descnt"}, "there is no lesson 'descnt'; did you mean 'descent'?"),
        (
            {"step": "rate"},
            "the lesson descent has no step 'rate'; did you mean 'rates'?; known: rates, batches, optimizers",
        ),
        ({"values": ["speed=1"]}, "the step has no slider 'speed'; known: rate, start_x"),
        ({"values": ["rate"]}, "a value must be NAME=VALUE, not 'rate'"),
        ({"values": ["rate=0.7"]}, "learning rate η must be a number from 0.1 to 0.68, not '0.7'"),
        ({"values": ["rate=nan"]}, "learning rate η must be a number from 0.1 to 0.68, not 'nan'"),
        ({"values": ["rate=1e999"]}, "learning rate η must be a number from 0.1 to 0.68, not '1e999'"),
        ({"values": ["rate=fast"]}, "learning rate η must be a number from 0.1 to 0.68, not 'fast'"),
        ({"values": ["rate=0.2", "rate=0.3"]}, "rate is given twice"),
        ({"values": [0.5]}, "learn.run: values must be a list of texts, not '[0.5]'"),
        (
            {"step": "batches", "values": ["batch_size=7.5"]},
            "examples in a mini-batch must be a whole number from 5 to 50, not '7.5'",
        ),
    ],
)
def test_what_cannot_be_chosen_is_refused_in_one_line(fields: dict[str, Any], text: str) -> None:
    answer = Tab().ask("learn.run", **{"name": "descent", "step": "rates", "values": [], **fields})
    assert (answer["kind"], answer["message"]) == ("error", text)


@pytest.mark.parametrize("is_running", [True, False])
def test_a_fault_is_printed_unless_the_server_has_been_ended(
    is_running: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("can't register atexit after shutdown")

    monkeypatch.setattr("pellucid.studio.learn.session.find_lesson", fail)
    monkeypatch.setattr("threading.main_thread", lambda: SimpleNamespace(is_alive=lambda: is_running))
    assert Tab().ask("learn.lesson", name="boxes")["message"] == "fault in the studio: RuntimeError"
    assert ("Traceback" in capsys.readouterr().err) == is_running


def test_values_of_a_choice_are_words() -> None:
    slider = Slider("kind", "kind of unit", ("relu", "tanh"))
    assert slider.read("tanh") == "tanh"
    with pytest.raises(PellucidError, match="kind of unit must be one of relu, tanh, not 'sine'"):
        slider.read("sine")
    whole = Slider("n", "n", (1, 2, 8)).read("4")
    assert (whole, type(whole)) == (4, int)


def test_a_long_step_leaves_the_tab_to_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()

    def slow(setting: LessonSettings) -> Result:
        end.wait(60)
        return Result({"seed": setting.seed})

    monkeypatch.setattr(find_lesson("descent"), "STEPS", (slow,))
    tab = Tab()
    assert tab.ask("learn.run", name="descent", step="slow")["working"]
    assert tab.ask("learn.open")["kind"] == "learn.open"
    end.set()
    assert run(tab, "slow")["numbers"] == {"rows": [["seed", 0]]}


def test_a_step_that_fails_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(setting: LessonSettings) -> Result:
        raise ZeroDivisionError("no such number")

    monkeypatch.setattr(find_lesson("descent"), "STEPS", (failing,))
    answer = run(Tab(), "failing")
    assert answer["message"] == "the step fails for these values: ZeroDivisionError: no such number"


def test_results_are_computed_once_and_what_nobody_waits_for_is_not_begun() -> None:
    runs, end, begun = StepRuns(), threading.Event(), list[int]()

    def computing(number: int) -> Any:
        def compute() -> Reply:
            begun.append(number)
            end.wait(60)
            return Reply({"number": number}, {})

        return compute

    futures = [runs.get(number, computing(number)) for number in range(AT_ONCE)]
    waiting = [runs.get(number, computing(number)) for number in (7, 8)]
    assert waiting[0].cancel()
    end.set()
    assert [future.result(60).fields["number"] for future in (*futures, waiting[1])] == [*range(AT_ONCE), 8]
    assert sorted(begun) == [*range(AT_ONCE), 8]
    assert runs.get(8, computing(9)).result(60).fields == {"number": 8}
    assert runs.get(7, computing(7)).result(60).fields == {"number": 7}  # computed anew


def test_a_process_that_ends_waits_only_for_steps_that_have_begun() -> None:
    code = f"""if True:
        import time
        from pellucid.studio.learn.runs import StepRuns
        runs = StepRuns()
        for number in range({AT_ONCE} + 2):
            runs.get(number, lambda: [print("begun"), time.sleep(1), print("done")])
        time.sleep(0.3)
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ended.stdout.count("begun"), ended.stdout.count("done")) == (AT_ONCE, AT_ONCE)


@pytest.mark.heavy
@pytest.mark.slow
def test_a_page_to_hand_out_has_a_figure_for_each_choice_unless_it_is_too_large(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = find_lesson("descent")
    monkeypatch.setattr(module, "STEPS", (module.rates,))
    written, page = {}, tmp_path / "descent.html"
    for most in (6_000_000, 100_000):
        monkeypatch.setattr("pellucid.studio.learn.file.MAX_BYTES", most)
        output = cli("lesson", "descent", "--html", str(page), "--json").json
        state, answers = given_in(page)
        written[most] = {key for key in answers if key.startswith("learn.run")}
        assert state == {"lesson": "descent", "file": "1", "fixed": ",".join(output["fixed"])}
    choices = [len(slider.values) for slider in module.GUIDE.sliders["rates"]]
    assert len(written[6_000_000]) == choices[0] * choices[1]
    assert output["fixed"] == ["rates"]
    assert len(written[100_000]) == 1
    assert "rate=0.5" in str(written[100_000])
    assert page.stat().st_size < 500_000


def test_files_of_a_lesson_are_refused_before_it_is_computed(cli: Cli, tmp_path: Path) -> None:  # noqa: F811
    both = cli("lesson", "descent", "--html", str(tmp_path / "a.html"), "--notebook", str(tmp_path / "a.ipynb"))
    assert "--notebook and --html write different files; give one of them" in both.error_line
    assert "does not end in .html" in cli("lesson", "descent", "--html", str(tmp_path / "a.pdf")).error_line
