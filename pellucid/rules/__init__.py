"""Rules: how one layer propagates the gradient of its output to its input."""

from pellucid.rules.alpha_beta import AlphaBeta
from pellucid.rules.composites import (
    COMPOSITES,
    Composite,
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
from pellucid.rules.deconv import Deconv
from pellucid.rules.entrance import Entrance, at_entrance
from pellucid.rules.epsilon import Epsilon
from pellucid.rules.flat import Flat
from pellucid.rules.fold import fold
from pellucid.rules.gamma import Gamma
from pellucid.rules.guided import Guided
from pellucid.rules.norm import Norm
from pellucid.rules.outputs import OutputRule, Outputs
from pellucid.rules.own import own
from pellucid.rules.passing import Pass
from pellucid.rules.share import Share
from pellucid.rules.table import Table, composite
from pellucid.rules.w_square import WSquare
from pellucid.rules.z_box import ZBox
from pellucid.rules.z_plus import ZPlus
from pellucid.rules.zero import Zero
from pellucid.sweep import Rule, Rules, gradient

__all__ = [
    "COMPOSITES",
    "AlphaBeta",
    "Composite",
    "Deconv",
    "Entrance",
    "Epsilon",
    "Flat",
    "Gamma",
    "Guided",
    "Norm",
    "OutputRule",
    "Outputs",
    "Pass",
    "Rule",
    "Rules",
    "Share",
    "Table",
    "WSquare",
    "ZBox",
    "ZPlus",
    "Zero",
    "at_entrance",
    "composite",
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
