"""Layer-wise relevance propagation: the score distributed, layer by layer, among the input values."""

from typing import Any

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_known
from pellucid.explain.layout import check_has_rules
from pellucid.explain.sweeps import backward_by_composite, values_in_score
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params
from pellucid.rules import COMPOSITES, Composite, Entrance, Table, fold
from pellucid.sweep import BackwardWatch

GRADIENT_RULES = ("guided_backprop", "deconvnet")  # composites that compute gradients, not relevance


def lrp(
    net: Layer,
    params: Params,
    x: Any,
    target: Target = None,
    composite: str | Table | Composite = "epsilon_plus",
    folded: bool = True,
    watch: BackwardWatch | None = None,
    **options: Any,
) -> Tensor:
    """Return the relevance of each input value for the target's score, in x's shape.

    The relevance adds up to the score, except for the part that biases and stabilizers absorb. composite: a name in
    COMPOSITES, with its `options` (`epsilon`, `gamma`, `low`, `high` ...); a table of rules, from
    `pellucid.rules.composite`; or a function that returns rules, given the Entrance: which layers with weights receive
    the input. folded: fold batch normalization into the layers before it. target: see `pellucid.explain.aim`. watch: a
    function that is called for each layer, from the last to the first, with its path, the layer, and the relevance of
    its output, its input and its bias (a dict, empty without a bias).
    Raises PellucidError for unknown composites and options, and for layers for which the composite has no rule.
    Source: Bach et al. 2015, section 2.3; composites: Montavon et al. 2019, section 10.3.
    """
    if isinstance(composite, str):
        if composite in GRADIENT_RULES:
            raise PellucidError(
                f"lrp: {composite!r} computes gradients, not relevance; use the method explain.{composite}"
            )
        check_known("lrp: no composite", composite, COMPOSITES)
        try:
            composite_function: Composite = COMPOSITES[composite](**options)
        except TypeError as error:
            raise PellucidError(f"lrp: {composite}: {str(error).split(') ', 1)[-1]}") from error
    elif options:
        raise PellucidError(
            f"lrp: {', '.join(options)}: options are for composites by name only; build them into your composite"
        )
    elif isinstance(composite, Table):
        composite.check(net)
        table = composite
        composite_function = lambda entrance: table  # noqa: E731
    elif callable(composite):
        composite_function = composite
    else:
        raise PellucidError(f"lrp: composite must be a name, a table of rules or a function, not {composite!r}")
    check_has_rules(net, "lrp", composite_function(Entrance(x)))
    if folded:
        net, params = fold(net, params)
    return backward_by_composite(net, params, x, target, composite_function, values_in_score, watch)
