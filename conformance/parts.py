"""The parts of the scorecard: their names, cases and required packages."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pellucid.base.errors import PellucidError, nearest

if TYPE_CHECKING:  # the help lists the parts without importing PyTorch
    from conformance.case import Case

# Descriptions by name; the module conformance.NAME has a function `cases`.
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
# The parts that check layers, losses and other classes one by one.
PARTS_WITHOUT_NETWORKS = tuple(name for name in PARTS if name != "networks")
# The packages that a part needs in addition to those that are always installed.
REQUIRED_PACKAGES = {
    "opinfo": ("expecttest",), "moduleinfo": ("expecttest",), "onnx_nodes": ("onnx",), "optimizers": ("expecttest",),
    "explanations": ("captum", "zennit"), "detection": ("pycocotools",),
}  # fmt: skip


def cases(names: Sequence[str]) -> "Iterator[Case]":
    """Yield the cases of the parts `names`, in the order of PARTS."""
    for name in PARTS:
        if name in names:
            yield from import_module(f"conformance.{name}").cases()


def check_part_names(names: Sequence[str]) -> None:
    """Raise PellucidError unless all names are parts whose required packages are installed; none means all parts."""
    known = (*PARTS, COVERAGE)
    for name in names:
        if name not in known:
            raise PellucidError(f"the scorecard has no part {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    requested = PARTS if not names or COVERAGE in names else names
    for module in dict.fromkeys(package for name in requested for package in REQUIRED_PACKAGES.get(name, ())):
        if find_spec(module) is None:
            pip_arguments = "--no-deps zennit" if module == "zennit" else "'pellucid[scorecard]'"
            raise PellucidError(f"the scorecard needs {module}; run: pip install {pip_arguments}")
