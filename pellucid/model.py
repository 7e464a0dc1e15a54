"""Model, the main interface: a network with its weights, training, prediction, and tools to explain them."""

from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.arguments import checked
from pellucid.data.dataset import float_images
from pellucid.explain import Ledger, explain, ledger
from pellucid.explain.attributions import Attributions, attributions_of
from pellucid.explain.functions import mapped
from pellucid.explain.names import target_by_index
from pellucid.run.described import feature_stats
from pellucid.run.folder import weights_file
from pellucid.run.loaded import params_of_file
from pellucid.task import task_of
from pellucid.task.given_pictures import are_pictures, inputs_of_pictures, predict_pictures
from pellucid.trace import Trace, trace
from pellucid.training.device import CPU, on_device
from pellucid.training.examples import as_inputs, checked_source, source_of
from pellucid.training.model import BaseModel
from pellucid.training.reading import read_batches
from pellucid.training.verified import verify_model
from pellucid.verify.table import GradientTable
from pellucid.weights.catalogue import CATALOGUE, downloaded_path

if TYPE_CHECKING:
    from pellucid.doctor import Diagnosis


class Model(BaseModel):
    """A network with its weights, a loss, an optimizer and metrics; or an Objective with one or several networks.

    loss, optimizer: objects, or names in LOSSES and OPTIMIZERS for the defaults. An Objective has its own losses,
    and one optimizer, or a dict with one for each network. metrics: names in METRICS, Metric objects or functions
    (outputs, targets) -> number; by default, accuracy for classification losses (mean IoU for masks), mean absolute
    error for regression losses, and both for a regression loss with class targets. input_shape: without the batch axis;
    the weights are drawn with `seed` as soon as it is known, from this argument or from the first data. classes: their
    number or names. regularizer: one or a list. schedule: the learning rate schedule, by default constant. clip: the
    maximum norm of the gradient of all parameters. average: the decay of a moving average of the weights, or "start"
    for their mean with the initial ones; it replaces them in evaluation, in the run's best weights and at the end of
    `fit`. precision: "float32", "bf16" or "float64". preprocess: JSON values that describe the preprocessing of images;
    the model itself applies only "mean" and "std", per channel. device: "cpu", "cuda", "mps", or "auto" for the
    fastest.
    Raises PellucidError for unknown names and other types, and for a network whose outputs do not fit the loss or the
    classes.
    """

    # Of an opened network: the keys of the dict that it returns, or the names in an ONNX file.
    output_names: tuple[str, ...] = ()

    @checked
    def predict(self, x: Any, batch_size: int | None = None) -> Any:
        """Return the predictions, such as probabilities, for inputs (N, ...) or data as for `fit`, on the CPU.

        For an Objective, these are the results of its `predict`: a tensor, or a list with one entry per input.
        Pictures are given as a path, a list of paths, a folder or a video, or in memory as Pillow images or arrays
        (H, W, 3) of uint8. The model's preprocessing is applied to them, and the result is a list with a
        pellucid.predictor.Predicted for each picture; the reasons for skipped pictures are printed on stderr. Raises
        PellucidError for data that do not fit, and if no file can be read.
        """
        if not are_pictures(x):
            return super().predict(x, batch_size)
        if batch_size is not None:
            raise PellucidError("predict: batch_size applies to arrays; leave it out for pictures")
        predictions = predict_pictures(task_of(self).predictor(self), x)
        predictions.model, predictions.argument = self, x
        return predictions

    @checked
    def load_weights(self, source: str | PathLike[str], part: str | None = None) -> None:
        """Replace the weights by those of a file, after all of its tensors have been checked.

        source: a published file of PyTorch (.pth), Keras (.h5), ONNX or safetensors for a network of pellucid.models,
        or its name in `pellucid weights list` if it has been downloaded; or a model of pellucid with the same network,
        as for `load`. part: "features" for all layers but the last, for example for other classes. The mean and
        standard deviation with which the weights were trained become part of `preprocess`, unless it has them.
        Raises MismatchError with all differences by path, and other PellucidErrors for files that cannot be read, for
        unknown names and for invalid values; after an error, the weights are unchanged.
        """
        self._check_has_weights()
        path = downloaded_path(str(source)) if str(source) in CATALOGUE else weights_file(source)
        with torch.inference_mode(False):
            params, scaling = params_of_file(self, path, part)
        if scaling and "mean" not in self.preprocess:
            self.preprocess |= scaling
            self.stats = feature_stats(self.preprocess)
        self._set_params(params, self.input_shape, self.output_shape)
        self.source = path

    @checked
    def verify(self, x: Any, y: Any = None, samples: int = 8) -> GradientTable:
        """Compare all gradients on one batch with independently computed ones, for each form of the network.

        For an Objective, the gradients in each network are compared, given the inputs and output gradients that
        `gradients` passes to it. samples: the number of entries of each tensor to compare with finite differences. See
        pellucid.verify.
        """
        data = checked_source(source_of(x, y, classes=self.classes, dtype=self.dtype), "x", self.fitting)
        return verify_model(
            self, next(read_batches(data, None, len(data), self.stats, self.device, self.dtype)), samples
        )

    @checked
    def trace(self, x: Any, target: Any = None, **options: Any) -> Trace:
        """Return all tensors of one forward and backward pass by name; see pellucid.trace for the arguments.

        x may also be pictures, as for `predict`.
        """
        return trace(self, self._without_pictures(x), target, **options)

    @checked
    def explain(self, x: Any, method: str = "saliency", target: Any = None, **options: Any) -> Attributions:
        """Return attributions of a score to the inputs (N, ...), by a method in pellucid.explain.METHODS.

        x may also be pictures, as for `predict`. target: None for the class with the highest score, or the only output;
        a class or its name; a list with one for each input; the difference of two classes, "cat - dog" or {"cat": 1,
        "dog": -1}; a tuple of indices in an output, weights of the outputs, or a function of the outputs; or the path
        of a unit or map, such as "head.conv[0, :, :]" for the sum of map 0: see pellucid.explain.aim. The score is the
        one before a softmax or sigmoid at the end. The result is a tensor with the methods `figure` and `save` for
        images; for several inputs, a tuple of them.
        """
        inputs = self._given_inputs(self._without_pictures(x))
        explained = explain(
            self.net, self.params, mapped(self.scaled, inputs), method, self._without_names(target), **options
        )

        def attributions(maps: Any, images: Tensor) -> Attributions | None:
            # Grad-CAM has no map for an input that its layer does not depend on.
            return None if maps is None else attributions_of(on_device(maps, CPU), float_images(images).cpu(), method)

        if isinstance(explained, tuple) != isinstance(inputs, tuple) or len(explained) != len(inputs):
            inputs = explained  # of indices with several embeddings, or the only one of several that is explained
        return mapped(attributions, explained, inputs)

    @checked
    def ledger(self, x: Any, target: Any = None, **options: Any) -> Ledger:
        """Return the ledger of an LRP explanation: the relevance of the inputs, and that absorbed by each layer.

        target: see `explain`; options: see pellucid.explain.lrp, such as `composite`.
        """
        inputs = mapped(self.scaled, self._given_inputs(self._without_pictures(x)))
        account = ledger(self.net, self.params, inputs, self._without_names(target), **options)
        return replace(account, map=mapped(lambda map_: on_device(map_, CPU), account.map))

    def _given_inputs(self, x: Any) -> Any:
        """Return inputs (N, ...) as a tensor, after checks of their shape and values."""
        inputs = as_inputs(x, dtype=self.dtype)
        self._check_input(inputs, "x")
        return inputs

    def _without_pictures(self, x: Any) -> Any:
        """Return pictures, see `are_pictures`, as inputs (N, C, H, W), and other inputs unchanged."""
        return inputs_of_pictures(self, task_of(self), x) if are_pictures(x) else x

    def _without_names(self, target: Any) -> Any:
        """Return the target of an explanation with indices instead of the names of classes and outputs."""
        return target_by_index(target, self.classes, self.output_names)

    @checked
    def doctor(
        self, x: Any, y: Any = None, *, attempts: bool = False, budget: float | None = None, **options: Any
    ) -> "Diagnosis":
        """Diagnose model, data and training. attempts: whether to try the fixes. options: see `doctor.case_of`.

        budget: the limit for the short trainings that test causes, as a multiple of the computations of the whole
        training; with it, further causes are looked for after the first. By default, the limit is 6. For a detector, x
        is a source of images with objects, and the options are `validation` and `history`.
        """
        # The doctor is plugged in: a part above this one, and not in every installation.
        from pellucid.doctor import case_with, examined

        task = task_of(self)
        case = task.case(self, x, y, options)
        case = case_with(self, x, y, options) if case is None else case
        return examined(task, case, attempts, self.device, budget=budget)
