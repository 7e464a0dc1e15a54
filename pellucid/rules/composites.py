"""The common composites of relevance rules, by name."""

from collections.abc import Callable

from pellucid.layers.base import Trait
from pellucid.layers.dense import Dense
from pellucid.layers.multiply import Multiply
from pellucid.rules.entrance import Entrance, at_entrance
from pellucid.rules.relevance import AlphaBeta, Bound, Epsilon, Flat, Gamma, ZBox, ZPlus
from pellucid.rules.simple import Deconv, Guided, Norm, Pass, Share
from pellucid.rules.table import Table, composite
from pellucid.sweep import Rule, Rules

Composite = Callable[[Entrance], Rules]  # what is known of the input's way through the network, to its rules


def relevance(convolution: Rule, dense: Rule, stabilizer: float = 1e-6) -> Table:
    """Return the table common to all composites of relevance, with these two rules.

    Activations and normalizations pass; sums, averages and resizing share by contributions, products in equal parts;
    max pooling uses its switches, and what only moves values moves relevance. Batch normalization passes too, unless
    `fold` has made it part of a layer before.
    """
    return composite(
        ((Trait.ACTIVATION, Trait.NORM), Pass()),
        (Trait.SUM, Norm(stabilizer)),
        (Multiply, Share()),
        (Trait.CONVOLUTION, convolution),
        (Dense, dense),
    )


def epsilon_everywhere(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """Return epsilon for every layer with weights (Bach et al. 2015)."""
    return lambda entrance: relevance(Epsilon(epsilon), Epsilon(epsilon), stabilizer)


def epsilon_plus(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """Return z-plus for convolutions and epsilon for dense layers."""
    return lambda entrance: relevance(ZPlus(stabilizer), Epsilon(epsilon), stabilizer)


def epsilon_plus_flat(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """Return z-plus for convolutions, epsilon for dense layers, and flat where the input is read."""
    usual = relevance(ZPlus(stabilizer), Epsilon(epsilon), stabilizer)
    return lambda entrance: at_entrance(entrance, Flat(stabilizer), usual)


def epsilon_alpha2_beta1(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """Return alpha-beta with 2 and 1 for convolutions, and epsilon for dense layers."""
    return lambda entrance: relevance(AlphaBeta(2.0, 1.0, stabilizer), Epsilon(epsilon), stabilizer)


def epsilon_alpha2_beta1_flat(epsilon: float = 1e-6, stabilizer: float = 1e-6) -> Composite:
    """Return alpha-beta with 2 and 1 for convolutions, epsilon for dense layers, and flat where the input is read."""
    usual = relevance(AlphaBeta(2.0, 1.0, stabilizer), Epsilon(epsilon), stabilizer)
    return lambda entrance: at_entrance(entrance, Flat(stabilizer), usual)


def epsilon_gamma_box(
    low: Bound, high: Bound, epsilon: float = 1e-6, gamma: float = 0.25, stabilizer: float = 1e-6
) -> Composite:
    """Return gamma for convolutions, epsilon for dense layers, and z-box where the input, from low to high, is read."""
    usual = relevance(Gamma(gamma, stabilizer), Epsilon(epsilon), stabilizer)
    return lambda entrance: at_entrance(entrance, ZBox(low, high, stabilizer), usual)


def excitation_backprop(stabilizer: float = 1e-6) -> Composite:
    """Return z-plus for every layer with weights, and contributions for sums and averages.

    Positive biases stand in the denominators and take their share, as in Zennit; Zhang et al. 2016, from whom the
    method is, have the inputs' contributions alone there.
    """
    return lambda entrance: composite((Trait.SUM, Norm(stabilizer)), (Trait.WEIGHTED, ZPlus(stabilizer)))


def guided_backprop() -> Composite:
    """Return Guided for rectifiers, and every other layer's gradient (Springenberg et al. 2015)."""
    return lambda entrance: composite((Trait.RECTIFIER, Guided()))


def deconvnet() -> Composite:
    """Return the DeconvNet of Zeiler and Fergus 2014, section 2.1.

    Rectifiers rectify dy, max unpooling uses the switches (where windows overlap, contributions add up), filters are
    transposed, and contrast normalization is skipped in the backward pass. The paper has ReLU alone; GELU and ELU,
    whose maps too are hardly ever negative, count as rectifiers.
    """
    return lambda entrance: composite(
        ((Trait.RECTIFIER, Trait.SMOOTH_RECTIFIER), Deconv()), (Trait.CONTRAST_NORM, Pass())
    )


COMPOSITES: dict[str, Callable[..., Composite]] = {  # of relevance, which begins with the score
    "epsilon": epsilon_everywhere,
    "epsilon_plus": epsilon_plus,
    "epsilon_plus_flat": epsilon_plus_flat,
    "epsilon_alpha2_beta1": epsilon_alpha2_beta1,
    "epsilon_alpha2_beta1_flat": epsilon_alpha2_beta1_flat,
    "epsilon_gamma_box": epsilon_gamma_box,
    "excitation_backprop": excitation_backprop,
}
