"""Settings and fixtures of all tests."""

import gc
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from hypothesis import settings

from pellucid.base.errors import PellucidError
from pellucid.data import catalogue, fetch
from pellucid.run import folder
from tests.cases import seed_all
from tests.reports import without_report

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job ignores SIGINT
    signal.signal(signal.SIGINT, signal.default_int_handler)

# `HYPOTHESIS_PROFILE=thorough` draws new examples in each run; the default repeats the same examples.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


EXCLUDABLE_MARK = re.compile(r"^pytestmark = \[?[^\]\n]*\s*pytest\.mark\.(real|slow|long|lessons)\b", re.MULTILINE)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Disable garbage collection during the collection of tests, and then exclude the remaining objects from it."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore a file, unless named, if -m deselects all of its tests, since some imports take seconds."""
    named_paths = (Path(word.split("::")[0]).resolve() for word in config.args)
    if collection_path.suffix != ".py" or collection_path in named_paths:
        return None
    mark = EXCLUDABLE_MARK.search(collection_path.read_text(encoding="utf-8"))
    return True if mark and f"not {mark[1]}" in config.option.markexpr else None


@pytest.fixture(autouse=True)
def global_seed() -> None:
    """Seed the global generator, so that no test depends on the draws of earlier tests."""
    seed_all(0)


@pytest.fixture(autouse=True, scope="session")
def no_licence_notes() -> Iterator[None]:
    """Write no notes on the licences of shipped weights: which test got the only one would depend on their order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "note_limited_use", lambda weights: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Refuse downloads of data sets, except from this machine."""

    def fetch_locally(url: str, *args: Any, **options: Any) -> None:
        if urlsplit(url).hostname != "127.0.0.1":
            raise PellucidError(f"{url}: tests have no network")
        fetch(url, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "fetch", fetch_locally)
        yield


@pytest.fixture
def no_report() -> Iterator[None]:
    """Disable the reports of trainings by recipes."""
    with without_report():
        yield
