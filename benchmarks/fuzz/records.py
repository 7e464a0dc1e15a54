"""Small files of run folders and sweeps: JSON, locks, process numbers and logs, with other contents and of other types.

They are read by compare-runs, the studio, `--resume` and sweeps. A file may be a pipe, a socket, a folder or a link.
"""

import copy
import json
import os
import random
import shutil
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.fuzz.mutations import change_json, damage
from pellucid.base.errors import PellucidError
from pellucid.command.out import to_json_types
from pellucid.recipe.compare import compare_runs, comparison_page
from pellucid.recipe.job import train
from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.resume import _following_run, _read_results, _run_begun_by
from pellucid.recipe.threads import recorded_threads
from pellucid.run.folder import RunFolder, read_preview
from pellucid.studio.runs import LOG, Runs, _open_log
from pellucid.training.diagnose import NotFinite, StoppedError
from pellucid.tuning.folder import Attempts, TuningFolder, trial_outcomes
from pellucid.tuning.page import write_results
from pellucid.tuning.plan import make_plan
from pellucid.tuning.results import read_results
from pellucid.tuning.worker import Worker

RUN_FILES = {
    "manifest": "manifest.json", "results": "results.json", "confusion": "confusion.json", "error": "error.json",
    "lock": "lock", "log": "train.log", "pid": "studio.pid", "live": "live.json", "control": "control.json",
    "then": "then.txt", "launch": "launch", "recipe": "recipe.toml", "preview": "pictures/epoch-0001.png",
}  # fmt: skip
SWEEP_FILES = {
    "definition": "definition.json",
    "trial": "trials/0001/trial.json",
    "outcome": "trials/0001/seed-0/outcome.json",
    "attempts": "trials/0001/seed-0/attempts.json",
    "trialresults": "trials/0001/seed-0/results.json",
}
RECORDS = (*RUN_FILES, *SWEEP_FILES)
PAGE_EVERY = 20  # about every twentieth file's pages are written, because drawing takes most of the time
_JSON_TEXTS: tuple[Callable[[int], str], ...] = (
    lambda n: "{}", lambda n: "[]", lambda n: "null", lambda n: "1", lambda n: "NaN", lambda n: '""', lambda n: "",
    lambda n: "[" * n, lambda n: '{"a":' * n, lambda n: "[" * n + "]" * n, lambda n: '{"a":' * n + "1" + "}" * n,
    lambda n: '{"a": ' + "9" * n + "}", lambda n: '{"a": 1e' + "9" * (n % 300) + "}", lambda n: '{"a": "\\ud800"}',
    lambda n: '{"a": 1, "a": 2}', lambda n: json.dumps({f"k{k}": k for k in range(n)}), lambda n: '{"\\u0000": 1}',
    lambda n: json.dumps({"a": "x" * n}), lambda n: "[" + "{}," * n + "1]", lambda n: '{"a": {"b": ' + "[" * (n % 50),
)  # fmt: skip
_LINES = (
    "", "\n", "0", "1", "-1", "2 3", "4194305", "99999999999999999999999999999999", "9" * 40, "9" * 5000, "1 " * 30,
    "123 " + "9" * 32, "\u0663\u0664", "1e3", "0x10", "\0", "a\nb", "..", ".", "/", "../..", "a/b", "\x1b[2J",
    "\u2028", "x" * 5000, "digits-1", " ", "1.5", "\udcff",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    {}, [], [[]], {"a": {}}, None, True, -1, 0, 1, 10**18, 10**19, 1e308, -1e308, float("nan"), float("inf"), "",
    "complete", "won", "\n", "\x1b[2J", "..", "a" * 500, ["a"] * 50, [1] * 50, {"a": [1, {"b": None}]}, "0x", "grid",
)  # fmt: skip


def write_record(kind: str, path: Path) -> None:
    """Write the original file of a kind to `path`, and once, next to it, a run and a sweep that contain all of them."""
    folder, sweep = path.parent / "records/run", path.parent / "records/sweep"
    if not folder.exists():
        _make_run(folder)
        _make_sweep(sweep)
    source = folder / RUN_FILES[kind] if kind in RUN_FILES else sweep / SWEEP_FILES[kind]
    shutil.copy(source, path)


def _make_run(folder: Path) -> None:
    run = train("digits", out=folder.parent / "runs", progress=False, **{"train.epochs": 2})
    shutil.copytree(run.path, folder)
    fault = NotFinite("weight", "dense", "Dense", "the output y", "NaN", 1, (4,))
    StoppedError("training stopped in step 3: NaN", 3, fault).write(folder / "error.json")
    texts = {
        "train.log": "epoch 1/2  loss 0.1\npellucid: stopped\n", "studio.pid": f"{os.getpid()} {os.getpid()}\n",
        "live.json": '{"pid": 1, "epoch": 1, "paused": false, "losses": [[1, 0.5]]}', "then.txt": "digits-2\n",
        "control.json": '{"pause": true, "steps": 1}', "launch": "machine 123",
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
    shutil.rmtree(folder / "figures", ignore_errors=True)


def _make_sweep(folder: Path) -> None:
    recipe = load_recipe("digits", {"train.epochs": 1, "data.validation": 0.2, "recipe.threads": 1})
    plan = make_plan(
        recipe, {"optimizer.lr": "0.001..0.1:log", "train.batch_size": [16, 32]}, trials=2, sampler="random"
    )
    sweep = TuningFolder(folder)
    sweep.begin(plan, may_change_threads=False)
    Worker(sweep).work(wait=False)
    run = sweep.run(1, 0)
    (run.path / "attempts.json").write_text(json.dumps({"count": 1, "step": 45}))
    for figures in folder.rglob("figures"):
        shutil.rmtree(figures)


def write_record_case(kind: str, original: Path, path: Path, rng: random.Random) -> None:
    """Write a changed copy of the original, a hostile text, or something that is not a regular file."""
    remove(path)
    data, share = original.read_bytes(), rng.random()
    is_json = data.startswith(b"{")
    if share < 0.15:
        _write_special(original, path, rng)
    elif share < 0.35:
        path.write_bytes(damage(data, rng) if data else b"")
    elif share < 0.6 and is_json:
        path.write_bytes(change_json(data, rng))
    elif share < 0.8 and is_json:
        values = json.loads(data)
        for _ in range(rng.choice([1, 1, 2])):
            _put(values, rng)
        path.write_text(json.dumps(values))
    elif is_json:
        path.write_text(rng.choice(_JSON_TEXTS)(rng.choice([1, 3, 30, 35, 100, 1000, 5000, 100_000])))
    else:
        path.write_bytes(rng.choice(_LINES).encode("utf-8", "surrogateescape"))


def remove(path: Path) -> None:
    """Remove anything from a path."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_special(original: Path, path: Path, rng: random.Random) -> None:
    kind = rng.randrange(7)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    elif kind == 2:
        path.mkdir()
    else:
        path.symlink_to([original, "/dev/zero", "/dev/stdin", path.name][kind - 3])


def _put(tree: Any, rng: random.Random) -> None:
    """Put a value at a random position of nested JSON values, add a key, or remove one."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        key = rng.choice(keys) if keys else None
        if key is None or not isinstance(tree[key], dict | list) or not tree[key] or rng.random() < 0.5:
            break
        tree = tree[key]
    value, kind = copy.deepcopy(rng.choice(_VALUES)), rng.randrange(4)
    if kind == 0 and isinstance(tree, dict):
        tree[rng.choice(["new", "", "state", "a.b", "\x1b", "settings"])] = value
    elif kind == 1 and key is not None:
        del tree[key]
    elif key is not None:
        tree[key] = value


def use_record(kind: str, path: Path) -> None:
    """Read the run or the sweep in which the file replaces that of its kind; raises PellucidError if it is refused."""
    is_of_run = kind in RUN_FILES
    original = path.parent / "records" / ("run" if is_of_run else "sweep")
    folder = path.with_name(f"{path.name}.runs")
    copied = folder / "copy"
    if not copied.exists():
        shutil.copytree(original, copied)
    target = copied / (RUN_FILES[kind] if is_of_run else SWEEP_FILES[kind])
    remove(target)
    _copy_anything(path, target)
    is_page_due = path.is_file() and path.stat().st_size % PAGE_EVERY == 0
    if is_of_run:
        _use_run(original, copied, is_page_due)
    else:
        _use_sweep(copied, is_page_due)


def _copy_anything(path: Path, target: Path) -> None:
    mode = os.lstat(path).st_mode
    if stat.S_ISREG(mode):
        shutil.copyfile(path, target)
    elif stat.S_ISLNK(mode):
        target.symlink_to(os.readlink(path))
    elif stat.S_ISDIR(mode):
        target.mkdir()
    else:
        os.mknod(target, mode)


def _use_run(original: Path, run: Path, is_page_due: bool) -> None:
    runs = Runs(run.parent)
    if run.name in runs.names():
        state = runs.state(runs.path(run.name))
        json.dumps(to_json_types(state), allow_nan=False)
        assert "\n" not in state["message"]
    runs.close()
    folder = RunFolder(run)
    folder.read_manifest()
    recorded_threads(folder)
    _following_run(run)
    _run_begun_by("machine 123", run.parent)
    _read_results(run)
    StoppedError.read(folder.error)
    for preview in folder.previews().values():
        read_preview(preview)
    with suppress(PellucidError):
        _open_log(run / LOG).close()
    comparison = compare_runs([original, run])
    json.dumps(to_json_types(comparison.to_json()), allow_nan=False)
    if is_page_due:
        comparison_page(comparison, "pellucid compare-runs")


def _use_sweep(folder: Path, is_page_due: bool) -> None:
    sweep = TuningFolder(folder)
    plan = sweep.plan()
    trial_outcomes(sweep, plan, 1)
    attempts = sweep.run(1, 0).path / "attempts.json"
    if attempts.is_file() and not attempts.is_symlink():
        before = attempts.read_bytes()
        sweep.run(1, 0).count_attempt(45)
        Attempts(**json.loads(attempts.read_bytes()))
        attempts.write_bytes(before)
    else:
        sweep.run(1, 0).count_attempt(45)
    results = read_results(sweep, plan)
    json.dumps(to_json_types(results.to_json()), allow_nan=False)
    if is_page_due:
        write_results(results)
