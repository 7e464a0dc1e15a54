"""Trials of mutants: each is written into a copy of the tree, and checked in forked processes."""

import gc
import multiprocessing
import os
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.mutants import checks
from benchmarks.mutants.checks import Verdict
from benchmarks.mutants.mutant import Mutant

COPIED_PATHS = ("pellucid", "tests", "conformance", "pyproject.toml", "recipes")
TIME_LIMIT = 400.0  # seconds for one check of one mutant; all tests take 90 on an idle core
fork = multiprocessing.get_context("fork")


class Unfit(Exception):  # noqa: N818 - its message is for people
    """Raised if the unchanged code fails a test: then no failure could be attributed to a mutant."""


@dataclass(frozen=True)
class Trial:
    """The verdicts of the tests and of the scorecard on one mutant."""

    mutant: Mutant
    tests: Verdict
    scorecard: Verdict

    @property
    def counts(self) -> bool:
        """Whether the mutant is counted; a file that cannot be imported is not."""
        return not self.tests.none

    @property
    def caught(self) -> bool:
        """Whether the tests or the scorecard detected the mutant."""
        return self.tests.caught or self.scorecard.caught


@dataclass(frozen=True)
class Check:
    """A check that runs in a forked process, and the connection that receives its result."""

    process: Any
    answer: Connection
    start_time: float

    @property
    def is_over(self) -> bool:
        """Whether the result has arrived, or the time limit has passed."""
        return self.answer.poll() or time.monotonic() - self.start_time > TIME_LIMIT

    def result(self) -> Any:
        """Return the result of the check; a check that hangs or ends its process counts as a detected mutant."""
        if not self.answer.poll():
            self.process.kill()
            verdict: Any = Verdict("time limit", "Hang")
        else:
            try:
                verdict = self.answer.recv()
            except EOFError:
                verdict = None
        self.process.join()
        if verdict is None:
            verdict = Verdict("end of the process", signal.Signals(-self.process.exitcode).name)
        self.answer.close()
        if isinstance(verdict, str):
            raise RuntimeError(f"a check itself does not work:\n{verdict}")
        return verdict


def start(folder: Path, work: Callable[[], Any], write: bool = False) -> Check:
    """Start `work` in a fork of this process that imports Pellucid from `folder`; return the running check."""
    answer, sender = fork.Pipe(duplex=False)

    def child() -> None:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        try:
            checks.import_from(folder, write)
            sender.send(work())
        except Exception:  # an error of the check must not count as a detected mutant
            sender.send(traceback.format_exc())

    process = fork.Process(target=child, daemon=True)
    process.start()
    sender.close()
    return Check(process, answer, time.monotonic())


def warm_up(root: Path) -> None:
    """Import the modules that all checks share, without Pellucid and its tests."""
    for name in checks.PRELOADED:
        import_module(name)
    if (root / "conformance").exists():
        for name in checks.SCORECARD_MODULES:
            import_module(name)
        collect_nodes()
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # keeps the garbage collection at the end of pytest from traversing PyTorch's objects
    assert not any(name.split(".")[0] in ("pellucid", "tests") for name in sys.modules)


def collect_nodes() -> None:
    """Let ONNX create its cases, which takes seconds; it caches them for the checks."""
    import numpy as np
    from onnx.backend.test.case.node import collect_testcases

    np.random.seed(0)  # the seed of the scorecard
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some operators divide by 0 on purpose
        collect_testcases(None)


def copy_tree(root: Path, folder: Path) -> None:
    """Copy the files that the checks read."""
    folder.mkdir()
    for name in COPIED_PATHS:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (root / name).exists():
            shutil.copy2(root / name, folder / name)


def prepare(root: Path, folders: list[Path]) -> frozenset[str]:
    """Copy the tree to `folders`, run all checks on the unchanged code, and return the failing cases of the scorecard.

    The bytecode written into the copies makes all later imports fast. Raises Unfit if a test fails.
    """
    copy_tree(root, folders[0])
    tests = start(folders[0], lambda: checks.pytest_until_failure(list(checks.ALL_TESTS)), write=True)
    wait([tests.answer], TIME_LIMIT)
    if (verdict := tests.result()).caught:
        raise Unfit(f"{verdict.by} fails without a mutant ({verdict.how}); mend it first")
    scorecard = start(folders[0], lambda: frozenset(one.by for one in checks.verdicts() if one.caught), write=True)
    wait([scorecard.answer], TIME_LIMIT)
    failing_cases = scorecard.result()
    if isinstance(failing_cases, Verdict):
        raise Unfit(f"the scorecard does not run: {failing_cases.how}")
    for folder in folders[1:]:
        shutil.copytree(folders[0], folder)
    return failing_cases


def attempt(mutant: Mutant, folder: Path, failing_cases: frozenset[str]) -> Generator[Check, Verdict, Trial]:
    """Write the mutant into the copy, yield its checks one after the other, restore the copy, and return the trial."""
    path = folder / "pellucid" / mutant.file
    original, stat = path.read_bytes(), path.stat()
    path.write_text(mutant.text, encoding="utf-8")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - 10**10))  # else the original's bytecode would be used
    tests = yield start(folder, lambda: checks.run_tests(mutant.file, mutant.owners))
    scorecard = Verdict(none=True)
    if not tests.none and mutant.file.startswith(checks.SCORED_FOLDERS):
        scorecard = yield start(folder, lambda: checks.run_scorecard(mutant.owners, failing_cases))
    path.write_bytes(original)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return Trial(mutant, tests, scorecard)


def run(mutants: Iterable[Mutant], folders: list[Path], failing_cases: frozenset[str]) -> Iterator[Trial]:
    """Try the mutants in parallel, one in each folder, and yield each trial when it ends."""
    queue, free_folders = iter(mutants), list(folders)
    running: dict[Path, tuple[Generator[Check, Verdict, Trial], Check]] = {}
    while True:
        while free_folders and (mutant := next(queue, None)):
            folder = free_folders.pop()
            trial = attempt(mutant, folder, failing_cases)
            running[folder] = trial, next(trial)
        if not running:
            return
        wait([check.answer for _, check in running.values()], timeout=1.0)
        for folder, (trial, check) in list(running.items()):
            if not check.is_over:
                continue
            try:
                running[folder] = trial, trial.send(check.result())
            except StopIteration as done:
                del running[folder]
                free_folders.append(folder)
                yield done.value
