"""Commands on run folders of strangers: one line, at once, and nothing outside of the run folder is read or written."""

import os
import shutil
import time
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.recipe.job import train
from pellucid.run.folder import RunFolder
from tests.reports import without_report
from tests.studio.test_strange_runs import CONTENTS, FILES, put

MAX_SECONDS = 10.0
COMMANDS = {
    "resume": lambda run, other: ["train", "--resume", str(run)],
    "extend": lambda run, other: ["train", "--resume", str(run), "train.epochs=2"],
    "compare": lambda run, other: ["compare-runs", str(other), str(run), "--out", str(run.parent / "page.html")],
    "evaluate": lambda run, other: ["evaluate", str(run), "--json"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with without_report():
        run = train("digits", out=tmp_path_factory.mktemp("runs"), progress=False, **{"train.epochs": 1}).path
    (run / "report.html").write_text("")
    return run


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("content", ["a pipe", "a folder", "a link to a device", "an empty object", "deep lists"])
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_end_in_one_line(
    command: str, content: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(FILES):
        strange = Path(shutil.copytree(run, tmp_path / f"strange-{number}"))
        put(strange, name, CONTENTS[content])
        start = time.monotonic()
        code = main(COMMANDS[command](strange, run))
        assert time.monotonic() - start < MAX_SECONDS, name
        errors = capsys.readouterr().err.splitlines()
        assert code in (0, 2), (name, errors)
        if code == 2:
            assert errors[-1].startswith("pellucid: "), (name, errors)
            assert "fault in pellucid" not in errors[-1], (name, errors)


@pytest.mark.parametrize("name", ["weights", "pictures", "figures", "tensorboard"])
def test_a_training_writes_into_no_linked_folder(
    name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange, outside = Path(shutil.copytree(run, tmp_path / "strange")), tmp_path / "outside"
    if (strange / name).exists():
        shutil.move(strange / name, outside)
    else:
        outside.mkdir()
    (outside / ".old.tmp").write_text("mine")
    (strange / name).symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.iterdir()}
    assert main(["train", "--resume", str(strange), "train.epochs=2"]) == 2
    assert f"{strange / name} is a link to a folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in outside.iterdir()} == before


@pytest.mark.parametrize("name", ["data", "notes", "images"])
def test_links_of_the_user_in_a_run_folder_remain(name: str, run: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(run, tmp_path / "own"))
    (tmp_path / "outside").mkdir()
    (own / name).symlink_to(tmp_path / "outside")
    with without_report():
        assert main(["train", "--resume", str(own), "train.epochs=2"]) == 0
    assert (own / name).is_symlink()


@pytest.mark.parametrize("is_dangling", [False, True])
def test_a_linked_folder_is_refused_before_a_folder_is_made(tmp_path: Path, is_dangling: bool) -> None:
    outside = tmp_path / "outside"
    if not is_dangling:
        outside.mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/weights").symlink_to(outside)
    with pytest.raises(PellucidError, match="weights is a link"), RunFolder(tmp_path / "run"):
        pass
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["weights"]
    assert outside.exists() != is_dangling


def test_a_run_folder_may_be_reached_through_a_link(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "mine")
    (tmp_path / "link").symlink_to("mine")
    with without_report():
        assert main(["train", "--resume", str(tmp_path / "link"), "train.epochs=2"]) == 0
    assert not os.path.islink(tmp_path / "mine/weights/last.safetensors")


@pytest.mark.parametrize("text", ["..", ".", "/", "../other", "/tmp", "a/b"])
def test_the_following_run_is_a_folder_beside_the_run(
    text: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = Path(shutil.copytree(run, tmp_path / "runs/strange"))
    recipe = (strange / "recipe.toml").read_text()
    (strange / "recipe.toml").write_text(recipe.replace('then = ""', 'then = "xor"'))
    shutil.copy(strange / "recipe.toml", tmp_path)
    (strange / "then.txt").write_text(f"{text}\n")
    assert main(["train", "--resume", str(strange)]) == 2
    assert "not the name of a folder beside" in capsys.readouterr().err
