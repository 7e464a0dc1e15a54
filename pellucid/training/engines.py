"""Predictions by the engine that is asked for: this library, onnxruntime, or the faster of the two."""

import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.fuse.inference import inference
from pellucid.fuse.inference.runs import RunFunction
from pellucid.settings.checks import check
from pellucid.text import note
from pellucid.user_defined import naming_layers

ENGINES = ("pellucid", "onnxruntime", "auto")
ROUNDS = 5  # in which "auto" times each engine
_ONNXRUNTIME = "pellucid.export.engine"  # imported by name when it is needed, since exports stand above trainings


class EnginePredictor:
    """Predicts as a model does, with a network that was converted once; see `Model.predictor`.

    engine: the name of the engine that computed the last predictions; "" before them. check_inputs: raises
    PellucidError for inputs (N, ...) that the model does not take.
    """

    def __init__(self, model: Any, engine: str, check_inputs: Callable[[Tensor], object]) -> None:
        check(engine in ENGINES, "engine", f"one of {', '.join(ENGINES)}", engine)
        self._model, self._check_inputs, self.engine = model, check_inputs, ""
        self._runs: dict[str, RunFunction] = {}
        self._notes: list[str] = []  # said after the first predictions, since an error of theirs says more
        if engine != "onnxruntime":
            self._runs["pellucid"] = inference(model.net, model.params)
        if engine == "onnxruntime":
            self._runs["onnxruntime"] = _onnxruntime(model)
        elif engine == "auto" and _is_computable(model):
            try:
                self._runs["onnxruntime"] = _onnxruntime(model)
            except PellucidError as error:  # ONNX cannot express the network, or computes something else
                self._notes.append(f"predictor: without onnxruntime, since {error}")
        self._fastest: dict[tuple[int, ...], str] = {}  # by the shape of the inputs

    def __call__(self, x: Tensor) -> Tensor:
        """Return the predictions for inputs (N, ...)."""
        model = self._model
        self._check_inputs(x)
        with torch.inference_mode():
            batch = model.scaled(x)
            with naming_layers(model.net, model.params, batch):
                self.engine = self._choice(batch)
                y = self._runs[self.engine](batch)
            predictions = model.interpret(batch, y).cpu().clone()
        while self._notes:
            note(self._notes.pop())
        return predictions

    def _choice(self, batch: Tensor) -> str:
        """Return the name of the engine for this batch: the faster one, measured at the first batch of its shape."""
        shape = tuple(batch.shape)
        if shape not in self._fastest:
            names = [*self._runs]
            self._fastest[shape] = names[0] if len(names) == 1 else min(names, key=self._times(batch).__getitem__)
        return self._fastest[shape]

    def _times(self, batch: Tensor) -> dict[str, float]:
        """Return the least time that each engine needs for a batch, in seconds, after one pass to warm up."""
        times = dict.fromkeys(self._runs, float("inf"))
        for k in range(ROUNDS + 1):
            for name, run in self._runs.items():
                start = time.perf_counter()
                run(batch)
                if k:
                    times[name] = min(times[name], time.perf_counter() - start)
        return times


def _is_computable(model: Any) -> bool:
    """Return whether onnxruntime is installed and computes in the model's dtype and on its device."""
    is_installed = all(find_spec(name) for name in ("onnx", "onnxruntime"))
    return is_installed and model.dtype == torch.float32 and model.device.type == "cpu"


def _onnxruntime(model: Any) -> RunFunction:
    if model.dtype != torch.float32 or model.device.type != "cpu":
        where = f"{model.dtype} on {model.device}".removeprefix("torch.")
        raise PellucidError(f"engine: onnxruntime computes in float32 on the CPU, and the model in {where}")
    return import_module(_ONNXRUNTIME).onnxruntime_engine(model.net, model.params, model.nominal_shape)
