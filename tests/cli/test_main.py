"""Every command has the documented exit codes, reports an error in one line, and shows tracebacks only on request."""

import subprocess
import sys
from pathlib import Path

import pytest

from pellucid import __version__
from pellucid.base.errors import PellucidError
from pellucid.cli import main as main_module
from tests.cli.conftest import Cli


def _import_stopped_by(error: BaseException) -> ImportError:
    """Return the ImportError that compiled modules raise if `error` stops their import."""
    it = ImportError("initialization failed")
    it.__cause__ = error
    return it


LARGE_MODULES = {"torch", "numpy", "matplotlib", "sklearn", "PIL", "safetensors"}


# The help of `scorecard` imports the conformance package and its large dependencies.
HELP_LINES = [[name, "--help"] for name in main_module.commands() if name != "scorecard"]


@pytest.mark.parametrize("lines", [[["--help"]], [["--version"]], [["nonsense"]], HELP_LINES], ids=lambda it: it[0][0])
def test_help_and_errors_import_no_large_module(lines: list[list[str]]):
    code = (
        f"import sys; from pellucid.cli.main import main\nfor line in {lines!r}: main(line)\n"
        f"print(sys.modules.keys() & {LARGE_MODULES!r})"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_root())
    assert process.stdout.splitlines()[-1] == "set()"


def test_the_module_runs_as_a_process():
    process = subprocess.run(
        [sys.executable, "-m", "pellucid", "--version"], capture_output=True, text=True, check=False, cwd=_root()
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, f"pellucid {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "argument"),
    [
        (["segment", "camvid", "", "--out", "masks"], "SOURCE"),
        (["segment", "camvid", "a.png", "--out", ""], "--out"),
        (["predict", "mnist-lenet", "a.png", ""], "SOURCE"),
        (["evaluate", ""], "MODEL"),
        (["evaluate", "mnist-lenet", "--data="], "--data"),
        (["compare-runs", "", "b"], "RUN"),
        (["data", "list", "--data", ""], "--data"),
        (["gestures", "predict", "MODEL", "--video", ""], "--video"),
        (["train", "digits", ""], "DATA|key=value"),
    ],
)
def test_an_empty_path_is_refused(words: list[str], argument: str, cli: Cli, tmp_path: Path):
    command = " ".join(words[:2] if words[0] in ("gestures", "data") else words[:1])
    assert cli(*words).error_line.startswith(f"pellucid {command}: {argument} is empty; see pellucid {command} --help")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(words: list[str], cli: Cli):
    result = cli(*words)
    assert result.code == 0
    assert all(name in result.out for name in main_module.commands())


@pytest.mark.parametrize("command", main_module.commands())
def test_every_command_has_a_help_text(command: str, cli: Cli):
    result = cli(command, "--help")
    assert result.code == 0
    assert result.out.startswith(f"usage: pellucid {command}")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["trian"], "no command 'trian'; did you mean 'train'?"),
        (["--vers"], "did you mean '--version'?"),
        (["train"], "needs a RECIPE"),
        (["train", "mnist-lent"], "did you mean 'mnist-lenet'?"),
        (["train", "digits", "--jsn"], "did you mean '--json'?"),
        (["train", "digits", "train.epoch=1"], "did you mean 'train.epochs'?"),
        (["train", "digits", "train.epochs=x"], "train.epochs takes a whole number, not 'x'"),
        (["train", "digits", "train.epochs"], "'train.epochs' is not a setting"),
        (["train", "detetc", "own/cells"], "no task 'detetc'; did you mean 'detect'?"),
        (["train", "digits", "own/cells"], "digits is a recipe with data of its own; leave out 'own/cells'"),
        (["train", "optimizer.lr=1"], "the recipe or the task comes first"),
        (
            ["train", "digits", "network.sizes=[64, 5]"],
            "digits: the network outputs 5 values, but the data have 10 classes",
        ),
        (["train", "digits", "network.sizes=[64, 32, 12]"], "end network.sizes with 10"),
        (["train", "digits", "network.model=convnet", "network.classes=3"], "set network.classes=10"),
        (["train", "digits", "loss.name=nll"], "head.scores: Dense is followed by NegativeLogLikelihood"),
        (["train", "digits", "network.sizes=[784, 10]"], "begin with 64"),
        (["train", "digits", "network.sizes=[64, 100000000000, 10]"], "make [network] smaller"),
        (["train", "digits", "schedule.name=reduce_on_plateau"], "data.validation"),
        (["train", "digits", "train.early_stopping=3"], "data.validation"),
        (["train", "--resume", "nowhere"], "nowhere does not exist"),
        (["train", "digits", "--resume", "x"], "leave out 'digits'"),
        (["train", "digits", "--out"], "expected one argument"),
        (["evaluate"], "required: MODEL"),
        (["evaluate", "digits"], "is a recipe without trained weights"),
        (["evaluate", "nothing"], "no model 'nothing'"),
        (["predict", "nothing"], "give either an image"),
        (["summary", "digitss"], "did you mean 'digits'?"),
        (["summary", "digits", "a", "b=1"], "'a' is not a setting"),
        (["verify", "digits", "--batch", "0"], "--batch is 0"),
        (["verify", "digits", "--batch", "many"], "invalid int value: 'many'"),
        (["recipes", "digit"], "did you mean 'digits'?"),
        (["recipes", "digits", "xor"], "one argument too many: 'xor'"),
        (["recipes", "digits", "--keys"], "leave out 'digits'"),
        (["data", "lst"], "did you mean 'list'?"),
        (["data", "get"], "required: NAME"),
        (["data", "get", "mnits"], "did you mean 'mnist'?"),
        (["data", "list", "mnist"], "one argument too many: 'mnist'"),
    ],
)
def test_an_invalid_argument_has_exit_code_2_and_one_line_with_a_remedy(words: list[str], hint: str, cli: Cli):
    result = cli(*words)
    assert hint in result.error_line
    assert result.out == ""


def test_data_check_lists_all_files_and_reports_the_first_damaged_one(cli: Cli):
    result = cli("data", "check", "mnist")
    assert result.out.count("missing") == 4
    assert "run `pellucid data get mnist`" in result.error_line


def test_a_file_that_cannot_be_written_has_exit_code_2(cli: Cli, tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert "file" in cli("train", "digits", "train.epochs=1", "--out", "file/runs").error_line


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), RuntimeError("first\nsecond")])
def test_an_internal_error_has_exit_code_1_and_one_line(error: Exception, cli: Cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(main_module, "_parse_command", _raiser(error))
    result = cli("recipes")
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "run again with --debug" in result.err


def test_debug_shows_where_an_error_came_from(cli: Cli):
    result = cli("train", "nothing", "--debug")
    assert result.code == 2
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("pellucid: no recipe 'nothing'")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
        (KeyboardInterrupt("all is saved"), 130, "all is saved"),
        (_import_stopped_by(KeyboardInterrupt()), 130, "stopped by Ctrl-C"),
        (_import_stopped_by(ValueError("odd")), 1, "this is a fault in pellucid"),
        (MemoryError(), 2, "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "not enough memory"),
        (PermissionError(13, "Permission denied", "/runs"), 2, "'/runs': permission denied"),
        (OSError(28, "No space left on device"), 2, "no space left on device"),
        (PellucidError("two\nlines"), 2, "two\\nlines"),
        (PellucidError("odd \ud800 \x1b[0m"), 2, "odd \\ud800 \\x1b[0m"),
    ],
)
def test_system_errors_are_reported_in_one_line(
    error: BaseException, code: int, message: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(main_module, "_parse_command", _raiser(error))
    result = cli("recipes")
    assert result.code == code
    assert message in result.err
    assert result.err.count("\n") == 1


def test_a_reader_that_closes_the_pipe_ends_the_command_quietly():
    command = f"{sys.executable} -m pellucid recipes mnist-conv | head -c 1; echo ${{PIPESTATUS[0]}}"
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=_root())
    assert process.stderr == ""
    assert process.stdout.splitlines()[-1].endswith("0")


def _raiser(error: BaseException):
    def raise_it(words: list[str]) -> int:
        raise error

    return raise_it


def _root() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("module", "code"),
    [("pellucid.doctor.case", 2), ("pellucid.tasks", 2), ("pellucid.errors", 1), ("numpy.nothing", 1)],
)
def test_only_folders_that_may_be_left_out_are_called_missing(module: str, code: int, monkeypatch, capsys):
    """pellucid.errors was moved, so an import of it is a fault of the code that imports it."""

    def command() -> int:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(main_module, "_parse_command", lambda words: command)
    assert main_module.main(["predict"]) == code
    assert ("which this installation lacks" in capsys.readouterr().err) is (code == 2)
