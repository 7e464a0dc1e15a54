"""The parts of the scorecard, each a module with its cases."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pellucid.errors import PellucidError, nearest

if TYPE_CHECKING:  # the list of the parts is shown without PyTorch
    from conformance.case import Case

# The module conformance.NAME has cases(); what each part is, for people.
PARTS = {
    "opinfo": "PyTorch's sample inputs for its operators",
    "moduleinfo": "PyTorch's sample inputs for its modules",
    "onnx_nodes": "ONNX's backend node cases",
    "optimizers": "PyTorch's optimizers, schedules and clipping, 100 steps of each",
    "metrics": "scikit-learn's metrics",
    "detection": "pycocotools' average precision and recall, on drawn sets",
    "estimators": "scikit-learn's check_estimator",
    "explanations": "Captum's and Zennit's explanations",
    "networks": "Keras', ONNX's and Hugging Face's networks with the same random weights",
}
COVERAGE = "coverage"
# What checks layers, losses ... one by one.
PARTS_WITHOUT_NETWORKS = tuple(name for name in PARTS if name != "networks")
# The packages that the parts are made from, beyond what is always there.
REQUIRED_PACKAGES = {
    "opinfo": ("expecttest",), "moduleinfo": ("expecttest",), "onnx_nodes": ("onnx",), "optimizers": ("expecttest",),
    "explanations": ("captum", "zennit"), "detection": ("pycocotools",),
}  # fmt: skip


def cases(names: Sequence[str]) -> "Iterator[Case]":
    """Yield the cases of the parts `names`, in the order of the table."""
    for name in PARTS:
        if name in names:
            yield from import_module(f"conformance.{name}").cases()


def check_part_names(names: Sequence[str]) -> None:
    """Raise PellucidError unless these are parts, and what they are made from is installed."""
    known = (*PARTS, COVERAGE)
    for name in names:
        if name not in known:
            raise PellucidError(f"the scorecard has no part {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    requested = PARTS if not names or COVERAGE in names else names
    for module in dict.fromkeys(package for name in requested for package in REQUIRED_PACKAGES.get(name, ())):
        if find_spec(module) is None:
            pip_arguments = "--no-deps zennit" if module == "zennit" else "'pellucid[scorecard]'"
            raise PellucidError(f"the scorecard needs {module}; run: pip install {pip_arguments}")
