"""Predictions by the engine that is asked for: this library, onnxruntime, or the faster of the two."""

import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.fuse.inference import inference
from pellucid.fuse.inference.runs import RunFunction
from pellucid.settings.checks import check
from pellucid.user_defined import naming_layers

ENGINES = ("pellucid", "onnxruntime", "auto")
ROUNDS = 5  # in which "auto" times each engine
_ONNXRUNTIME = "pellucid.export.engine"  # imported by name when it is needed, since exports stand above trainings


class EnginePredictor:
    """Predicts as a model does, with a network that was converted once; see `Model.predictor`.

    engine: the name of the engine that computed the last predictions; "" before them.
    """

    def __init__(self, model: Any, engine: str) -> None:
        check(engine in ENGINES, "engine", f"one of {', '.join(ENGINES)}", engine)
        self._model, self.engine = model, ""
        self._runs: dict[str, RunFunction] = {}
        if engine != "onnxruntime":
            self._runs["pellucid"] = inference(model.net, model.params)
        if engine == "onnxruntime" or (engine == "auto" and _installed()):
            try:
                self._runs["onnxruntime"] = _onnxruntime(model)
            except PellucidError:
                if engine == "onnxruntime":
                    raise  # for "auto", a network that ONNX cannot express has one engine
        self._fastest: dict[tuple[int, ...], str] = {}  # by the shape of the inputs

    def __call__(self, x: Tensor) -> Tensor:
        """Return the predictions for inputs (N, ...)."""
        model = self._model
        model.check_shape(x)
        with torch.inference_mode():
            batch = model.scaled(x)
            with naming_layers(model.net, model.params, batch):
                self.engine = self._choice(batch)
                y = self._runs[self.engine](batch)
            return model.interpret(batch, y).cpu().clone()

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


def _installed() -> bool:
    return all(find_spec(name) for name in ("onnx", "onnxruntime"))


def _onnxruntime(model: Any) -> RunFunction:
    if model.dtype != torch.float32 or model.device.type != "cpu":
        where = f"{model.dtype} on {model.device}".removeprefix("torch.")
        raise PellucidError(f"engine: onnxruntime computes in float32 on the CPU, and the model in {where}")
    return import_module(_ONNXRUNTIME).onnxruntime_engine(model.net, model.params, model.nominal_shape)
