"""Invalid hyperparameters of generators and translators are refused where they are declared."""

from dataclasses import replace

import pytest

from pellucid.base.errors import PellucidError
from pellucid.generators import l1, pix2pix, zhang
from tests.generators.small import FAMILIES

INVALID_FOR_ALL = [("latent", 0), ("latent", 2.0), ("prior", "cauchy"), ("weights", {"generator": float("nan")})]
INVALID_BY_GENERATOR = {
    "gan": [("loss", "none"), ("spectral", 1)],
    "wgan_gp": [("penalty", -1.0), ("penalty", float("inf")), ("critic_steps", 0)],
    "r1_gan": [("gamma", -0.5)],
    "gmmn": [("bandwidths", ()), ("bandwidths", (1.0, 0.0)), ("scale", 0.0)],
    "code_gmmn": [("bandwidths", (-1.0,)), ("scale", float("nan")), ("noise", 1.5)],
}
TRANSLATORS = {"l1": lambda: l1(width=4, levels=2), "zhang": lambda: zhang(4, 2), "pix2pix": lambda: pix2pix(width=4)}
INVALID_FOR_TRANSLATORS = [
    ("to", "sound"),
    ("hints", 2),
    ("multiple", 0),
    ("multiple", 4000),
    ("weights", {"l1": float("inf")}),
]
INVALID_BY_TRANSLATOR = {
    "zhang": [("uniform", 0.0), ("temperature", 2.0), ("temperature", "cold")],
    "pix2pix": [("gan", "none"), ("noise", 1)],
}


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [(name, *setting) for name in FAMILIES for setting in [*INVALID_FOR_ALL, *INVALID_BY_GENERATOR.get(name, [])]],
)
def test_an_impossible_hyperparameter_is_refused_in_one_line(name, field, value):
    generator = FAMILIES[name]()
    with pytest.raises(PellucidError, match=rf"^{type(generator).__name__}: .*{field}") as info:
        replace(generator, **{field: value})
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        (name, *setting)
        for name in TRANSLATORS
        for setting in [*INVALID_FOR_TRANSLATORS, *INVALID_BY_TRANSLATOR.get(name, [])]
    ],
)
def test_an_impossible_hyperparameter_of_a_translator_is_refused_in_one_line(name, field, value):
    translator = TRANSLATORS[name]()
    with pytest.raises(PellucidError, match=rf"^{type(translator).__name__}: .*{field}"):
        replace(translator, **{field: value})
