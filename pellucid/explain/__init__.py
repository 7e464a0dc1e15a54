"""Explanations: which parts of an input a network's answer, or any unit inside it, comes from."""

from pellucid.explain.ablation import Removal, ablation_table, map_effects
from pellucid.explain.deconvnet import deconvnet
from pellucid.explain.gradcam import gradcam
from pellucid.explain.gradcam_plus_plus import gradcam_plus_plus
from pellucid.explain.guided_backprop import guided_backprop
from pellucid.explain.guided_gradcam import guided_gradcam
from pellucid.explain.input_x_gradient import input_x_gradient
from pellucid.explain.integrated_gradients import QUADRATURES, integrated_gradients
from pellucid.explain.lrp import lrp
from pellucid.explain.maximization import Maximum, maximize
from pellucid.explain.methods import METHODS, explain
from pellucid.explain.occlusion import Occluded, occlude, occlusion
from pellucid.explain.saliency import saliency
from pellucid.explain.smoothgrad import smoothgrad
from pellucid.explain.sweeps import scores
from pellucid.explain.target import Aim, Target, aim
from pellucid.explain.top_patches import TopPatches, top_patches
from pellucid.explain.upto import upto

__all__ = [
    "METHODS",
    "QUADRATURES",
    "Aim",
    "Maximum",
    "Occluded",
    "Removal",
    "Target",
    "TopPatches",
    "ablation_table",
    "aim",
    "deconvnet",
    "explain",
    "gradcam",
    "gradcam_plus_plus",
    "guided_backprop",
    "guided_gradcam",
    "input_x_gradient",
    "integrated_gradients",
    "lrp",
    "map_effects",
    "maximize",
    "occlude",
    "occlusion",
    "saliency",
    "scores",
    "smoothgrad",
    "top_patches",
    "upto",
]
