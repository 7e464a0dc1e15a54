"""One case of an outside suite, the exceptions that end it, and the relative error that it reports."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError

SAMPLES_VERSION = "2.13.0"  # the version of PyTorch whose samples the modules of this package list
# Relative to the largest entry of the expected tensor. We may add in another order than the suite.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}
# Largest error of any entry, relative to its own magnitude plus 1e-3 of the largest entry.
ENTRY_TOLERANCE = 1e-3
# Errors of a gradient that is expected to be 0 are divided by this fraction of the output gradient.
FLOOR = 1e-2


class SkipCase(Exception):  # noqa: N818 - not an error: the case needs an option that we do not have
    """The case needs an option that we do not have; the message names the option."""


class Mismatch(Exception):  # noqa: N818 - caught by the tally, which counts the case as failed
    """Our result differs from the suite's by more than rounding; the message describes the difference."""


@dataclass(frozen=True)
class Case:
    """One case of an outside suite.

    `suite` begins with the outside project's name and names the operator and dtype: "torch OpInfo
    nn.functional.conv2d float64". `version` is that project's version, `name` the name of the case in the suite.
    `subject` is the class or function of Pellucid that the case checks. `check` returns the worst relative error, or
    raises SkipCase or Mismatch; the case passes if the error is at most `tolerance`.
    """

    suite: str
    version: str
    name: str
    subject: Any
    check: Callable[[], float]
    tolerance: float

    @property
    def file(self) -> str:
        """The file that defines `subject`, relative to the root of the repository."""
        return self.subject.__module__.replace(".", "/") + ".py"


def torch_version() -> str:
    """Return the version of the installed PyTorch without the build tag: 2.13.0 for 2.13.0+cpu."""
    return torch.__version__.partition("+")[0]


def missing_samples_error(kind: str, name: str) -> PellucidError:
    """Return the error for an operator or a module of which the installed PyTorch has no samples."""
    return PellucidError(
        f"scorecard: torch {torch_version()} has no samples of the {kind} {name}; "
        f"run: pip install torch=={SAMPLES_VERSION}"
    )


def relative_error(name: str, actual: Tensor, reference: Tensor, floor: float = 0.0) -> float:
    """Return the largest difference, divided by the largest magnitude of `reference` or by `floor` if that is larger.

    The result is infinite if an entry, even a small one, differs by more than about ENTRY_TOLERANCE of its magnitude.
    Raises Mismatch if the shapes, the dtypes, or the NaN and infinite entries of the two tensors differ.
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
