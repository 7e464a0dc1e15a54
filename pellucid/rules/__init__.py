"""Rules: how a layer propagates the gradient, or the relevance, of its output to its input."""

from pellucid.rules.composites import (
    COMPOSITES,
    Composite,
    attn_lrp,
    cp_lrp,
    deconvnet,
    epsilon_alpha2_beta1,
    epsilon_alpha2_beta1_flat,
    epsilon_everywhere,
    epsilon_gamma_box,
    epsilon_plus,
    epsilon_plus_flat,
    excitation_backprop,
    guided_backprop,
    relevance,
)
from pellucid.rules.entrance import Entrance, at_entrance
from pellucid.rules.fold import fold
from pellucid.rules.operators import AsWeighted, Attend, FixedScale, Product, Share, Taylor
from pellucid.rules.origins import Origin, Origins, Use, UseRule
from pellucid.rules.outputs import OutputRule, Outputs
from pellucid.rules.relevance import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, Zero, ZPlus
from pellucid.rules.rescale import Rescale
from pellucid.rules.table import Table, composite
from pellucid.rules.without_weights import Deconv, First, Guided, Norm, Pass, own
from pellucid.sweep import Rule, Rules, gradient

__all__ = [
    "COMPOSITES",
    "AlphaBeta",
    "AsWeighted",
    "Attend",
    "Composite",
    "Deconv",
    "Entrance",
    "Epsilon",
    "First",
    "FixedScale",
    "Flat",
    "Gamma",
    "Guided",
    "Norm",
    "Origin",
    "Origins",
    "OutputRule",
    "Outputs",
    "Pass",
    "Product",
    "Rescale",
    "Rule",
    "Rules",
    "Share",
    "Table",
    "Taylor",
    "Use",
    "UseRule",
    "WSquare",
    "ZBox",
    "ZPlus",
    "Zero",
    "at_entrance",
    "attn_lrp",
    "composite",
    "cp_lrp",
    "deconvnet",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "epsilon_everywhere",
    "epsilon_gamma_box",
    "epsilon_plus",
    "epsilon_plus_flat",
    "excitation_backprop",
    "fold",
    "gradient",
    "guided_backprop",
    "own",
    "relevance",
]
