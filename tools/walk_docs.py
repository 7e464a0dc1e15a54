"""Run the commands and the code of the documentation like a new user: `python tools/walk_docs.py [PAGE ...]`.

The pages are README.md, docs/index.md, docs/start.md and docs/how-to/*.md. Every line of their `sh` blocks and every
`python` block runs, in order, in an empty folder for each page, with the package from a wheel. Trainings are shortened,
and commands that need data sets are omitted. Other blocks after "Save this as `NAME`" are written to files. `--install`
also installs the dependencies of the package, instead of using the packages of this environment.
"""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
import traceback
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "docs/index.md",
    "docs/start.md",
    *sorted(f"docs/how-to/{page.name}" for page in ROOT.glob("docs/how-to/*.md")),
)
# Commands that need data sets that are not part of the package; tests/docs/test_walk.py runs them.
NEED_DATA = (
    "pellucid train mnist-lenet",
    "pellucid evaluate mnist-lenet --json",
    "pellucid train bccd-single",
    "pellucid train camvid-fcn8",
    "pellucid train faces-heatmap",
)
SET_UP_COMMANDS = (
    "make demo",
    "make test",
    ". .venv/bin/activate",
    "pip install",
)  # beginnings of commands that set up an environment, which are not run
# Arguments that shorten a training, by the beginning of the command; those of the first match are appended.
SHORTENING = (
    ("pellucid train --resume", ""),
    ("pellucid train digits", ""),
    ("pellucid train", "train.epochs=1"),
    ("pellucid sweep --resume", ""),
    ("pellucid sweep", "train.epochs=2"),
    ("pellucid gestures train", "--epochs 1"),
    ("pellucid gestures compare", "train.epochs=1"),
    ("pellucid find-lr", "--steps 20"),
)
PACKAGES = {"docs/how-to/open-by-name.md": "timm"}  # pages that are omitted unless this package is installed
EXTRAS = "camera,export,open,parquet,serve,studio,tensorboard,tune,weights"
BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<kind>sh|python|toml|csv)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
SAVED_NAME = re.compile(r"Save this as `([\w.]+)`")
MAX_SECONDS = 300  # for one command


class Step(NamedTuple):
    """A command, code block or file of a page. where: page and line. kind: "sh", "python" or the file's name."""

    where: str
    kind: str
    text: str


def steps_of(page: str) -> Iterator[Step]:
    """Yield the commands, code blocks and files of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 2
        if block["kind"] == "python":
            yield Step(f"{page}:{line}", "python", "\n" * (line - 1) + block["text"])
        elif block["kind"] != "sh":
            if file_names := SAVED_NAME.findall(text[: block.start()].rpartition("\n\n")[0].rpartition("\n\n")[2]):
                yield Step(f"{page}:{line}", file_names[-1], block["text"])
        else:
            for number, command in enumerate(block["text"].splitlines(), line):
                if words := shlex.split(command, comments=True):
                    yield Step(f"{page}:{number}", "sh", shlex.join(words))


def shortened(command: str) -> str:
    """Return a command with the arguments that shorten its training, unless it sets them itself."""
    words = next((words for start, words in SHORTENING if f"{command} ".startswith(start)), "")
    is_set = any(part.startswith(words.partition("=")[0] + "=") for part in command.split()) if "=" in words else False
    return command if is_set else f"{command} {words}".rstrip()


def environment(folder: Path, install: bool = False) -> Path:
    """Create an environment in a folder, install the package from a new wheel, and return its interpreter.

    install: also install the dependencies, instead of using the packages of this environment.
    """
    run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)])
    (wheel,) = folder.glob("pellucid-*.whl")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    if install:
        run([*pip, "--constraint", str(ROOT / "constraints.txt"), f"{wheel}[{EXTRAS}]"])
    else:
        run([*pip, "--no-deps", "--no-index", str(wheel)])
        # A path in a .pth file adds the other packages, but not an editable installation of the checkout.
        (site,) = (folder / "env" / "lib").glob("python*/site-packages")
        (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        torchrun = python.with_name("torchrun")  # PyTorch's script starts this environment's interpreter
        torchrun.write_text(f"#!{python}\nfrom torch.distributed.run import main\n\nmain()\n", encoding="utf-8")
        torchrun.chmod(0o755)
    return python


def has_package(python: Path, name: str) -> bool:
    """Return whether an interpreter's environment has a package."""
    words = [str(python), "-c", f"import importlib.util as util; raise SystemExit(util.find_spec({name!r}) is None)"]
    return subprocess.run(words, check=False).returncode == 0


def run(command: Sequence[str]) -> None:
    """Run a command; raise CalledProcessError unless it exits with 0."""
    subprocess.run(command, check=True)


def walk(pages: Sequence[str], python: Path, folder: Path) -> list[str]:
    """Run the steps of pages with an interpreter, each page in an empty folder; return the pages that failed.

    Commands in NEED_DATA and SET_UP_COMMANDS, and pages without their package, are omitted.
    """
    plan: list[dict[str, object]] = []
    for page in pages:
        if page in PACKAGES and not has_package(python, PACKAGES[page]):
            print(f"{page}: omitted, since {PACKAGES[page]} is not installed", flush=True)
            continue
        all_steps = [*steps_of(page)]
        steps = [step for step in all_steps if step.text not in NEED_DATA and not step.text.startswith(SET_UP_COMMANDS)]
        omitted = [step.text for step in all_steps if step not in steps]
        print(f"{page}: {len(steps)} steps; not run: {'; '.join(omitted) or 'none'}", flush=True)
        page_folder = folder / page.replace("/", "-")
        for name in ("home", "work"):
            (page_folder / name).mkdir(parents=True)
        plan.append({"page": page, "steps": steps, "place": str(page_folder)})
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PELLUCID", "PYTHON"))},
        **{"HOME": str(folder), "XDG_CACHE_HOME": str(folder), "OMP_NUM_THREADS": "1"},
        **{"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "MPLBACKEND": "agg"},
        **dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9"),  # no network: this port is closed
        **{"no_proxy": "127.0.0.1,localhost", "BROWSER": "true"},  # opens no browser
    }
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    command = [str(python), str(Path(__file__)), "--plan", str(folder / "plan.json")]
    succeeded = subprocess.run(command, cwd=folder, env=variables, check=False).returncode == 0
    failed = folder / "failed.json"
    return [*pages] if not failed.exists() else json.loads(failed.read_text()) if not succeeded else []


def follow_all(plan: Path) -> int:
    """Run the pages of a plan, each in a forked process with separate folders; return the exit code.

    PyTorch, SciPy and Matplotlib are imported before the forks, which saves three seconds for each page.
    """
    import matplotlib.figure  # noqa: PLC0415, F401
    import sklearn.datasets  # noqa: PLC0415, F401
    import torch  # noqa: PLC0415, F401

    import pellucid  # noqa: PLC0415 (only the environment's interpreter has it)

    assert pellucid.__file__ is not None
    assert not Path(pellucid.__file__).is_relative_to(ROOT / "pellucid"), "the package is that of the checkout"
    run(["pellucid", "--version"])  # the installed command; the others run in the children
    failed: list[str] = []
    for entry in json.loads(plan.read_text(encoding="utf-8")):
        sys.stdout.flush()
        child = os.fork()
        if not child:
            os.environ |= {"HOME": f"{entry['place']}/home", "XDG_CACHE_HOME": f"{entry['place']}/home"}
            os.chdir(f"{entry['place']}/work")
            code = 1
            try:
                code = follow([Step(*step) for step in entry["steps"]])
            except BaseException:  # raised by code of the page
                traceback.print_exc()
            sys.stdout.flush()
            os._exit(code)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            failed.append(entry["page"])
    (plan.parent / "failed.json").write_text(json.dumps(failed))
    return int(bool(failed))


def follow(steps: Sequence[Step]) -> int:
    """Run steps in this process and its folder, code in one namespace; return 1 if a command failed, else 0."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    servers: list[subprocess.Popen[bytes]] = []
    start = perf_counter()
    try:
        for step in steps:
            print(f"{perf_counter() - start:6.1f} s  {step.where}: {step.text.strip()[:100]!r}", flush=True)
            if step.kind == "python":
                exec(compile(step.text, step.where, "exec"), namespace)
            elif step.kind != "sh":
                Path(step.kind).write_text(step.text, encoding="utf-8")
            elif step.text.startswith(("pellucid serve", "pellucid studio")):
                servers.append(serve(shortened(step.text)))
            elif code := command(shlex.split(shortened(step.text))):
                print(f"{step.where}: exit code {code}: {step.text}", file=sys.stderr)
                return 1
    finally:
        for server in servers:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)
    return 0


def command(words: Sequence[str]) -> int:
    """Run a command and return its exit code; `pellucid` runs in this process, which saves its start-up time."""
    if words[0] != "pellucid":
        return subprocess.run(words, timeout=MAX_SECONDS, check=False).returncode
    from pellucid.cli.main import main as pellucid  # noqa: PLC0415

    return pellucid(words[1:])


def serve(command: str) -> "subprocess.Popen[bytes]":
    """Start a server and return its process after it has printed its address."""
    server = subprocess.Popen(shlex.split(command), stdout=subprocess.PIPE)
    assert server.stdout is not None
    line = server.stdout.readline()
    assert b"http://" in line, line
    return server


def main() -> int:
    """Run the pages of the command line, by default PAGES; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", default=PAGES)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plan:
        return follow_all(args.plan)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as work:
        failed = walk(args.pages, environment(Path(folder), args.install), Path(work))
    print(f"failed: {', '.join(failed) or 'none'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
