"""Explanations: which parts of an input determine a network's output, or a unit inside the network."""

from pellucid.explain.ablation import Removal, ablation_table, map_effects
from pellucid.explain.averaged import QUADRATURES, integrated_gradients, smoothgrad
from pellucid.explain.deeplift import deeplift
from pellucid.explain.gradcam import gradcam, gradcam_plus_plus, guided_gradcam, layercam
from pellucid.explain.gradients import deconvnet, guided_backprop, input_x_gradient, saliency
from pellucid.explain.ledger import Absorbed, Ledger, ledger
from pellucid.explain.lrp import lrp
from pellucid.explain.maximization import Maximum, maximize
from pellucid.explain.measured import MeasuredComposite, MeasuredComposites, measure_composites
from pellucid.explain.methods import METHODS, explain
from pellucid.explain.occlusion import Occluded, occlude, occlusion
from pellucid.explain.parts import upto
from pellucid.explain.rollout import rollout
from pellucid.explain.scorecam import scorecam
from pellucid.explain.sweeps import scores
from pellucid.explain.target import Aim, Region, Target, aim
from pellucid.explain.top_patches import TopPatches, top_patches

__all__ = [
    "METHODS",
    "QUADRATURES",
    "Absorbed",
    "Aim",
    "Ledger",
    "Maximum",
    "MeasuredComposite",
    "MeasuredComposites",
    "Occluded",
    "Region",
    "Removal",
    "Target",
    "TopPatches",
    "ablation_table",
    "aim",
    "deconvnet",
    "deeplift",
    "explain",
    "gradcam",
    "gradcam_plus_plus",
    "guided_backprop",
    "guided_gradcam",
    "input_x_gradient",
    "integrated_gradients",
    "layercam",
    "ledger",
    "lrp",
    "map_effects",
    "maximize",
    "measure_composites",
    "occlude",
    "occlusion",
    "rollout",
    "saliency",
    "scorecam",
    "scores",
    "smoothgrad",
    "top_patches",
    "upto",
]
