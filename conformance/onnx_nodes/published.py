"""The test cases for backends that the onnx package contains."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

# Ending of the name of a case whose model is the function body of an operator.
FUNCTION_BODY_SUFFIX = re.compile(r"_expanded(_ver\d+)?$")
STORED_KINDS = ("simple", "pytorch-converted", "pytorch-operator")

DataSets = Sequence[tuple[Sequence[Any], Sequence[Any]]]  # (inputs, expected outputs), NumPy arrays


@dataclass(frozen=True)
class Published:
    """One case: its kind, name and model, and a function `data_sets` that reads its data."""

    kind: str
    name: str
    model: ModelProto
    data_sets: Callable[[], DataSets]

    @property
    def origin(self) -> str:
        """The name of the case without the ending of a function body, or its name."""
        return FUNCTION_BODY_SUFFIX.sub("", self.name) if self.kind == "node" else self.name


def published() -> Iterator[Published]:
    """Yield all cases, kind after kind."""
    for case in _node_cases():
        yield Published("node", case.name, case.model, partial(getattr, case, "data_sets"))
    from onnx.backend.test.loader import load_model_tests

    for kind in STORED_KINDS:
        for case in sorted(load_model_tests(kind=kind), key=lambda one: one.name):
            folder = Path(str(case.model_dir))
            yield Published(kind, case.name, onnx.load(str(folder / "model.onnx")), partial(_stored_data, folder))


def _node_cases() -> list[Any]:
    """Return ONNX's node cases.

    ONNX draws inputs from NumPy's global generator, which is seeded with 0 for the call and then restored.
    """
    from onnx.backend.test.case.node import collect_testcases

    state = np.random.get_state()
    np.random.seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cases of other operators divide by 0 on purpose
            return collect_testcases(None)
    finally:
        np.random.set_state(state)


def _stored_data(folder: Path) -> DataSets:
    return [(_arrays(one, "input"), _arrays(one, "output")) for one in sorted(folder.glob("test_data_set_*"))]


def _arrays(folder: Path, kind: str) -> list[Any]:
    count = len(list(folder.glob(f"{kind}_*.pb")))
    return [numpy_helper.to_array(onnx.load_tensor(str(folder / f"{kind}_{i}.pb"))) for i in range(count)]
