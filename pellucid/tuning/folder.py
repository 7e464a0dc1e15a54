"""The folder of a sweep, through which its processes share runs, their claims and their outcomes.

A run belongs to the process that has the operating system's lock on its file `claim`, on this machine or on another one
with the same folder. The lock is released whenever the process ends, and the next process resumes the run from its last
checkpoint. A run is finished when its outcome.json exists, which only the process with the lock writes.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, TypeVar

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, write_atomically
from pellucid.base.text import shown
from pellucid.run.folder import lock_file
from pellucid.run.records import read_object, to_record
from pellucid.tuning.plan import FORMAT, TuningPlan, plan_from_json

RunState = Literal["complete", "pruned", "failed"]
POLL_SECONDS = 0.02  # seconds between two attempts to lock a file that another process has locked
# A run that exhausts the memory would be tried forever; one on a preemptible machine goes on, with later checkpoints.
MAX_ATTEMPTS = 5  # consecutive attempts without a later checkpoint, before a run counts as failed
NEW_SWEEP = "begin a new sweep by --out"
COMPUTED_AGAIN = "remove it, and it is computed again"
T = TypeVar("T")


class FileClaim:
    """A lock on a file, which is created if necessary; the lock ends with the process. `with claim:` waits for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def take(self) -> bool:
        """Lock the file, and return whether no other process has locked it."""
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise PellucidError(f"{self.path} cannot be written ({error.strerror}); check the folder") from error
        if not lock_file(handle, self.path.parent):
            os.close(handle)
            return False
        self._handle = handle
        return True

    def release(self) -> None:
        """Unlock the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> "FileClaim":
        """Wait until the file is locked."""
        while not self.take():
            time.sleep(POLL_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unlock the file."""
        self.release()


class TrialFile(NamedTuple):
    """The contents of trial.json: the number of a trial, and its settings."""

    number: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Attempts:
    """The contents of attempts.json: the number of consecutive attempts from the checkpoint of a step."""

    count: int
    step: int


class Outcome(NamedTuple):
    """The outcome of a run.

    figure: the column of the history that is compared. value: its value after `epoch`, whose weights are the best of
    the run. lower: whether smaller values are better. error: the error that ended the run, in one line.
    """

    state: RunState
    figure: str = ""
    lower: bool = False
    value: float | None = None
    epoch: int = 0
    error: str = ""


@dataclass(frozen=True)
class TrialRun:
    """One run of a trial, with one seed, in its run folder."""

    path: Path
    number: int
    seed: int

    @property
    def claim(self) -> FileClaim:
        """The lock of the process that trains the run."""
        return FileClaim(self.path / "claim")

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of the run; None while it is unfinished."""
        return _read(self.path / "outcome.json", Outcome)

    def finish(self, outcome: Outcome) -> None:
        """Write the outcome; the caller must hold the claim."""
        write_atomically(self.path / "outcome.json", _json_bytes(outcome._asdict()))
        self.forget_attempts()

    def count_attempt(self, step: int) -> bool:
        """Count an attempt from the checkpoint of `step`; return False if there are more than MAX_ATTEMPTS."""
        attempts = _read(self._attempts_file, Attempts)
        count = attempts.count + 1 if attempts is not None and attempts.step == step else 1
        write_atomically(self._attempts_file, _json_bytes(asdict(Attempts(count, step))))
        return count <= MAX_ATTEMPTS

    def forget_attempts(self) -> None:
        """Reset the count of attempts, also after an attempt that was stopped on request."""
        self._attempts_file.unlink(missing_ok=True)

    @property
    def _attempts_file(self) -> Path:
        return self.path / "attempts.json"


class TuningFolder:
    """The folder of a sweep and its files."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.definition = self.path / "definition.json"
        self.results = self.path / "sweep.json"
        self.page = self.path / "report.html"
        self.logs = self.path / "workers"
        self.lock = FileClaim(self.path / "lock")

    @property
    def exists(self) -> bool:
        """Whether a sweep has begun in this folder."""
        return self.definition.is_file()

    def begin(self, plan: TuningPlan, may_change_threads: bool) -> TuningPlan:
        """Write the plan of a new sweep, or compare it with that of the existing sweep; return the plan to use.

        may_change_threads: whether the number of threads may differ, since it depends on the machine; the first
        launcher's number is used. The number of trials of a search may be larger than before. Raises PellucidError for
        a folder with another sweep, or with runs but no sweep.
        """
        make_folder(self.path)
        with self.lock:
            if not self.exists:
                if any(self.path.glob("*/recipe.toml")) or (self.path / "recipe.toml").exists():
                    raise PellucidError(f"{self.path} contains runs, and no sweep; choose another folder by --out")
                write_atomically(self.definition, _json_bytes(plan.to_json()))
                return plan
            existing_plan = self.plan()
            if may_change_threads:
                plan = plan.with_threads(existing_plan.threads)
            if existing_plan == plan:
                return existing_plan
            if not plan.differs_only_in_trials(existing_plan):
                differences = ", ".join(plan.differences(existing_plan))
                raise PellucidError(
                    f"{self.path} contains a sweep with another {differences}; choose another folder by --out, or "
                    f"continue that one by pellucid sweep --resume {self.path}"
                )
            if plan.trials > existing_plan.trials:
                write_atomically(self.definition, _json_bytes(plan.to_json()))
                return plan
            return existing_plan

    def plan(self) -> TuningPlan:
        """Return the plan of the sweep; raises PellucidError for a folder without one."""
        if not self.exists:
            raise PellucidError(f"{self.path} contains no sweep; give the folder that `pellucid sweep` wrote")
        values = read_object(self.definition, NEW_SWEEP)
        if values is None or values.get("format") != FORMAT:
            raise PellucidError(f"{self.definition} is damaged or of another version; {NEW_SWEEP}")
        try:
            return plan_from_json(values, str(self.definition))
        except PellucidError as error:
            raise PellucidError(f"{error}; {NEW_SWEEP}") from error

    def trial_folder(self, number: int) -> Path:
        """Return the folder of a trial; numbers begin at 1."""
        return self.path / "trials" / f"{number:04}"

    def run(self, number: int, seed: int) -> TrialRun:
        """Return a run of a trial."""
        return TrialRun(self.trial_folder(number) / f"seed-{seed}", number, seed)

    def settings(self, plan: TuningPlan, number: int) -> dict[str, Any] | None:
        """Return the settings of a trial; None if they are not chosen yet."""
        file = self.trial_folder(number) / "trial.json"
        trial = _read(file, TrialFile)
        if trial is None:
            return None
        if trial.number != number or trial.settings.keys() != plan.space.keys():
            keys = ", ".join(plan.space)
            raise PellucidError(f"{file} does not have the number {number} and settings of {keys}; {COMPUTED_AGAIN}")
        for key, value in trial.settings.items():
            if not plan.space[key].contains(value):
                raise PellucidError(
                    f"{file}: {key} is {shown(value)}, which is not one of the sweep's values, {plan.space[key]}; "
                    f"{COMPUTED_AGAIN}"
                )
        return trial.settings

    def choose_settings(self, plan: TuningPlan, number: int, choose: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the settings of a trial; if they are not chosen yet, choose them, one process at a time."""
        settings = self.settings(plan, number)
        if settings is not None:
            return settings
        with self.lock:
            settings = self.settings(plan, number)
            if settings is None:
                settings = dict(choose())
                make_folder(self.trial_folder(number))
                content = _json_bytes(TrialFile(number, settings)._asdict())
                write_atomically(self.trial_folder(number) / "trial.json", content)
            return settings


def trial_outcomes(folder: TuningFolder, plan: TuningPlan, number: int) -> list[Outcome | None]:
    """Return the outcomes of a trial's runs, by seed."""
    return [folder.run(number, seed).outcome for seed in plan.seeds]


def trial_state(run_outcomes: list[Outcome | None]) -> RunState | None:
    """Return the state of a trial: failed or pruned if one run is, complete if all are, otherwise None."""
    states = [outcome and outcome.state for outcome in run_outcomes]
    for state in ("failed", "pruned"):
        if state in states:
            return state
    return "complete" if None not in states else None


def unfinished_runs(folder: TuningFolder, plan: TuningPlan, finished_trials: set[int]) -> Iterator[TrialRun]:
    """Yield the unfinished runs in the order of trials; add the numbers of finished trials to `finished_trials`."""
    for number in range(1, plan.trials + 1):
        if number in finished_trials:
            continue
        run_outcomes = trial_outcomes(folder, plan, number)
        if trial_state(run_outcomes) is not None:
            finished_trials.add(number)
            continue
        yield from (
            folder.run(number, seed) for seed, outcome in zip(plan.seeds, run_outcomes, strict=True) if outcome is None
        )


def _read(file: Path, record_class: Callable[..., T]) -> T | None:
    """Return a JSON object as a record of a class, None if the file does not exist.

    Raises PellucidError for unknown and missing keys, and for values of other types.
    """
    values = read_object(file, COMPUTED_AGAIN)
    if values is None:
        return None
    try:
        return to_record(values, record_class, str(file))
    except PellucidError as error:
        raise PellucidError(f"{error}; {COMPUTED_AGAIN}") from error


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
