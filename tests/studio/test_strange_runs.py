"""Run folders of strangers in the studio: no file of them makes it wait, fail or leave a training behind."""

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid.recipe.job import train
from pellucid.studio.runs import LOG, PROCESS, Runs, process_of
from tests.reports import without_report
from tests.studio.test_train import LONG, status, tab_of, wait

MAX_SECONDS = 10.0
FILES = (
    "recipe.toml", "lock", LOG, PROCESS, "live.json", "control.json", "results.json", "error.json", "metrics.csv",
    "layers.csv", "manifest.json", "confusion.json", "report.html", "then.txt", "pictures/epoch-0001.png",
    "weights/last.safetensors", "weights/best.safetensors", "weights/epoch-0001.safetensors",
)  # fmt: skip


def make_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


CONTENTS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a socket": make_socket,
    "a folder": os.mkdir,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a file": lambda path: path.symlink_to("/etc/hostname"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "nothing in it": lambda path: path.write_bytes(b""),
    "an empty object": lambda path: path.write_text("{}"),
    "deep lists": lambda path: path.write_text("[" * 100_000),
    "deep tables": lambda path: path.write_text("a" + ".a" * 20_000 + " = 1"),
    "a number of 32 digits": lambda path: path.write_text("9" * 32),
    "two numbers of 32 digits": lambda path: path.write_text(f"{'9' * 32} {'1' * 32}"),
    "bytes": lambda path: path.write_bytes(bytes(range(256)) * 100),
}
# Contents of a file with the numbers of processes.
NUMBERS = (
    *("0", "1", "-1", "4194305", "2147483648", "4294967296", "9223372036854775808", "9" * 19, "9" * 20, "9" * 32),
    *("9" * 5000, "1 " + "9" * 32, "9" * 32 + " 1", "1e9", "0x7", "1.5", "", " ", "\0", "a", "1\n2\n3", "\u0663"),
)


# Each file with a few of the contents, so that each content is in a few files; all pairs are in `make long`.
STRANGE_FILES = [
    pytest.param(name, content, marks=() if (row + column) % 4 == 0 else pytest.mark.long)
    for row, name in enumerate(FILES)
    for column, content in enumerate(CONTENTS)
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with without_report():
        return train("digits", out=tmp_path_factory.mktemp("runs"), progress=False, **{"train.epochs": 1}).path


def put(run: Path, name: str, make: Callable[[Path], object]) -> None:
    """Replace a file of a run."""
    file = run / name
    file.parent.mkdir(exist_ok=True)
    file.unlink(missing_ok=True)
    make(file)


@pytest.mark.parametrize(("name", "content"), STRANGE_FILES)
def test_a_strange_file_is_shown_or_refused_at_once(name: str, content: str, run: Path, tmp_path: Path) -> None:
    for other in ("first", "strange"):
        shutil.copytree(run, tmp_path / other)
    put(tmp_path / "strange", name, CONTENTS[content])
    tab, start = tab_of(tmp_path), time.monotonic()
    names = tab.ask("train.open")["runs"]
    assert "first" in names
    answers = [
        tab.ask("train.state", run="strange"),
        tab.ask("train.control", run="strange", action="stop"),
        tab.ask("train.picture", run="strange", epoch=1),
        tab.ask("train.compare", runs=["first", "strange"]),
        tab.ask("train.confusion", run="strange", epoch=1),
    ]
    for answer in answers:
        assert not answer.get("message", "").startswith("fault in the studio"), answer
        assert "\n" not in answer.get("message", "")
    tab.session.library.runs.close()
    assert time.monotonic() - start < MAX_SECONDS


@pytest.mark.parametrize("content", ["a pipe", "a socket", "a folder", "a link to a device", "a link to a file"])
def test_a_training_is_not_started_if_its_log_is_not_a_file(content: str, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "strange")
    put(tmp_path / "strange", LOG, CONTENTS[content])
    answer = tab_of(tmp_path).ask("train.control", run="strange", action="resume")
    assert answer["kind"] == "error"
    assert answer["message"].startswith(str(tmp_path / "strange" / LOG))
    assert answer["message"].endswith("remove it")


@pytest.mark.parametrize("name", ["lock", PROCESS])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_file_without_the_number_of_a_process_names_none(name: str, number: str, run: Path, tmp_path: Path) -> None:
    strange = Path(shutil.copytree(run, tmp_path / "strange"))
    (strange / "lock").write_bytes(b"")
    (strange / name).write_bytes(number.encode())
    with (strange / "lock").open("rb") as lock, (strange / LOG).open("w+b") as log:
        import fcntl

        for file in (lock, log):  # as if a training ran
            fcntl.flock(file, fcntl.LOCK_EX)
        assert process_of(strange) is None
        Runs(tmp_path).close()


@pytest.mark.heavy
@pytest.mark.slow
def test_a_training_ends_with_the_studio_beside_strange_runs(run: Path, tmp_path: Path) -> None:
    """A number of 32 digits in a lock ended the studio before it had stopped its trainings."""
    tab = tab_of(tmp_path)
    name = tab.ask("train.start", recipe="digits", settings=LONG)["run"]
    wait(tab, name, status("running"))
    for number, (content, make) in enumerate(CONTENTS.items()):
        for file in ("lock", LOG, PROCESS):
            strange = Path(shutil.copytree(run, tmp_path / f"{content}-{number}-{file}"))
            put(strange, file, make)
    process = process_of(tmp_path / name)
    assert process is not None
    tab.session.library.runs.close()
    assert process_of(tmp_path / name) is None
    assert (tmp_path / name / "weights/last.safetensors").is_file()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_a_loop_of_somebody_else_is_listed_with_its_curves_and_without_a_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "metrics.csv").write_text("epoch,step,lr,train_loss\n1,1,0.1,2.5\n2,6,0.1,2.0\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    runs = Runs(tmp_path)
    assert runs.names() == ["watched"]
    assert runs.history(folder)["train_loss"] == [2.5, 2.0]
    assert runs.state(folder) == {"status": "finished", "message": "", "epochs": 2, "live": None}
