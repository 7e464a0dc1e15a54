"""Settings that every test runs under."""

import os

import torch
from hypothesis import settings

torch.set_num_threads(1)

# `HYPOTHESIS_PROFILE=thorough` looks where no run has looked before; the default repeats the same examples.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
