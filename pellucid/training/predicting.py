"""Predictions of a model for arrays, sources and batches."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.calibration.familiarity import Familiarity
from pellucid.data import Source
from pellucid.data.augment.standardise import scaled
from pellucid.extend.user_defined import naming_layers_in_errors
from pellucid.layers.base import Mode
from pellucid.objective import Supervised
from pellucid.training.device import on_device
from pellucid.training.diagnose import diagnose_output
from pellucid.training.engines import EnginePredictor
from pellucid.training.evaluate import output_batches
from pellucid.training.examples import as_inputs
from pellucid.training.reading import read_images
from pellucid.training.threads import Threads
from pellucid.training.viewed import ModelDisplay


class Predicting(ModelDisplay):
    """The methods of Model that run its network or its objective on inputs."""

    precision: str
    device: torch.device
    source: Path | None  # the file that the weights were loaded from
    familiarity: Familiarity | None  # the features of the training data, after they are fitted

    def __call__(self, x: Any) -> Any:
        """Return the network's outputs for inputs (N, ...) in evaluation mode, such as logits; see also `predict`."""
        inputs = as_inputs(x, dtype=self.dtype)
        self._check_input(inputs, "x")
        images = self.scaled(inputs)
        with torch.no_grad(), naming_layers_in_errors(self.net, self.params, images):
            return self.net.forward(self.params, images, Mode(keep=False))[0]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights and inputs: float64 with precision="float64", else float32."""
        return torch.float64 if self.precision == "float64" else torch.float32

    def _predictions(self, x: Tensor | Source, batch_size: int) -> Iterator[Any]:
        """Yield the predictions for inputs, such as probabilities, batch by batch."""
        if isinstance(self.objective, Supervised):
            for batch, y in output_batches(self.net, self.params, x, batch_size, self.stats):
                yield self.interpret(batch, y)
            return
        for images in read_images(x, batch_size, self.stats, self.params):
            yield self.objective.predict(self.params, images)

    def scaled(self, x: Tensor) -> Tensor:
        """Return inputs on the model's device and in its dtype, standardized if the model has statistics."""
        return scaled(on_device(x, self.device), self.stats, self.dtype)

    def interpret(self, x: Tensor, y: Any) -> Tensor:
        """Return predictions, `loss.predict(y)`, for the network's outputs y; x: its inputs, from `scaled`.

        Raises PellucidError for NaN and infinity, naming the layer and the file from which the weights were loaded.
        """
        scores = self.loss.predict(y)
        # A finite sum has only finite terms, and takes one operation instead of five; a sum may also overflow.
        if not math.isfinite(scores.sum().item()) and not bool(torch.isfinite(scores).all()):
            fault = diagnose_output(self.net, self.params, x) or "an output is NaN or infinite"
            source_name = self.source or "prediction"
            raise PellucidError(f"{source_name}: {fault}; look at the images, the preprocessing and the weights")
        return scores

    def distance(self, x: Any) -> Tensor | None:
        """Return the familiarity distances (N,) of inputs (N, ...) or a Dataset; None if familiarity is not fitted."""
        inputs = as_inputs(x)
        familiarity = self.familiarity
        self._check_input(inputs, "x")
        return None if familiarity is None else familiarity.distance(self.net, self.params, inputs, self.stats)

    def predictor(
        self, engine: str = "pellucid", precision: str | None = None, calibration: Any = None, threads: Threads = 0
    ) -> EnginePredictor:
        """Return a function with the same results as `predict`, faster for many calls with few inputs (N, ...).

        The network is fused and its weights are converted once, so the weights must not change between the calls. Until
        the function is deleted, memory that a call has freed stays in the process for the next call.
        engine: "pellucid"; "onnxruntime", which needs pellucid[export], and whose outputs are compared with those of
        the network when the function is created; or "auto", the faster one for the shape of the inputs, timed with the
        first batch of that shape. The function's attribute `engine` is the name of the engine used. Results of the two
        differ by rounding errors.
        precision: None for the model's own, or "int8" for convolutions and fully connected layers in int8, quantized
        and computed by onnxruntime, on processors with VNNI instructions. calibration: with "int8", at least 32 inputs
        (N, ...) like those to predict and of their shape, for which the ranges of the activations are computed; values
        outside these ranges saturate.
        threads: the number of CPU threads, 0 for PyTorch's; or "auto", the fastest number for the shape of the inputs,
        which is measured with the first batch, and again when predictions become slower, so that results may change by
        rounding errors; the attribute `threads` is then this number.
        Raises PellucidError for a model without weights, for "onnxruntime" if it cannot compute the network, for "int8"
        if the processor or the network does not support it, and for `threads` with another engine than
        "pellucid".
        """
        self._check_has_weights()
        return EnginePredictor(self, engine, precision, calibration, threads, self._check_input)
