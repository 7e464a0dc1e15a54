"""Every command works with any names of classes, files and folders, and escapes unprintable characters."""

import ast
import os
import re
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.base.text import aligned, note, printable
from pellucid.combine import Sequential
from pellucid.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.model import Model
from pellucid.report.figures.classes import confusion_matrix
from pellucid.report.figures.style import curve_axes, png, svg
from pellucid.report.page import document, table_html
from tests.cli.conftest import Cli, CliResult
from tests.pages import without_script

ROOT = Path(__file__).resolve().parents[2]
ODD_NAMES = [
    r"$\frac{$", os.fsdecode(b"bad\xff"), "esc\x1b[31mred", "bell\x07", "osc\x1b]0;owned\x07", "bidi\u202eabc\u2066",
    "new\nline", "c1\x9b31m", "<script>", "marks\u200e\u200f\u061c\u2028\x7f",
]  # fmt: skip
TEXT_SUFFIXES = {".html", ".svg", ".json", ".jsonl", ".csv", ".md", ".toml", ".txt", ".py"}


def check_plain(text: str) -> None:
    """Assert that a text has only printable characters and line ends."""
    unprintable = {c for c in text if not c.isprintable()} - set("\n\t\r")
    assert not unprintable, unprintable


def check_result(result: CliResult) -> None:
    check_plain(result.out)
    check_plain(result.err)
    assert "Traceback" not in result.err


def check_written(folder: Path) -> set[str]:
    """Assert that all text files below a folder are printable UTF-8; return the suffixes of the files found."""
    files = [file for file in folder.rglob("*") if file.suffix in TEXT_SUFFIXES]
    for file in files:
        text = file.read_bytes().decode("utf-8")
        check_plain(text)
        is_view = 'type="importmap"' in text  # a page of the studio has several scripts; see tests/studio
        if file.suffix in (".html", ".svg") and "<script" in text and not is_view:
            without_script(text)
    return {file.suffix for file in files}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures for each odd name, in a parent folder with an odd name."""
    root = tmp_path_factory.mktemp("names") / "$\\alpha \u202e\x1b[31m"
    for k, name in enumerate(ODD_NAMES):
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(6):
            pixels = np.random.default_rng(number).integers(0, 255, (16, 16), dtype=np.uint8)
            pixels[:, k] = 255
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def model(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file of a convolutional network for the classes of `pictures`, which names that folder as its data."""
    net = Sequential(
        conv=Conv2d(2, 3, padding=1), relu=ReLU(), pool=MaxPool2d(8), flatten=Flatten(), dense=Dense(len(ODD_NAMES))
    )
    odd_model = Model(net, input_shape=(1, 16, 16), classes=sorted(ODD_NAMES), preprocess={"data": str(pictures)})
    file = tmp_path_factory.mktemp("named") / "m\x1b[5m\u202e.safetensors"
    odd_model.save(file)
    return str(file)


COMMANDS = {
    "evaluate": ["evaluate", "MODEL", "--data", "PICTURES"],
    "predict": ["predict", "MODEL", "PICTURE", "OTHER"],
    "gestures predict": ["gestures", "predict", "MODEL", "PICTURE", "BROKEN"],
    "gestures predict --video": ["gestures", "predict", "MODEL", "--video", "FOLDER", "--out", "rows.csv"],
    "trace": ["trace", "MODEL", "PICTURE", "--html", "page.html"],
    "trace --weight": ["trace", "MODEL", "PICTURE", "--weight", "dense.weight[0, 0]", "--nudge", "0.1"],
    "explain": ["explain", "MODEL", "PICTURE", "--out", "maps", "--method", "occlusion"],
    "explain --page": ["explain", "MODEL", "--page", "page", "--data", "PICTURES"],
    "doctor": ["doctor", "MODEL", "--html", "page.html", "--data", "PICTURES"],
    "summary": ["summary", "MODEL", "--draw", "net.svg"],
    "verify": ["verify", "MODEL"],
    "export onnx": ["export", "MODEL", "--to", "onnx", "--out", "a.onnx"],
    "export torch": ["export", "MODEL", "--to", "torch", "--out", "a.py"],
    "weights show": ["weights", "show", "MODEL"],
    "data list": ["data", "list", "--data", "FOLDER"],
    "data check": ["data", "check", "digits", "--data", "FOLDER"],
    "weights list": ["weights", "list", "--data", "FOLDER"],
}


@pytest.mark.slow
@pytest.mark.parametrize("json_flag", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_names_printably(
    command: str, json_flag: tuple[str, ...], pictures: Path, model: str, cli: Cli, tmp_path: Path
):
    broken = tmp_path / "\x1b]0;owned\x07.png"
    broken.write_bytes(b"no picture")
    replacements = {
        "MODEL": model, "PICTURES": str(pictures), "FOLDER": str(pictures / ODD_NAMES[5]), "BROKEN": str(broken),
        "PICTURE": str(pictures / ODD_NAMES[1] / "0.png"), "OTHER": str(pictures / ODD_NAMES[6] / "1.png"),
    }  # fmt: skip
    result = cli(*(replacements.get(word, word) for word in COMMANDS[command]), *json_flag)
    assert result.code == 0, result.err
    check_result(result)
    check_written(tmp_path)
    if json_flag:
        assert result.json


UNKNOWN_NAME_COMMANDS = {name: [name] for name in ("evaluate", "doctor", "summary", "verify", "train")}
UNKNOWN_NAME_COMMANDS |= {"predict": ["predict", "MODEL"], "trace": ["trace", "MODEL"], "explain": ["explain", "MODEL"]}
UNKNOWN_NAME_COMMANDS |= {
    "data get": ["data", "get"],
    "weights get": ["weights", "get"],
    "weights show": ["weights", "show"],
}
UNKNOWN_NAME_COMMANDS |= {"recipes": ["recipes"], "gestures train": ["gestures", "train"], "no command": []}
UNKNOWN_NAME_COMMANDS |= {
    "resume": ["train", "--resume"],
    "export": ["export", "--to", "onnx"],
    "setting": ["train", "digits"],
}


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("command", UNKNOWN_NAME_COMMANDS)
def test_unknown_names_are_reported_in_one_printable_line(command: str, name: str, model: str, cli: Cli):
    result = cli(*(model if word == "MODEL" else word for word in UNKNOWN_NAME_COMMANDS[command]), name)
    check_plain(result.error_line.removesuffix("\n"))
    assert "\n" not in result.error_line[:-1]


@pytest.mark.slow
def test_training_on_a_folder_with_unprintable_names_writes_a_report(pictures: Path, cli: Cli, tmp_path: Path):
    recipe = ("data.size=16", "data.mode=L", "data.validation=0.2", "network.sizes=[256, 8, 10]", "train.epochs=1")
    result = cli("train", "digits", f"data.name={pictures}", *recipe, "--out", ODD_NAMES[1])
    assert result.code == 0, result.err
    check_result(result)
    assert check_written(tmp_path) >= {".html", ".toml", ".json", ".csv"}
    run = str(Path(ODD_NAMES[1]) / "digits-1")
    arguments = "--data", str(pictures)
    for words in (
        ["train", "--resume", run],
        ["evaluate", run, *arguments],
        ["doctor", run, "--html", "d.html", *arguments],
    ):
        second_result = cli(*words)
        assert second_result.code == 0, second_result.err
        check_result(second_result)
    shutil.copytree(run, tmp_path / ODD_NAMES[5])
    comparison_result = cli("compare-runs", run, ODD_NAMES[5], "--out", "c.html")
    assert comparison_result.code == 0, comparison_result.err
    check_result(comparison_result)
    check_written(tmp_path)


def test_a_data_folder_that_no_recipe_can_name_is_refused_before_anything_is_written(cli: Cli, tmp_path: Path):
    result = cli("train", "digits", f"data.name={ODD_NAMES[1]}")
    assert "data.name takes text in UTF-8" in result.error_line
    assert "rename" in result.error_line
    assert os.listdir(tmp_path) == []


def test_export_to_a_file_name_that_is_not_importable_is_refused(model: str, cli: Cli, tmp_path: Path):
    result = cli("export", model, "--to", "torch", "--out", f"{ODD_NAMES[1]}.py")
    assert "cannot be the name of a Python file" in result.error_line
    assert os.listdir(tmp_path) == []


# Run a command line that succeeds and one that fails, in one process, since its start takes most of the time.
RUN_TWICE_SCRIPT = """
import sys
from pellucid.cli.main import run_command
words, codes = sys.argv[1:], []
for sys.argv in (["pellucid", *words[:-1]], ["pellucid", *words]):
    try:
        sys.exit(run_command())
    except SystemExit as end:
        codes.append(end.code)
sys.exit(0 if codes == [0, 2] else f"codes {codes}")
"""


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("encoding", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_names_are_printed_on_a_terminal_without_unicode(encoding: dict[str, str], model: str, pictures: Path):
    picture = os.fsencode(pictures / ODD_NAMES[1] / "0.png")
    words = [sys.executable, "-c", RUN_TWICE_SCRIPT, "predict", os.fsencode(model), picture, b"ni\xc3\xb1o\xff.png"]
    environment = {**os.environ, **encoding, "COLUMNS": "80"}
    process = subprocess.run(words, capture_output=True, check=False, cwd=ROOT, env=environment)
    assert process.returncode == 0, process.stderr
    assert process.stdout
    assert process.stderr.startswith(b"pellucid")
    assert not set(process.stdout + process.stderr) & {0x1B, 0x07, 0x9B}


def test_a_deleted_working_directory_is_reported_in_one_line(tmp_path: Path):
    (tmp_path / "gone").mkdir()
    command = f"cd {tmp_path}/gone && rmdir ../gone && exec {sys.executable} -m pellucid summary digits"
    process = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr == "pellucid: the current folder no longer exists; change to one that does, and try again\n"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_printable_escapes_what_is_not_printable(name: str, capsys: pytest.CaptureFixture[str]):
    assert printable(name).isprintable()
    assert printable(printable(name)) == printable(name)
    check_plain(table_html(name, [(name, name), (name, name)]))
    check_plain(document("", name))
    check_plain(str(PellucidError(name)))
    assert aligned([(name, "x")]).count("\n") == 0
    note(name)
    error = capsys.readouterr().err
    check_plain(error)
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", [*ODD_NAMES, r"$x^2$", "a_b^c", "100 %", r"\alpha"])
def test_figures_show_names_as_they_are(name: str):
    figure = confusion_matrix([[3, 1], [0, 2]], [name, "other"])
    assert figure is not None
    for text in (svg(figure, "a"), svg(figure, "a")):
        check_plain(text)
        assert escape(printable(name if len(name) <= 16 else f"{name[:15]}…"), quote=False) in text
    free, plot = curve_axes(name, name)
    plot.set_title(name)
    plot.text(0, 0, name)
    plot.plot([0, 1], label=name)
    plot.legend()
    check_plain(svg(free, "b"))
    assert png(free).startswith(b"\x89PNG")


def test_a_layer_whose_name_is_not_printable_is_refused():
    for name in ODD_NAMES[1:8]:
        with pytest.raises(PellucidError, match="cannot be a layer's name"):
            Sequential(**{name: ReLU()})


# Files that may write to stdout or stderr without `print_lines` and `note`: the definitions of these two, progress
# lines that are overwritten, and the output of a user's module during its export.
FILES_THAT_PRINT = {
    "pellucid/command/out.py", "pellucid/base/text.py", "pellucid/command/progress.py", "pellucid/opening/exported.py",
}  # fmt: skip


@pytest.mark.slow
def test_output_is_printed_only_by_functions_that_escape_it():
    result: list[str] = []
    for file in (ROOT / "pellucid").rglob("*.py"):
        path = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if (call == "print" or call.endswith(("stdout.write", "stderr.write"))) and path not in FILES_THAT_PRINT:
                result.append(f"{path}: {call}")
            if call.endswith("savefig") and path != "pellucid/report/figures/style.py":
                result.append(f"{path}: {call}")
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {node.module} if isinstance(node, ast.ImportFrom) else {alias.name for alias in node.names}
                if names & {"html", "xml.sax.saxutils"} or ("markupsafe" in names and path != PAGE_FILE):
                    result.append(f"{path}: {ast.unparse(node)}")
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and path != PAGE_FILE:
                result += [
                    f"{path}: HTML in Python, which nothing escapes: {tag}" for tag in HTML_TAG.findall(node.value)
                ]
            if call.endswith("Markup"):
                result.append(f"{path}: {ast.unparse(node)}")
    assert sorted(result) == [f"{PAGE_FILE}: {call}" for call in sorted(MARKUP_CALLS)]


PAGE_FILE = "pellucid/report/page.py"
HTML_TAG = re.compile(r"</[a-z]\w*>|<[a-z]\w* [\w-]+=")
# Unescaped HTML: the label of a figure, a figure's SVG by matplotlib, and fragments written by this package.
MARKUP_CALLS = (
    "Markup('<svg role=\"img\" aria-label=\"{}\"')", "Markup(fragment)",
    "Markup(svg(figure, name).removeprefix('<svg'))",
)  # fmt: skip
TEMPLATES = ROOT / "pellucid" / "report" / "templates"


@pytest.mark.parametrize("file", sorted(TEMPLATES.iterdir()), ids=lambda file: file.name)
def test_templates_escape_all_values(file: Path):
    text = file.read_text(encoding="utf-8")
    for pattern in (
        r"\|\s*safe\b",
        r"autoescape",
        r"\bMarkup\b",
        r"striptags",
        r"xmlattr",
        r"tojson",
        r"\bon\w+=",
        r"innerHTML|insertAdjacent|document\.write",
    ):
        assert not re.search(pattern, text), pattern
    for attribute in re.findall(r"[\w-]+=(?!\s)([^\s>]*\{\{)", re.sub(r"\{%.*?%\}", "", text, flags=re.DOTALL)):
        assert attribute.startswith('"'), f"{attribute}: an attribute without quotes escapes nothing"
    for content in re.findall(r"<(?:script|style)[^>]*>(.*?)</(?:script|style)>", text, flags=re.DOTALL):
        assert re.fullmatch(r'\s*\{% include "[\w.]+" %\}\s*', content), "data is no script and no style sheet"
    if file.suffix != ".html":
        assert not re.search(r"\{\{|\{%|\{#", text), "what is included as it is holds no values"


def test_templates_show_names_as_text_everywhere():
    for name in [*ODD_NAMES, '" onclick="x', "'><img src=x>", "{{ 7 * 7 }}", "</style><script>x</script>"]:
        page = table_html(name, [(name, "n"), ("row", name)])
        check_plain(page)
        body = page.partition("</style>")[2]
        assert "<script" not in body
        assert "<img" not in body
        assert body.count(escape(printable(name, "\n"), quote=False).replace('"', "&#34;").replace("'", "&#39;")) == 3


@pytest.mark.parametrize("command", ["predict", "gestures predict", "gestures predict --video", "evaluate"])
def test_outputs_that_are_not_finite_are_refused(command: str, pictures: Path, cli: Cli, tmp_path: Path):
    net = Sequential(flatten=Flatten(), dense=Dense(len(ODD_NAMES)))
    for key, scale in (("preprocess", 1.0), ("weights", 3e38)):
        numbers = {"mean": [3e38], "std": [1e-38]} if key == "preprocess" else {}
        odd_model = Model(
            net, input_shape=(1, 16, 16), classes=sorted(ODD_NAMES), preprocess={"data": str(pictures), **numbers}
        )
        for tensor in odd_model.weights.values():
            tensor.copy_(torch.sign(tensor) * scale if key == "weights" else tensor)
        file = tmp_path / f"{key}.safetensors"
        odd_model.save(file)
        data_arguments = {
            "evaluate": ["--data", str(pictures)],
            "gestures predict --video": [str(pictures / ODD_NAMES[0])],
        }
        words, _, option = command.partition(" --")
        arguments = data_arguments.get(command, [str(pictures / ODD_NAMES[0] / "0.png")])
        result = cli(*words.split(), str(file), *([f"--{option}"] if option else []), *arguments)
        assert "NaN" in result.error_line or "infinit" in result.error_line
        assert result.out == ""
