"""Model, the main interface: a network, its weights, training, and tools that explain it."""

from typing import Any

from torch import Tensor

from pellucid.detectors import Detector
from pellucid.doctor import Diagnosis, case_with, diagnose
from pellucid.doctor.detection import detection_case, diagnose_detector
from pellucid.explain import explain
from pellucid.trace import Trace, trace
from pellucid.training.device import CPU, on_device
from pellucid.training.examples import as_inputs, fitted, read, source_of
from pellucid.training.model import BaseModel
from pellucid.training.verified import verify_model
from pellucid.verify_table import Table


class Model(BaseModel):
    """A network with its weights, a loss, an optimizer and metrics; or an Objective, of one network or several.

    loss, optimizer: objects, or names of LOSSES and OPTIMIZERS for their defaults. An Objective has its own losses; it
    takes one optimizer, or a dict of them by network. metrics: names of METRICS, Metric objects or functions (outputs,
    targets) -> number; by default accuracy for classes, mean absolute error for numbers, both for a loss of numbers on
    classes. input_shape: without the batch axis; the weights are drawn from `seed` once it is known, here or from the
    first data. classes: their number or names. regularizer: one or several. schedule: of the learning rate,
    constant unless given. clip: the largest norm of the whole gradient. average: the decay of a moving average of the
    weights, which is evaluated, saved and left by `fit` in their place. precision: "float32", "bf16" or "float64".
    preprocess: JSON values that describe how images are prepared; "mean" and "std", by channel, are applied here.
    device: "cpu", "cuda", "mps", or "auto" for the fastest.
    Raises PellucidError for unknown names and other types, and for a network whose outputs do not fit the loss or the
    classes.
    """

    def verify(self, x: Any, y: Any = None, samples: int = 8) -> Table:
        """Compare every gradient with independent ones on one batch, in each form of the network.

        Of an Objective, those within each network are compared, at what `gradients` passes to it.
        """
        data = fitted(source_of(x, y, classes=self.classes, dtype=self.dtype), "x", self.fitting)
        return verify_model(self, next(read(data, None, len(data), self.stats, self.device, self.dtype)), samples)

    def trace(self, x: Any, target: Any, **options: Any) -> Trace:
        """Return every named tensor of one pass forward and backward; see pellucid.trace."""
        return trace(self, x, target, **options)

    def explain(self, x: Any, method: str = "saliency", target: Any = None, **options: Any) -> Tensor:
        """Attribute the outputs to the inputs (N, ...), with a method of pellucid.explain.METHODS.

        target: a class, one for each input, None for each one's best, or the path of a unit or map,
        such as "head.conv[0, :, :]" for the sum of map 0; see pellucid.explain.aim.
        """
        inputs = as_inputs(x)
        self._fit_shape(inputs, "x")
        return on_device(explain(self.net, self.params, self.scaled(inputs), method, target, **options), CPU)

    def doctor(self, x: Any, y: Any = None, *, attempts: bool = False, **options: Any) -> Diagnosis:
        """Diagnose model, data and training. attempts: whether to try the fixes. options: see doctor.case_of.

        Of a detector, x is a source of images with objects, and options are `validation` and `history`.
        """
        if isinstance(self.objective, Detector):
            return diagnose_detector(detection_case(self, x, **options))
        return diagnose(case_with(self, x, y, options), attempts)
