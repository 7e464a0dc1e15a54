"""One case of an outside suite: what it checks of ours, and how it ends."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError

SAMPLES_VERSION = "2.13.0"  # the version of PyTorch whose samples the tables name
# Of the largest entry of the expected tensor. Our sums may run in another order than the suite's.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}
ENTRY_TOLERANCE = 1e-3  # of itself and of 1e-3 of the largest entry: how far any entry may be off
FLOOR = 1e-2  # of the gradient sent in from above: what an expected gradient that is truly zero is compared with


class SkipCase(Exception):  # noqa: N818 - no error: the case asks for what we do not have
    """The case asks for an option that we do not have; the message names it, in a few words."""


class Mismatch(Exception):  # noqa: N818 - caught by the tally, which counts the case as failed
    """Our answer differs from the suite's in more than rounding; the message says in what."""


@dataclass(frozen=True)
class Case:
    """One case of an outside suite.

    `suite` begins with the outside project's name and names the operator and dtype: "torch OpInfo
    nn.functional.conv2d float64". `subject` is our class or function that it checks. `check` returns the worst
    relative error, which may be up to `tolerance`; it raises SkipCase or Mismatch.
    """

    suite: str
    version: str
    name: str
    subject: Any
    check: Callable[[], float]
    tolerance: float

    @property
    def file(self) -> str:
        """Our file that the case checks, from the root of the repository."""
        return self.subject.__module__.replace(".", "/") + ".py"


def torch_version() -> str:
    """Return the version of the installed PyTorch, without the tag of its build: 2.13.0 for 2.13.0+cpu."""
    return torch.__version__.partition("+")[0]


def missing_samples_error(kind: str, name: str) -> PellucidError:
    """Return the error for an operator or a module that the installed PyTorch has no samples of."""
    return PellucidError(
        f"scorecard: torch {torch_version()} has no samples of the {kind} {name}; "
        f"run: pip install torch=={SAMPLES_VERSION}"
    )


def relative_error(name: str, actual: Tensor, reference: Tensor, floor: float = 0.0) -> float:
    """Return the largest difference, divided by the largest magnitude of `reference`, or by `floor` if that is larger.

    It is infinite where an entry, however far below the largest, is off by more than ENTRY_TOLERANCE of itself.
    Raises Mismatch where shapes or dtypes differ, or where not the same entries are NaN or infinite.
    """
    if actual.shape != reference.shape:
        raise Mismatch(f"{name}: shape {tuple(actual.shape)} instead of {tuple(reference.shape)}")
    if actual.dtype != reference.dtype:
        raise Mismatch(f"{name}: {actual.dtype} instead of {reference.dtype}")
    if not reference.numel():
        return 0.0
    if not reference.is_floating_point():
        return float((actual != reference).any())
    finite = reference.isfinite()
    if not torch.equal(actual.isfinite(), finite) or not torch.equal(
        actual[~finite].nan_to_num(nan=1.0), reference[~finite].nan_to_num(nan=1.0)
    ):
        raise Mismatch(f"{name}: NaN or infinity in other places")
    finite_actual, expected = actual[finite].double(), reference[finite].double()
    if not expected.numel():
        return 0.0
    scale = max(float(expected.abs().max()), floor, torch.finfo(torch.float32).tiny)
    errors = (finite_actual - expected).abs()
    if bool((errors > ENTRY_TOLERANCE * (expected.abs() + ENTRY_TOLERANCE * scale)).any()):
        return math.inf
    return float(errors.max()) / scale
