"""Samples of PyTorch's loss modules, each of which has the options of a function of `torch.nn.functional`."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from conformance import losses
from conformance.case import SkipCase
from conformance.moduleinfo.module import Module
from conformance.trial import Trial
from pellucid.losses import L1, BinaryCrossEntropy, Hinge, Huber, NegativeLogLikelihood, Quadratic, SoftmaxCrossEntropy


def module_adapter(adapt: Callable[..., Trial], *options: str) -> Callable[[Any, Tensor, Tensor], Trial]:
    """Return the adapter of a loss module; `adapt` is that of the function with the same `options`.

    Our losses refuse weights below 0, so both sides receive |weight|.
    """

    def adapt_module(module: Any, y: Tensor, target: Tensor) -> Trial:
        if "weight" in options and module.weight is not None:
            module.weight = module.weight.abs()
        module_options = {name: getattr(module, name) for name in (*options, "reduction")}
        if (
            module.reduction == "mean"
            and "ignore_index" in module_options
            and bool((target == module.ignore_index).all())
        ):
            raise SkipCase("all positions ignored: 0 for us, 0/0 for PyTorch")
        return adapt(lambda: module(y, target), y, target, **module_options)

    return adapt_module


l1 = module_adapter(losses.l1_loss)
mse = module_adapter(losses.mse_loss)
huber = module_adapter(losses.huber_loss, "delta")
smooth_l1 = module_adapter(losses.smooth_l1_loss, "beta")
bce_with_logits = module_adapter(losses.binary_cross_entropy_with_logits, "weight", "pos_weight")
bce = module_adapter(losses.binary_cross_entropy, "weight")
soft_margin = module_adapter(losses.multilabel_soft_margin_loss, "weight")
nll = module_adapter(losses.nll_loss, "weight", "ignore_index")
cross_entropy = module_adapter(losses.cross_entropy, "weight", "ignore_index", "label_smoothing")
multi_margin = module_adapter(losses.multi_margin_loss, "p", "margin", "weight")

MODULES = (
    Module("nn.L1Loss", L1, l1),
    Module("nn.MSELoss", Quadratic, mse),
    Module("nn.HuberLoss", Huber, huber),
    Module("nn.SmoothL1Loss", Huber, smooth_l1),
    Module("nn.BCEWithLogitsLoss", BinaryCrossEntropy, bce_with_logits),
    Module("nn.BCELoss", BinaryCrossEntropy, bce),
    Module("nn.MultiLabelSoftMarginLoss", BinaryCrossEntropy, soft_margin),
    Module("nn.NLLLoss", NegativeLogLikelihood, nll),
    Module("nn.CrossEntropyLoss", SoftmaxCrossEntropy, cross_entropy),
    Module("nn.MultiMarginLoss", Hinge, multi_margin),
)
