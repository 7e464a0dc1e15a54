"""The parts of the scorecard, each a module with its cases."""

from collections.abc import Iterator, Sequence
from importlib import import_module

from pellucid.errors import PellucidError, nearest
from pellucid.scorecard.case import Case

# The module pellucid.scorecard.NAME has cases(); what each part is, for people.
PARTS = {
    "opinfo": "PyTorch's sample inputs for its operators",
    "moduleinfo": "PyTorch's sample inputs for its modules",
    "onnx_nodes": "ONNX's backend node cases",
    "optimizers": "PyTorch's optimizers, schedules and clipping, 100 steps of each",
    "metrics": "scikit-learn's metrics",
    "estimators": "scikit-learn's check_estimator",
}
COVERAGE = "coverage"
NEEDED = ("expecttest", "onnx", "google.protobuf")


def cases(names: Sequence[str]) -> Iterator[Case]:
    """Yield the cases of the parts `names`, in the order of the table."""
    for name in PARTS:
        if name in names:
            yield from import_module(f"pellucid.scorecard.{name}").cases()


def check_names(names: Sequence[str]) -> None:
    """Raise PellucidError unless these are parts, and what they are made from is installed."""
    for name in names:
        if name not in PARTS and name != COVERAGE:
            known = ", ".join((*PARTS, COVERAGE))
            raise PellucidError(
                f"the scorecard has no part {name!r}{nearest(name, list(PARTS)) or f'; known: {known}'}"
            )
    for module in NEEDED:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            raise PellucidError(
                f"the scorecard needs the package of {module}; run: pip install 'pellucid[scorecard]'"
            ) from error
