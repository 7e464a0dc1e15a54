"""The lists of trainings that the doctor is asked about."""

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmarks.doctor import post
from benchmarks.doctor.cases import usual
from benchmarks.doctor.cases.unusual import healthy as unusual_healthy
from benchmarks.doctor.cases.usual import healthy as usual_healthy
from benchmarks.doctor.fault import Fault
from benchmarks.doctor.fit import Case, Fit
from benchmarks.doctor.listed import LATER, UNUSUAL, mistakes
from benchmarks.doctor.post import Ask
from benchmarks.doctor.settings import SETTINGS
from pellucid.doctor import diagnose

LISTS = ("faults", "usual", *UNUSUAL, "posts", "healthy")
FAULT_MODULES = ("units", "data", "training")
POSTS_FOLDER = Path(__file__).parent / "posts"
# The modules that many trainings of a list depend on.
SHARED_BY_FAULTS = ("settings", "material", "faults.ways")
SHARED_BY_USUAL = (
    "fit",
    "scores",
    "settings",
    "material",
    *(f"cases.usual.{it}" for it in ("parts", "pictures", "sound", "training")),
)
SHARED_BY_UNUSUAL = ("fit", "scores", *(f"cases.unusual.{it}" for it in ("data", "parts", "sound", "transferred")))


class Entry(NamedTuple):
    """A training of a list.

    code: a hash of it. train: a function of a seed and of whether the mistake is made, which trains, and returns the
    function that asks the doctor for its diagnosis as JSON values. about: what a record says of the training. case:
    the mistaken and the sound training, where a list has both.
    """

    name: str
    code: str
    train: Callable[[int, bool], Ask]
    about: Mapping[str, Any] = MappingProxyType({})
    case: Case | None = None


def entries(list_name: str, folder: Path = POSTS_FOLDER) -> Iterator[Entry]:
    """Yield the trainings of one of LISTS. folder: of posts."""
    if list_name == "faults":
        yield from _faults()
    elif list_name == "healthy":
        yield from _healthy()
    elif list_name == "posts":
        for path in sorted(folder.glob("[!_]*.py")):
            yield Entry(path.stem, code_hash([path.read_text("utf-8")]), partial(post.train, path))
    else:
        shared = SHARED_BY_USUAL if list_name == "usual" else SHARED_BY_UNUSUAL
        for id, case in cases(list_name).items():
            one = mistakes(list_name)[id]
            listed = {"kind": one.kind} if one.kind else {"listed": {"cause": one.cause, "change": one.change}}
            yield Entry(id, code_hash([inspect.getsource(case)], shared), partial(_train_case, case), listed, case)


def cases(list_name: str) -> dict[str, Case]:
    """Return the functions that make the mistakes of "usual" or of one of UNUSUAL, by the list's ids."""
    if list_name == "usual":
        return {id: usual.CASES[id] for id in mistakes("usual")}
    prefix = "unopened_" if list_name == "unopened" else ""
    tasks = dict.fromkeys(one.task for one in mistakes(list_name).values())
    names = [f"{list_name}_data", f"{list_name}_settings"] if list_name in LATER else [prefix + task for task in tasks]
    known = {id: case for name in names for id, case in module(f"cases.unusual.{name}").CASES.items()}
    return {id: known[id] for id in mistakes(list_name)}


def _train_case(case: Case, seed: int, mistake: bool) -> Ask:
    pair = case(seed)
    return examined(pair.mistaken if mistake else pair.sound)


def examined(made: Fit) -> Ask:
    """Train, and return the function that asks the doctor."""
    ran = made.run()
    return lambda: made.asked(ran).to_json()


def _faults() -> Iterator[Entry]:
    """Yield each fault in each of its settings, of which each fault begins with another one."""
    for name in FAULT_MODULES:
        code = code_hash([], (f"faults.{name}", *SHARED_BY_FAULTS))
        for index, fault in enumerate(module(f"faults.{name}").FAULTS):
            for k in range(len(fault.settings)):
                setting = fault.settings[(k + index) % len(fault.settings)]
                about = {"fault": fault.name, "about": fault.about, "setting": setting}
                yield Entry(", ".join(about.values()), code, partial(_train_fault, fault, setting), about)


def _train_fault(fault: Fault | None, setting_name: str, seed: int, mistake: bool) -> Ask:
    setting = next(one for one in SETTINGS if one.name == setting_name).replace(seed=seed)
    case = fault.make(setting) if mistake and fault else setting.train()
    return lambda: diagnose(case).to_json()


def _healthy() -> Iterator[Entry]:
    code = code_hash([], SHARED_BY_FAULTS)
    for setting in SETTINGS:
        yield Entry(f"faults: {setting.name}", code, partial(_train_fault, None, setting.name))
    code = code_hash([], ("cases.usual.healthy", *SHARED_BY_USUAL))
    for name, make in usual_healthy.HEALTHY.items():
        yield Entry(f"usual: {name}", code, lambda seed, _, make=make: examined(make(seed).fit()))
    code = code_hash([], ("cases.unusual.healthy", *SHARED_BY_UNUSUAL))
    for name, make_fit in unusual_healthy.HEALTHY.items():
        yield Entry(f"unusual: {name}", code, lambda seed, _, make=make_fit: examined(make(seed)))


def code_hash(texts: Iterable[str], modules: Iterable[str] = ()) -> str:
    """Return a short hash of source texts and of modules of this package."""
    sources = (*texts, *(inspect.getsource(module(name)) for name in modules))
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:12]


def module(name: str) -> Any:
    """Return a module of this package."""
    return import_module(f"benchmarks.doctor.{name}")
