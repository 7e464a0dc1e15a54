"""Predictions by a chosen engine: this library, onnxruntime, or the faster of the two."""

import weakref
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from pellucid.base.allocator import FreedMemory
from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check
from pellucid.base.text import note, plural
from pellucid.extend.user_defined import naming_layers_in_errors
from pellucid.fuse.inference import inference
from pellucid.fuse.inference.runs import RunFunction
from pellucid.training.examples import as_inputs, first_not_finite
from pellucid.training.process import torch_threads
from pellucid.training.threads import ThreadChoice, Threads, check_on_cpu, check_threads, fastest_threads

# "pellucid" is the default though onnxruntime is often faster: the two differ by rounding errors, and predictions must
# be the same by commands, in one process and in many.
ENGINES = ("pellucid", "onnxruntime", "auto")
MIN_CALIBRATION_IMAGES = 32
CALIBRATION_BATCH_SIZE = 32
TIMING_TURNS, TIMING_PASSES = 2, 4  # turns of each engine that "auto" times, and passes in a turn
_ONNXRUNTIME = "pellucid.export.engine"  # imported when it is needed, since pellucid.export depends on this package


class EnginePredictor:
    """A function that predicts like a model, with a network that is converted once; see `Model.predictor`.

    engine: the name of the engine that computed the last predictions; "" before them.
    threads: the number of CPU threads that computed them, if it was measured; otherwise 0.
    check_inputs: a function that raises PellucidError for inputs (N, ...) that the model does not accept, with their
        name.
    """

    def __init__(
        self,
        model: Any,
        engine: str,
        precision: str | None,
        calibration: Any,
        threads: Threads,
        check_inputs: Callable[[Tensor, str], object],
    ) -> None:
        check(engine in ENGINES, "engine", f"one of {', '.join(ENGINES)}", engine)
        check(precision in (None, "int8"), "precision", "'int8', or None for the model's own", precision)
        if precision is None and calibration is not None:
            raise PellucidError("calibration: images are only used with precision='int8'; leave them out")
        if precision == "int8":
            if engine == "auto" or threads:
                left_out = f"engine={engine!r}" if engine == "auto" else f"threads={threads!r}"
                raise PellucidError(f"precision='int8' is computed by onnxruntime only; leave out {left_out}")
            engine = "onnxruntime"
        _check_predictor_threads(model, engine, threads)
        self._model = model
        self._check_inputs = check_inputs
        self.engine = ""
        self._requested_threads: Threads = threads
        self.threads = 0
        self._thread_choices: dict[tuple[int, ...], ThreadChoice] = {}  # by the shape of the inputs
        self._run_functions: dict[str, RunFunction] = {}
        self._pending_notes: list[str] = []  # printed after the first predictions, whose errors are more useful
        self._checks_finite = precision == "int8"  # float32 propagates NaN to the predictions, which are checked
        if precision == "int8":
            self._run_functions["onnxruntime"] = _int8_function(model, calibration, check_inputs)
        elif engine == "onnxruntime":
            self._run_functions["onnxruntime"] = _onnxruntime_engine(model)
        else:
            self._run_functions["pellucid"] = inference(model.net, model.params)
            if engine == "auto" and _is_computable(model):
                try:
                    self._run_functions["onnxruntime"] = _onnxruntime_engine(model)
                except PellucidError as error:  # ONNX cannot express the network, or its outputs differ
                    self._pending_notes.append(f"predictor: without onnxruntime, since {error}")
        self._fastest_engines: dict[tuple[int, ...], str] = {}  # by the shape of the inputs
        # Not for single calls of `predict`: returning the memory after each takes longer than a small prediction.
        FreedMemory.keep()
        weakref.finalize(self, FreedMemory.release).atexit = False

    def __call__(self, x: Any) -> Tensor:
        """Return the predictions for inputs (N, ...), a tensor or an array."""
        model = self._model
        if not isinstance(x, Tensor) or not (x.is_floating_point() or x.dtype is torch.uint8):
            x = as_inputs(x, "x", model.dtype)  # it reads every value of a tensor, which predictions need not wait for
        self._check_inputs(x, "x")
        if self._checks_finite and (index := first_not_finite(x)) is not None:
            raise PellucidError(f"x: example {index} contains NaN or infinity; the inputs must be finite")
        with torch.inference_mode():
            batch = model.scaled(x)
            with naming_layers_in_errors(model.net, model.params, batch):
                self.engine = self._choose_engine(batch)
                y = self._run(self._run_functions[self.engine], batch)
            predictions = model.interpret(batch, y).cpu().clone()
        while self._pending_notes:
            note(self._pending_notes.pop())
        return predictions

    def _run(self, run: RunFunction, batch: Tensor) -> Any:
        """Return the outputs for a batch, computed with the given number of threads, or with the measured one."""
        if self._requested_threads == 0:
            return run(batch)
        if self._requested_threads != "auto":
            with torch_threads(self._requested_threads):
                return run(batch)
        shape = tuple(batch.shape)
        measure = partial(fastest_threads, partial(run, batch))
        if shape not in self._thread_choices:
            self._thread_choices[shape] = ThreadChoice(measure())
        choice = self._thread_choices[shape]
        if choice.is_measurement_due:
            choice.measure(measure)
        self.threads = choice.count
        with torch_threads(choice.count):
            start = perf_counter()
            y = run(batch)
            choice.add(1, perf_counter() - start)
        return y

    def _choose_engine(self, batch: Tensor) -> str:
        """Return the name of the engine for this batch: the faster one, timed with the first batch of this shape."""
        shape = tuple(batch.shape)
        if shape not in self._fastest_engines:
            names = [*self._run_functions]
            self._fastest_engines[shape] = (
                names[0] if len(names) == 1 else min(names, key=self._time_engines(batch).__getitem__)
            )
        return self._fastest_engines[shape]

    def _time_engines(self, batch: Tensor) -> dict[str, float]:
        """Return the shortest time of each engine for a batch, in seconds.

        They take turns. The first pass of a turn does not count: the threads of the engine before may still spin.
        """
        times = dict.fromkeys(self._run_functions, float("inf"))
        for name, run in [*self._run_functions.items()] * TIMING_TURNS:
            for k in range(TIMING_PASSES):
                start = perf_counter()
                run(batch)
                if k:
                    times[name] = min(times[name], perf_counter() - start)
        return times


def check_int8_processor() -> None:
    """Raise PellucidError if this processor cannot compute in int8 exactly and faster than in float32."""
    # without VNNI, sums of two products of 8 bits saturate at 16 bits
    if not getattr(torch.cpu, "_is_vnni_supported", lambda: False)():
        raise PellucidError(
            "precision='int8': this processor has no AVX-512 VNNI instructions, without which int8 is not faster than "
            "float32; use precision=None"
        )


def _int8_function(model: Any, calibration: Any, check_inputs: Callable[[Tensor, str], object]) -> RunFunction:
    """Return the network in int8, with the ranges of its activations for the calibration images (N, ...)."""
    if calibration is None:
        raise PellucidError("precision='int8' needs calibration=images, inputs (N, ...) like those to predict")
    check_int8_processor()
    _check_float32_on_cpu(model)
    images = as_inputs(calibration, "calibration", model.dtype)
    check_inputs(images, "calibration")
    if len(images) < MIN_CALIBRATION_IMAGES:
        raise PellucidError(f"calibration: {plural(len(images), 'image')}; give at least {MIN_CALIBRATION_IMAGES}")
    low, high = (value.item() for value in torch.aminmax(images))
    if low == high:
        raise PellucidError(f"calibration: all values of all images are {low:g}; give images like those to predict")
    with torch.inference_mode():
        batches = [model.scaled(batch) for batch in torch.split(images, CALIBRATION_BATCH_SIZE)]
        return import_module(_ONNXRUNTIME).int8_engine(model.net, model.params, batches)


def _check_predictor_threads(model: Any, engine: str, threads: Threads) -> None:
    """Raise PellucidError for an invalid number of threads, and for one that the engine cannot use."""
    check_threads("predictor: threads", threads)
    if threads == "auto":
        check_on_cpu("predictor: threads", model.device)
    if threads and engine != "pellucid":
        raise PellucidError(
            f'predictor: threads needs engine="pellucid", not {engine!r}: onnxruntime takes PyTorch\'s number of '
            "threads when the function is created"
        )


def _is_computable(model: Any) -> bool:
    """Return whether onnxruntime is installed and computes in the model's dtype and on its device."""
    is_installed = all(find_spec(name) for name in ("onnx", "onnxruntime"))
    return is_installed and model.dtype == torch.float32 and model.device.type == "cpu"


def _check_float32_on_cpu(model: Any) -> None:
    """Raise PellucidError for a model whose dtype or device onnxruntime does not compute with."""
    if model.dtype != torch.float32 or model.device.type != "cpu":
        dtype_and_device = f"{model.dtype} on {model.device}".removeprefix("torch.")
        raise PellucidError(f"engine: onnxruntime computes in float32 on the CPU, and the model in {dtype_and_device}")


def _onnxruntime_engine(model: Any) -> RunFunction:
    _check_float32_on_cpu(model)
    return import_module(_ONNXRUNTIME).onnxruntime_engine(model.net, model.params, model.nominal_shape)
