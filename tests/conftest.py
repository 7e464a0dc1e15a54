"""Settings that every test runs under."""

import os

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

# `HYPOTHESIS_PROFILE=thorough` looks where no run has looked before; the default repeats the same examples.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings by recipes write no report, whose figures take longer than a small training."""
    from pellucid.recipe import job

    monkeypatch.setattr(job, "write_report", lambda run, data: run / "report.html")
