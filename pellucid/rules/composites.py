"""The common composites of relevance rules, by name."""

from collections.abc import Callable

from pellucid.layers import BatchNorm, Dense, GroupNorm, InstanceNorm2d, LayerNorm, Multiply, Softmax
from pellucid.layers.base import Layer, Trait
from pellucid.operators import (
    AffineGrid,
    AffineMap,
    AngleOfPoint,
    Attention,
    Convolve,
    Einsum,
    GridSample,
    Length,
    LinearMap,
    LogSumExp,
    MatMul,
    NormalizeChannels,
    NormalizeGroups,
    NormalizeLast,
    Over,
    ParametricReLU,
    RunningProduct,
    StepFunction,
    Times,
    ToPower,
    Variance,
)
from pellucid.rules.entrance import Entrance, at_entrance
from pellucid.rules.operators import AsWeighted, Attend, FixedScale, Product, Share, Taylor
from pellucid.rules.relevance import AlphaBeta, Bound, Epsilon, Flat, Gamma, ZBox, ZPlus
from pellucid.rules.table import Table, TableRow, composite
from pellucid.rules.without_weights import Deconv, First, Guided, Norm, Pass
from pellucid.sweep import Rule, Rules

NORM_OPERATORS = (NormalizeChannels, NormalizeGroups, NormalizeLast)  # norms whose scale and shift are inputs

Composite = Callable[[Entrance], Rules]  # function of the entrance layers that returns all layers' rules


def relevance(convolution: Rule, dense: Rule, stabilizer: float = 1e-6) -> Table:
    """Return the table of most composites for relevance, with the given rules for convolutions and dense layers.

    Activations and normalizations pass relevance on unchanged, batch normalization too unless `fold` has folded it into
    the preceding layer. Sums, averages and resizing divide relevance in proportion to contributions, products in equal
    parts. Max pooling and layers that only move values use their gradient. Attention weights are constant. Other
    operators of opened networks have the rules of `cp_lrp`.
    """
    return composite(
        (NORM_OPERATORS, First()),
        ((Trait.ACTIVATION, Trait.NORM), Pass()),
        ((Multiply, Times), Share()),
        *_operator_rows(convolution, dense, stabilizer, constant_weights=True),
        (Trait.ADDITIVE, Norm(stabilizer)),
        (Trait.CONVOLUTION, convolution),
        (Dense, dense),
    )


def _operator_rows(convolution: Rule, dense: Rule, stabilizer: float, constant_weights: bool) -> tuple[TableRow, ...]:
    """Return the rows for operators: products, quotients, elementwise functions, Euclidean norm and variance.

    Elementwise functions pass relevance on unchanged: Achtibat et al. 2024, equation 9.
    """
    return (
        ((MatMul, Einsum), Product(constant_weights, stabilizer)),
        (Attention, Attend(constant_weights, stabilizer)),
        (LinearMap, AsWeighted(dense)),
        (Convolve, AsWeighted(convolution)),
        ((Over, ParametricReLU, ToPower, StepFunction, AngleOfPoint), First()),
        (RunningProduct, Pass()),  # to the last factor: those before it are constant, as gates are
        (_is_shifted, Norm(stabilizer)),
        (Trait.ELEMENTWISE, Pass()),
        ((Length, LogSumExp, AffineGrid, GridSample), Norm(stabilizer)),
        (Variance, Norm(stabilizer, degree=2)),
    )


def _is_shifted(path: str, layer: Layer) -> bool:
    return isinstance(layer, AffineMap) and layer.shift != 0


def epsilon_everywhere(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """Return the composite with epsilon for every dense and convolutional layer (Bach et al. 2015)."""
    return lambda entrance: relevance(Epsilon(epsilon), Epsilon(epsilon), stabilizer)


def epsilon_plus(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """Return the composite with z-plus for convolutions and epsilon for dense layers."""
    return lambda entrance: relevance(ZPlus(stabilizer), Epsilon(epsilon), stabilizer)


def epsilon_plus_flat(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """Return the composite with z-plus for convolutions, epsilon for dense layers, and flat for the input layers."""
    default_rules = relevance(ZPlus(stabilizer), Epsilon(epsilon), stabilizer)
    return lambda entrance: at_entrance(entrance, Flat(stabilizer), default_rules)


def epsilon_alpha2_beta1(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """Return the composite with alpha-beta (2 and 1) for convolutions, and epsilon for dense layers."""
    return lambda entrance: relevance(AlphaBeta(2.0, 1.0, stabilizer), Epsilon(epsilon), stabilizer)


def epsilon_alpha2_beta1_flat(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """Return the composite with alpha-beta (2 and 1) for convolutions, epsilon for dense, and flat for input layers."""
    default_rules = relevance(AlphaBeta(2.0, 1.0, stabilizer), Epsilon(epsilon), stabilizer)
    return lambda entrance: at_entrance(entrance, Flat(stabilizer), default_rules)


def epsilon_gamma_box(
    low: Bound, high: Bound, epsilon: float = 1e-6, gamma: float = 0.25, stabilizer: float = 1e-6
) -> Composite:
    """Return the composite with gamma for convolutions, epsilon for dense layers, and z-box for the input layers.

    low, high: the smallest and largest possible input value, or a tuple with one for each channel.
    """
    default_rules = relevance(Gamma(gamma, stabilizer), Epsilon(epsilon), stabilizer)
    return lambda entrance: at_entrance(entrance, ZBox(low, high, stabilizer), default_rules)


def cp_lrp(epsilon: float = 1e-6, gamma: float = 0.0) -> Composite:
    """Return the composite of CP-LRP for transformers: attention weights and gates are constant.

    The outputs of softmax, sigmoid and hard sigmoid are constant where they multiply other values. So are 1 / σ of
    layer, group and instance norm, denominators, and learned scales. Sums, means, linear layers and the means of norms
    share relevance by contributions, with `epsilon` as stabilizer. Activations pass relevance on unchanged. gamma: the
    gamma of the rule Gamma for convolutions and dense layers; for 0, their rule is Epsilon.
    Source: Ali et al. 2022; gates: Arras et al. 2017.
    """
    return lambda entrance: _transformer_table(epsilon, gamma, constant_weights=True)


def attn_lrp(epsilon: float = 1e-6, gamma: float = 0.0) -> Composite:
    """Return the composite of AttnLRP for transformers: relevance also passes through attention weights and gates.

    Factors of a product that are computed from the input receive equal parts. Softmax is linearized and absorbs some
    relevance. All other layers have the rules of `cp_lrp`. Source: Achtibat et al. 2024, section 3.
    """
    return lambda entrance: _transformer_table(epsilon, gamma, constant_weights=False)


def _transformer_table(epsilon: float, gamma: float, constant_weights: bool) -> Table:
    weighted_rule: Rule = Gamma(gamma, epsilon) if gamma else Epsilon(epsilon)
    softmax_rows: tuple[TableRow, ...] = () if constant_weights else ((Softmax, Taylor()),)
    return composite(
        *softmax_rows,
        ((LayerNorm, GroupNorm, InstanceNorm2d, *NORM_OPERATORS), FixedScale(epsilon)),
        (BatchNorm, Epsilon(epsilon)),
        ((Trait.ACTIVATION, Trait.NORM), Pass()),
        ((Multiply, Times), Share(constant_weights)),
        *_operator_rows(weighted_rule, weighted_rule, epsilon, constant_weights),
        (Trait.ADDITIVE, Norm(epsilon)),
        ((Trait.CONVOLUTION, Dense), weighted_rule),
    )


def excitation_backprop(stabilizer: float = 1e-6) -> Composite:
    """Return the composite with z-plus for every layer with weights, and contributions for sums and averages.

    As in Zennit, the denominators contain positive biases, which absorb some of the relevance; in the paper, they
    contain only the inputs' contributions. Source: Zhang et al. 2016.
    """
    return lambda entrance: composite((Trait.ADDITIVE, Norm(stabilizer)), (Trait.WEIGHTED, ZPlus(stabilizer)))


def guided_backprop() -> Composite:
    """Return the composite with Guided for rectifiers, and the gradient of other layers (Springenberg et al. 2015)."""
    return lambda entrance: composite((Trait.RECTIFIER, Guided()))


def deconvnet() -> Composite:
    """Return the composite of the DeconvNet of Zeiler and Fergus 2014, section 2.1.

    Rectifiers rectify dy, max unpooling uses the switches (where windows overlap, contributions are added), filters are
    transposed, and contrast normalization is skipped in the backward pass. The paper has only ReLU; in this composite,
    GELU and ELU, whose negative outputs are small, count as rectifiers too.
    """
    return lambda entrance: composite(
        ((Trait.RECTIFIER, Trait.SMOOTH_RECTIFIER), Deconv()), (Trait.CONTRAST_NORM, Pass())
    )


COMPOSITES: dict[str, Callable[..., Composite]] = {  # those for relevance, which start with the class score
    "epsilon": epsilon_everywhere,
    "epsilon_plus": epsilon_plus,
    "epsilon_plus_flat": epsilon_plus_flat,
    "epsilon_alpha2_beta1": epsilon_alpha2_beta1,
    "epsilon_alpha2_beta1_flat": epsilon_alpha2_beta1_flat,
    "epsilon_gamma_box": epsilon_gamma_box,
    "excitation_backprop": excitation_backprop,
    "cp_lrp": cp_lrp,
    "attn_lrp": attn_lrp,
}
