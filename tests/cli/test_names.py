"""Names are data: whatever classes, files and folders are called, every command works and shows them printably."""

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

from pellucid.combine import Sequential
from pellucid.errors import PellucidError
from pellucid.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.model import Model
from pellucid.report.figures.classes import confusion_matrix
from pellucid.report.figures.style import curve_axes, png, svg
from pellucid.report.page import document, table_html
from pellucid.text import aligned, note, printable
from tests.cli.conftest import Said, Say
from tests.pages import without_script

ROOT = Path(__file__).resolve().parents[2]
NAMES = [
    r"$\frac{$", os.fsdecode(b"bad\xff"), "esc\x1b[31mred", "bell\x07", "osc\x1b]0;owned\x07", "bidi\u202eabc\u2066",
    "new\nline", "c1\x9b31m", "<script>", "marks\u200e\u200f\u061c\u2028\x7f",
]  # fmt: skip
TEXTS = {".html", ".svg", ".json", ".jsonl", ".csv", ".md", ".toml", ".txt", ".py"}


def check_plain(text: str) -> None:
    """Nothing but printable characters and line ends."""
    odd = {c for c in text if not c.isprintable()} - set("\n\t\r")
    assert not odd, odd


def check_said(said: Said) -> None:
    check_plain(said.out)
    check_plain(said.err)
    assert "Traceback" not in said.err


def check_written(folder: Path) -> set[str]:
    """Every text file below a folder is UTF-8 without what is not printable."""
    files = [file for file in folder.rglob("*") if file.suffix in TEXTS]
    for file in files:
        text = file.read_bytes().decode("utf-8")
        check_plain(text)
        is_view = 'type="importmap"' in text  # of the studio, whose files have scripts; tests/studio reads its texts
        if file.suffix in (".html", ".svg") and "<script" in text and not is_view:
            without_script(text)
    return {file.suffix for file in files}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures for each name, in a folder that is called oddly itself."""
    root = tmp_path_factory.mktemp("names") / "$\\alpha \u202e\x1b[31m"
    for k, name in enumerate(NAMES):
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(6):
            pixels = np.random.default_rng(number).integers(0, 255, (16, 16), dtype=np.uint8)
            pixels[:, k] = 255
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def model(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A convolutional network of these classes, which names the folder as its data."""
    net = Sequential(
        conv=Conv2d(2, 3, padding=1), relu=ReLU(), pool=MaxPool2d(8), flatten=Flatten(), dense=Dense(len(NAMES))
    )
    it = Model(net, input_shape=(1, 16, 16), classes=sorted(NAMES), preprocess={"data": str(pictures)})
    file = tmp_path_factory.mktemp("named") / "m\x1b[5m\u202e.safetensors"
    it.save(file)
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
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_names_printably(
    command: str, form: tuple[str, ...], pictures: Path, model: str, say: Say, tmp_path: Path
):
    broken = tmp_path / "\x1b]0;owned\x07.png"
    broken.write_bytes(b"no picture")
    places = {
        "MODEL": model, "PICTURES": str(pictures), "FOLDER": str(pictures / NAMES[5]), "BROKEN": str(broken),
        "PICTURE": str(pictures / NAMES[1] / "0.png"), "OTHER": str(pictures / NAMES[6] / "1.png"),
    }  # fmt: skip
    said = say(*(places.get(word, word) for word in COMMANDS[command]), *form)
    assert said.code == 0, said.err
    check_said(said)
    check_written(tmp_path)
    if form:
        assert said.json


WRONG = {name: [name] for name in ("evaluate", "doctor", "summary", "verify", "train")}
WRONG |= {"predict": ["predict", "MODEL"], "trace": ["trace", "MODEL"], "explain": ["explain", "MODEL"]}
WRONG |= {"data get": ["data", "get"], "weights get": ["weights", "get"], "weights show": ["weights", "show"]}
WRONG |= {"recipes": ["recipes"], "gestures train": ["gestures", "train"], "no command": []}
WRONG |= {"resume": ["train", "--resume"], "export": ["export", "--to", "onnx"], "setting": ["train", "digits"]}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", WRONG)
def test_unknown_names_are_reported_in_one_printable_line(command: str, name: str, model: str, say: Say):
    said = say(*(model if word == "MODEL" else word for word in WRONG[command]), name)
    check_plain(said.complaint.removesuffix("\n"))
    assert "\n" not in said.complaint[:-1]


@pytest.mark.slow
def test_training_on_a_folder_with_unprintable_names_writes_a_report(pictures: Path, say: Say, tmp_path: Path):
    recipe = ("data.size=16", "data.mode=L", "data.validation=0.2", "network.sizes=[256, 8, 10]", "train.epochs=1")
    said = say("train", "digits", f"data.name={pictures}", *recipe, "--out", NAMES[1])
    assert said.code == 0, said.err
    check_said(said)
    assert check_written(tmp_path) >= {".html", ".toml", ".json", ".csv"}
    run = str(Path(NAMES[1]) / "digits-1")
    given = "--data", str(pictures)
    for words in (["train", "--resume", run], ["evaluate", run, *given], ["doctor", run, "--html", "d.html", *given]):
        again = say(*words)
        assert again.code == 0, again.err
        check_said(again)
    shutil.copytree(run, tmp_path / NAMES[5])
    compared = say("compare-runs", run, NAMES[5], "--out", "c.html")
    assert compared.code == 0, compared.err
    check_said(compared)
    check_written(tmp_path)


def test_a_data_folder_that_no_recipe_can_name_is_refused_before_anything_is_written(say: Say, tmp_path: Path):
    said = say("train", "digits", f"data.name={NAMES[1]}")
    assert "data.name takes text in UTF-8" in said.complaint
    assert "rename" in said.complaint
    assert os.listdir(tmp_path) == []


def test_a_module_is_not_exported_under_a_name_that_no_code_can_hold(model: str, say: Say, tmp_path: Path):
    said = say("export", model, "--to", "torch", "--out", f"{NAMES[1]}.py")
    assert "cannot be the name of a Python file" in said.complaint
    assert os.listdir(tmp_path) == []


# Two command lines in one process, which takes longer to start than they do: one that succeeds and one that fails.
TWICE = """
import sys
from pellucid.cli.main import run
words, codes = sys.argv[1:], []
for sys.argv in (["pellucid", *words[:-1]], ["pellucid", *words]):
    try:
        run()
    except SystemExit as end:
        codes.append(end.code)
sys.exit(0 if codes == [0, 2] else f"codes {codes}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("encoding", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_names_are_printed_on_a_terminal_without_unicode(encoding: dict[str, str], model: str, pictures: Path):
    picture = os.fsencode(pictures / NAMES[1] / "0.png")
    words = [sys.executable, "-c", TWICE, "predict", os.fsencode(model), picture, b"ni\xc3\xb1o\xff.png"]
    environment = {**os.environ, **encoding, "COLUMNS": "80"}
    done = subprocess.run(words, capture_output=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr.startswith(b"pellucid")
    assert not set(done.stdout + done.stderr) & {0x1B, 0x07, 0x9B}


def test_a_deleted_working_directory_is_reported_in_one_line(tmp_path: Path):
    (tmp_path / "gone").mkdir()
    command = f"cd {tmp_path}/gone && rmdir ../gone && exec {sys.executable} -m pellucid summary digits"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "pellucid: the current folder no longer exists; change to one that does, and try again\n"


@pytest.mark.parametrize("name", NAMES)
def test_printable_escapes_what_is_not_printable(name: str, capsys: pytest.CaptureFixture[str]):
    assert printable(name).isprintable()
    assert printable(printable(name)) == printable(name)
    check_plain(table_html(name, [(name, name), (name, name)]))
    check_plain(document("", name))
    check_plain(str(PellucidError(name)))
    assert aligned([(name, "x")]).count("\n") == 0
    note(name)
    said = capsys.readouterr().err
    check_plain(said)
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", [*NAMES, r"$x^2$", "a_b^c", "100 %", r"\alpha"])
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
    for name in NAMES[1:8]:
        with pytest.raises(PellucidError, match="cannot be a layer's name"):
            Sequential(**{name: ReLU()})


# Files that write to stdout or stderr without `say` and `note`: those two, lines that are rewritten, and what a user's
# module itself has written while it was exported.
ALLOWED = {
    "pellucid/command/out.py", "pellucid/text.py", "pellucid/command/progress.py", "pellucid/opening/exported.py",
}  # fmt: skip


@pytest.mark.slow
def test_output_goes_through_say_and_printable_only():
    result: list[str] = []
    for file in (ROOT / "pellucid").rglob("*.py"):
        place = file.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if (call == "print" or call.endswith(("stdout.write", "stderr.write"))) and place not in ALLOWED:
                result.append(f"{place}: {call}")
            if call.endswith("savefig") and place != "pellucid/report/figures/style.py":
                result.append(f"{place}: {call}")
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {node.module} if isinstance(node, ast.ImportFrom) else {one.name for one in node.names}
                if names & {"html", "xml.sax.saxutils"} or ("markupsafe" in names and place != PAGES):
                    result.append(f"{place}: {ast.unparse(node)}")
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and place != PAGES:
                result += [
                    f"{place}: HTML in Python, which nothing escapes: {tag}" for tag in MARKUP.findall(node.value)
                ]
            if call.endswith("Markup"):
                result.append(f"{place}: {ast.unparse(node)}")
    assert sorted(result) == [f"{PAGES}: {call}" for call in sorted(HTML)]


PAGES = "pellucid/report/page.py"
MARKUP = re.compile(r"</[a-z]\w*>|<[a-z]\w* [\w-]+=")
HTML = (  # what is taken as HTML: the label of a picture, the picture as matplotlib wrote it, and a fragment of ours
    "Markup('<svg role=\"img\" aria-label=\"{}\"')", "Markup(fragment)",
    "Markup(svg(figure, name).removeprefix('<svg'))",
)  # fmt: skip
TEMPLATES = ROOT / "pellucid" / "report" / "templates"


@pytest.mark.parametrize("file", sorted(TEMPLATES.iterdir()), ids=lambda file: file.name)
def test_templates_escape_all_that_they_are_given(file: Path):
    text = file.read_text(encoding="utf-8")
    for way_out in (
        r"\|\s*safe\b",
        r"autoescape",
        r"\bMarkup\b",
        r"striptags",
        r"xmlattr",
        r"tojson",
        r"\bon\w+=",
        r"innerHTML|insertAdjacent|document\.write",
    ):
        assert not re.search(way_out, text), way_out
    for attribute in re.findall(r"[\w-]+=(?!\s)([^\s>]*\{\{)", re.sub(r"\{%.*?%\}", "", text, flags=re.DOTALL)):
        assert attribute.startswith('"'), f"{attribute}: an attribute without quotes escapes nothing"
    for inside in re.findall(r"<(?:script|style)[^>]*>(.*?)</(?:script|style)>", text, flags=re.DOTALL):
        assert re.fullmatch(r'\s*\{% include "[\w.]+" %\}\s*', inside), "data is no script and no style sheet"
    if file.suffix != ".html":
        assert not re.search(r"\{\{|\{%|\{#", text), "what is included as it is holds no values"


def test_templates_show_names_as_text_everywhere():
    for name in [*NAMES, '" onclick="x', "'><img src=x>", "{{ 7 * 7 }}", "</style><script>x</script>"]:
        page = table_html(name, [(name, "n"), ("row", name)])
        check_plain(page)
        body = page.partition("</style>")[2]
        assert "<script" not in body
        assert "<img" not in body
        assert body.count(escape(printable(name, "\n"), quote=False).replace('"', "&#34;").replace("'", "&#39;")) == 3


@pytest.mark.parametrize("command", ["predict", "gestures predict", "gestures predict --video", "evaluate"])
def test_outputs_that_are_not_finite_are_refused(command: str, pictures: Path, say: Say, tmp_path: Path):
    net = Sequential(flatten=Flatten(), dense=Dense(len(NAMES)))
    for key, scale in (("preprocess", 1.0), ("weights", 3e38)):
        numbers = {"mean": [3e38], "std": [1e-38]} if key == "preprocess" else {}
        it = Model(net, input_shape=(1, 16, 16), classes=sorted(NAMES), preprocess={"data": str(pictures), **numbers})
        for tensor in it.weights.values():
            tensor.copy_(torch.sign(tensor) * scale if key == "weights" else tensor)
        file = tmp_path / f"{key}.safetensors"
        it.save(file)
        more = {"evaluate": ["--data", str(pictures)], "gestures predict --video": [str(pictures / NAMES[0])]}
        words, _, option = command.partition(" --")
        given = more.get(command, [str(pictures / NAMES[0] / "0.png")])
        said = say(*words.split(), str(file), *([f"--{option}"] if option else []), *given)
        assert "NaN" in said.complaint or "infinit" in said.complaint
        assert said.out == ""
