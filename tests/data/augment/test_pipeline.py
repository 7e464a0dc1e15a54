"""The Augment pipeline: seeded, without side effects, checked, and equal to its single functions."""

from dataclasses import fields

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import Augment
from pellucid.data.augment import affine, brightness, elastic, horizontal_flip, hue, random_crop, vertical_flip
from pellucid.data.seeds import generator
from pellucid.recipe.recipe import read_recipe

EVERYTHING = Augment(
    rotate=15, shift=0.1, shear=10, zoom=0.2, flip=True, vertical_flip=True, brightness=0.2, contrast=0.2,
    saturation=0.2, hue=0.1, elastic_alpha=20, elastic_sigma=4, crop_padding=2, fill="reflect",
)  # fmt: skip


def batch(n: int = 8) -> torch.Tensor:
    return torch.rand(n, 3, 20, 24, generator=generator(9))


def test_augment_without_settings_returns_the_batch_unchanged():
    x = batch()
    assert Augment()(x, generator(0)) is x


@pytest.mark.parametrize("fill", ["constant", "nearest", "reflect", "wrap"])
def test_equal_seeds_give_equal_bits_and_x_is_unchanged(fill):
    augment = Augment(**{f.name: getattr(EVERYTHING, f.name) for f in fields(Augment)} | {"fill": fill})
    x = batch()
    original = x.clone()
    y = augment(x, generator(1))
    assert torch.equal(y, augment(x, generator(1)))
    assert not torch.allclose(y, augment(x, generator(2)))
    assert torch.equal(x, original)
    assert y.shape == x.shape
    assert y.dtype == torch.float32


def test_the_number_of_threads_does_not_change_the_result():
    x, threads = torch.rand(128, 3, 28, 28, generator=generator(9)), torch.get_num_threads()
    results: list[torch.Tensor] = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(EVERYTHING(x, generator(1)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_the_global_generator_is_unchanged():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    EVERYTHING(batch(), generator(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("augment", "alone"),
    [
        (Augment(flip=True), horizontal_flip),
        (Augment(vertical_flip=True), vertical_flip),
        (Augment(crop_padding=3, fill="wrap"), lambda x, rng: random_crop(x, 3, rng, "wrap")),
        (Augment(rotate=20, zoom=0.1), lambda x, rng: affine(x, rng, rotate=20, zoom=0.1)),
        (Augment(brightness=0.4), lambda x, rng: brightness(x, 0.4, rng)),
        (Augment(hue=0.2), lambda x, rng: hue(x, 0.2, rng)),
    ],
)
def test_each_setting_calls_its_function(augment, alone):
    assert torch.equal(augment(batch(), generator(4)), alone(batch(), generator(4)))


def test_elastic_without_other_settings_equals_the_elastic_function():
    rng = generator(4)
    torch.rand(8, 5, generator=rng)
    expected = elastic(batch(), 20.0, 3.0, rng, "nearest")
    augmented = Augment(elastic_alpha=20, elastic_sigma=3, fill="nearest")(batch(), generator(4))
    torch.testing.assert_close(augmented, expected)


def test_the_fill_value_reaches_the_corners():
    y = Augment(shift=0.5, fill_value=7.0)(batch(), generator(0))
    assert float(y.max()) == 7.0


@pytest.mark.parametrize(
    ("field", "value"),
    [("rotate", -1.0), ("shear", 90.0), ("zoom", 1.0), ("hue", 0.6), ("crop_padding", -2), ("shift", float("nan")),
     ("elastic_sigma", 0.0), ("fill", "mirror"), ("rotate", "5"), ("rotate", True), ("flip", 1), ("crop_padding", 1.5)],
)  # fmt: skip
def test_invalid_settings_are_refused(field, value):
    with pytest.raises(PellucidError) as info:
        Augment(**{field: value})
    assert str(value) in str(info.value)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("field", [field_.name for field_ in fields(Augment) if type(field_.default) in (int, float)])
def test_numbers_beyond_their_range_are_refused(field):
    """Percentages for shift or zoom, or a rotation of 9999 degrees, raise PellucidError."""
    with pytest.raises(PellucidError, match=rf"augment\.{field} is 9999; give a number from"):
        Augment(**{field: 9999})
    with pytest.raises(PellucidError, match=rf"recipe\.toml: augment\.{field} is 9999"):
        read_recipe({"augment": {field: 9999}}, "recipe.toml", {})


def test_a_range_is_refused_where_one_number_is_expected():
    with pytest.raises(PellucidError, match=r"augment.rotate is \(-10, 10\); give one number, the largest change"):
        Augment(rotate=(-10, 10))
    assert Augment(rotate=180, shift=1, shear=80, brightness=1).rotate == 180
