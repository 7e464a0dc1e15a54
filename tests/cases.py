"""Run many small cases in one test, since pytest's overhead for each test exceeds the run time of most cases."""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import pytest
import torch

Test = Callable[..., None]
# Without a GPU, torch.manual_seed seeds the same generator alone, but formats three stack traces for devices without
# one, which takes as long as many a test.
seed_all = torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed


def each(argument: str, cases: Iterable[Any], group: Callable[[Any], str] | None = None) -> Callable[[Test], Test]:
    """Run a test on every case: one test for each group, or a single test without `group`.

    A failure names the cases that failed. Every case starts from the same global seed. A case cannot call pytest.skip:
    exclude it from `cases` with a comment, or return early.

    argument: name of the test's argument that receives the case.
    group: function that returns the name of a case's group.
    """
    groups: dict[str, list[Any]] = {}
    for case in cases:
        groups.setdefault(group(case) if group else "all", []).append(case)
    assert groups, f"no cases of {argument}"

    def decorate(test: Test) -> Test:
        @wraps(test)
        def run_group(cases: list[Any], **fixtures: Any) -> None:
            failures = [error for case in cases if (error := failure(test, {argument: case}, fixtures, str(case)))]
            if failures:
                raise ExceptionGroup(f"{len(failures)} of {len(cases)} cases", failures)

        signature = inspect.signature(test)
        cases_parameter = inspect.Parameter("cases", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        fixture_parameters = [one for name, one in signature.parameters.items() if name != argument]
        run_group.__signature__ = signature.replace(parameters=[cases_parameter, *fixture_parameters])  # type: ignore[attr-defined]
        return pytest.mark.parametrize("cases", list(groups.values()), ids=list(groups))(run_group)

    return decorate


def failure(test: Test, case: dict[str, Any], fixtures: dict[str, Any], case_name: str) -> Exception | None:
    """Run the test on a case; return the exception that it raises, with the case's name as a note, or None."""
    seed_all(0)
    try:
        test(**case, **fixtures)
    except pytest.skip.Exception as error:
        return AssertionError(f"{case_name}: a case of a group cannot be skipped ({error})")
    except Exception as error:
        error.add_note(f"of the case {case_name}")
        return error
    return None


def each_sample(samples: Iterable[Any]) -> Callable[[Test], Test]:
    """Run a test on every sample, in one test for each kind of layer."""
    return each("sample", samples, group=lambda sample: type(sample.layer).__name__)


def mostly_heavy(cases: Iterable[Any], every: int) -> list[Any]:
    """Return the cases of a parametrization, of which `make real QUICK=1` runs only each `every`-th."""
    return [
        case
        if k % every == 0
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.heavy)
        for k, case in enumerate(cases)
    ]
